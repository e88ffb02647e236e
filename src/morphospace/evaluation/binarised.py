"""The protocol by which Fashion-MNIST's log-likelihoods are published: binary test images, drawn once and for all.

Norouzi, Fleet & Norouzi (2020), Exemplar VAE, NeurIPS (arXiv:2004.04795) and its public code: training images are
binarised anew at every step; 10,000 of them are kept for validation; numpy's legacy generator is seeded with 777, makes
the validation images binary, and then the test images.

The generator takes no number for a pixel that is nought, so that which numbers the test images get depends on the
validation images. The public code shuffles before it splits unless told not to; here the last 10,000 training images
in the publisher's order are the validation images, as it is with its fixed validation set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from morphospace.data.images import Images
from morphospace.types import UsageError

__all__ = ["DRAWS", "SEED", "VALIDATION", "binarised_test"]

SEED = 777
VALIDATION = 10_000
DRAWS = 5_000


def binarised_test(images: Images, validation: int = VALIDATION) -> NDArray[np.uint8]:
    """The binary test images, (M, C, H, W) with values 0 and 1.

    The validation images are the set's own, or else the last ``validation`` training images.

    Raises:
        UsageError: for a set without test images, or with too few training images.
    """
    own = images.validation
    held = own if len(own) else images.train.take(np.arange(len(images.train))[-validation:])
    if not len(images.test) or (not len(own) and len(images.train) <= validation):
        raise UsageError(
            f"the binarised protocol needs test images and more than {validation} training images to hold some back; "
            f"this set has {len(images.test)} and {len(images.train)}"
        )
    draw = np.random.RandomState(SEED)
    draw.binomial(1, held.pixels / 255.0)
    return np.asarray(draw.binomial(1, images.test.pixels / 255.0), dtype=np.uint8)
