"""Keras on TensorFlow: the original study's network, compiled, and trained by ``fit`` as the study did."""

from __future__ import annotations

import os
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from numpy.typing import NDArray

from benchmarks.calls import Call, answer_calls
from benchmarks.machine import peak_memory
from benchmarks.session import Line, Pacer
from benchmarks.study import BATCH, Layer, decoder_layers, encoder_layers, images

__all__ = ["build", "curve", "infer", "train"]


class Sampling(layers.Layer):
    """A draw from the posterior."""

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        mean, log_variance = inputs
        return mean + tf.exp(0.5 * log_variance) * tf.random.normal(tf.shape(mean))


class StudyVAE(keras.Model):
    """The study's model: one step of training, one of testing, and the running means of loss and terms."""

    def __init__(self, encoder: keras.Model, decoder: keras.Model) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.means = [keras.metrics.Mean(name=name) for name in ("loss", "distortion", "rate")]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return self.means

    def terms(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Distortion and rate, in nats per image."""
        mean, log_variance, z = self.encoder(x)
        by_pixel = keras.losses.binary_crossentropy(x, self.decoder(z))
        rate = 0.5 * (tf.square(mean) + tf.exp(log_variance) - 1 - log_variance)
        return tf.reduce_mean(tf.reduce_sum(by_pixel, axis=(1, 2))), tf.reduce_mean(
            tf.reduce_sum(rate, axis=1)
        )

    def train_step(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.GradientTape() as tape:
            distortion, rate = self.terms(x)
            loss = distortion + rate
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return self._noted(x, loss, distortion, rate)

    def test_step(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        distortion, rate = self.terms(x)
        return self._noted(x, distortion + rate, distortion, rate)

    def _noted(self, x: tf.Tensor, *values: tf.Tensor) -> dict[str, tf.Tensor]:
        for metric, value in zip(self.means, values, strict=True):
            metric.update_state(value, sample_weight=tf.shape(x)[0])
        return {metric.name: metric.result() for metric in self.means}


def build() -> StudyVAE:
    """The study's network, compiled with its optimizer."""
    x = keras.Input((28, 28, 1))
    h = layers.Conv2D(32, 14, activation="relu")(x)
    h = layers.Conv2D(64, 6, activation="relu")(h)
    h = layers.Dense(168, activation="relu")(layers.Flatten()(h))
    h = layers.Dense(16, activation="relu")(h)
    mean, log_variance = layers.Dense(2)(h), layers.Dense(2)(h)
    encoder = keras.Model(x, [mean, log_variance, Sampling()([mean, log_variance])], name="encoder")

    z = keras.Input((2,))
    h = layers.Reshape((7, 7, 128))(layers.Dense(7 * 7 * 128, activation="relu")(z))
    h = layers.Conv2DTranspose(128, 3, activation="relu", strides=2, padding="same")(h)
    h = layers.Conv2DTranspose(32, 3, activation="relu", strides=2, padding="same")(h)
    h = layers.Conv2DTranspose(1, 3, activation="sigmoid", padding="same")(h)
    decoder = keras.Model(z, h, name="decoder")

    vae = StudyVAE(encoder, decoder)
    vae.compile(optimizer=keras.optimizers.Adam())
    return vae


def fill(model: keras.Model, weights: list[Layer]) -> None:
    """Give a model the weights that all subjects are compared with, each layer in its turn."""
    for layer, given in zip([layer for layer in model.layers if layer.weights], weights, strict=True):
        layer.set_weights([given.kernel, given.bias])


def unit_images(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 1, 28, 28) uint8 -> (N, 28, 28, 1) float32 in [0, 1], all in memory."""
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)).astype(np.float32) / np.float32(255)


def parameters(vae: StudyVAE) -> dict[str, int]:
    """How many numbers each half learns."""
    return {half.name: int(half.count_params()) for half in (vae.encoder, vae.decoder)}


def threads() -> int:
    """Threads that an operation is shared out to; TensorFlow takes one for each core unless told otherwise."""
    asked = tf.config.threading.get_intra_op_parallelism_threads()
    return asked or int(os.environ.get("TF_NUM_INTRAOP_THREADS", 0)) or os.cpu_count() or 1


class _Paced(keras.callbacks.Callback):
    """Tells the pacer of every step."""

    def __init__(self, pacer: Pacer) -> None:
        super().__init__()
        self._pacer = pacer

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        self._pacer.step_done()


def train(line: Line, source: dict[str, Any], seed: int = 0) -> None:
    """Train for as long as the line asks for it."""
    imported = time.monotonic()
    x = unit_images(images(source).train.pixels)
    loaded = time.monotonic()
    keras.utils.set_random_seed(seed)
    vae = build()

    def about() -> dict[str, Any]:
        return {
            "imported": imported,
            "loaded": loaded,
            "threads": threads(),
            "how": "float32, compiled (tf.function), fit",
            "batch": BATCH,
            "parameters": parameters(vae),
            "loss": _check(x[:BATCH]),
        }

    pacer = Pacer(line, about, {"memory": lambda: {"mib": peak_memory()}})
    vae.fit(x, epochs=10**6, batch_size=BATCH, verbose=0, callbacks=[_Paced(pacer)])


def _check(x: NDArray[np.float32]) -> float:
    vae = build()
    fill(vae.encoder, encoder_layers())
    fill(vae.decoder, decoder_layers())
    return float(ops.convert_to_numpy(sum(vae.terms(tf.constant(x)))))


class _Curve(keras.callbacks.Callback):
    """Measures the test images after each epoch, and keeps the seconds of training alone."""

    def __init__(self, line: Line, test: NDArray[np.float32]) -> None:
        super().__init__()
        self._line, self._test = line, test
        self._seconds, self._since = 0.0, time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        self._seconds += time.monotonic() - self._since
        found = self.model.evaluate(self._test, batch_size=1000, verbose=0, return_dict=True)
        self._line.send(
            epoch=epoch + 1,
            seconds=round(self._seconds, 3),
            neg_elbo=found["loss"],
            distortion=found["distortion"],
            rate=found["rate"],
        )
        self._since = time.monotonic()


def curve(line: Line, source: dict[str, Any], epochs: int, seed: int = 0) -> None:
    """Train for ``epochs``, telling the test −ELBO after each: one draw of z for each image, as `terms` computes it."""
    everything = images(source)
    x, test = unit_images(everything.train.pixels), unit_images(everything.test.pixels)
    keras.utils.set_random_seed(seed)
    vae = build()
    vae.fit(x, epochs=epochs, batch_size=BATCH, verbose=0, callbacks=[_Curve(line, test)])
    line.send(done=True, how="float32, compiled (tf.function), fit", threads=threads(), images=len(x))


def infer(line: Line, source: dict[str, Any], seed: int = 0) -> None:
    """Encode and decode when asked: ``predict`` for many images, ``predict_on_batch`` for one."""
    x = unit_images(images(source).pixels)
    keras.utils.set_random_seed(seed)
    vae = build()
    z = np.random.default_rng(seed).standard_normal((len(x), 2)).astype(np.float32)

    def many(model: keras.Model, values: NDArray[np.float32]) -> Call:
        return lambda start, stop: model.predict(values[start:stop], batch_size=1024, verbose=0)

    def one(model: keras.Model, values: NDArray[np.float32]) -> Call:
        return lambda start, stop: model.predict_on_batch(values[start:stop])

    calls = {
        "encode": (many(vae.encoder, x), one(vae.encoder, x)),
        "decode": (many(vae.decoder, z), one(vae.decoder, z)),
    }
    answer_calls(
        line, calls, len(x), {"threads": threads(), "how": "float32, compiled (tf.function), predict"}
    )
