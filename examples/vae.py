"""The whole story in code: a space of clothes, its map, its class averages, and a bag that becomes a sneaker.

python examples/vae.py                       # Fashion-MNIST, about a minute on two cores
python examples/vae.py garments 300          # clothes drawn by the project, 300 steps; needs no data
"""

import sys

import numpy as np
import torch

import morphospace as ms
from morphospace import pictures

source = sys.argv[1] if len(sys.argv) > 1 else "fashion-mnist"
steps = int(sys.argv[2]) if len(sys.argv) > 2 else None

# 1. Images: decoded once to uint8, with labels, class names and the publisher's split.
images = ms.load(source)
print(images)

# 2. A recipe picks the parts: encoder, decoder, prior, and a weighted sum of terms.
recipe = ms.recipes.vae(images.spec, latent=2)
print(recipe.name, recipe.arguments)

# 3. Training. −ELBO = distortion + rate, in nats per image, lower is better.
space = ms.fit(recipe, images, steps=steps)
test = space.results["test"]
print(
    f"test −ELBO {test['neg_elbo']:.2f} = distortion {test['distortion']:.2f} + rate {test['rate']:.2f} nats"
)

# 4. The embedding of an image is the mean of its posterior; the same image always gives the same point.
posterior = space.encode(images.test)
print("embedding", tuple(posterior.mean.shape), "spread", posterior.stddev.mean(0).numpy().round(3))

# 5. Every class has a place: the mean latent of its training images.
for name, point in zip(space.prototypes.names, space.prototypes.points, strict=True):
    print(f"{name:12} {point.round(2)}")

# 6. Reconstructions: through the space and back.
some = images.test.take(np.arange(8))
again = space.decode(space.encode(some).mean)
error = (again - torch.from_numpy(some.pixels / 255)).square().mean()
print(f"mean squared error of eight reconstructions {error:.4f}")

# 7. A morph: what lies between two classes, and which class each picture is nearest to.
way = ms.morph(space, "Bag", "Sneaker", steps=6)
for x, nearest in zip(way.x, way.nearest, strict=True):
    print(f"x = {x:.1f}  nearest to {nearest}")
pictures.write_png("bag-to-sneaker.png", pictures.contact_sheet(way.images, columns=6))
pictures.write_film("bag-to-sneaker.gif", way.images)

# 8. Pictures that nobody has drawn yet: points drawn from where the training images lie, decoded.
pictures.write_png("samples.png", pictures.contact_sheet(space.sample(64, seed=0).numpy()))

# 9. A space is a folder; anyone can open it.
space.save("space")
assert ms.Space.load("space").dimensions == 2
