"""pythae (Chadebec et al. 2022, arXiv:2206.08309): its VAE with the study's networks, trained by its own trainer."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import torch
from pythae.data.datasets import BaseDataset, DatasetOutput
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import Tensor

from benchmarks.machine import peak_memory
from benchmarks.session import Line, Pacer
from benchmarks.study import BATCH
from benchmarks.subjects import eager

__all__ = ["build", "train"]


class _Encoder(BaseEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.network = eager.Encoder()

    def forward(self, x: Tensor) -> ModelOutput:
        mean, log_variance = self.network(x)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class _Decoder(BaseDecoder):
    def __init__(self) -> None:
        super().__init__()
        self.network = eager.Decoder()

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))


class _Paced(TrainingCallback):
    """Tells the pacer of every step."""

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer

    def on_train_step_end(self, training_config: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._pacer.step_done()


def build() -> VAE:
    """pythae's VAE around the study's networks, with the cross-entropy for its distortion."""
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=2, reconstruction_loss="bce")
    return VAE(config, encoder=_Encoder(), decoder=_Decoder())


def train(line: Line, source: dict[str, Any], seed: int = 0) -> None:
    """Train for as long as the line asks for it."""
    imported = time.monotonic()
    x = eager.unit_images(source)
    loaded = time.monotonic()
    torch.manual_seed(seed)
    model = build()

    def about() -> dict[str, Any]:
        return {
            "imported": imported,
            "loaded": loaded,
            "threads": torch.get_num_threads(),
            "how": "float32, its BaseTrainer with its default data loader",
            "batch": BATCH,
            "parameters": eager.parameters(model.encoder, model.decoder),
            "loss": _check(x[:BATCH]),
        }

    pacer = Pacer(line, about, {"memory": lambda: {"mib": peak_memory()}})
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=10**6,
            per_device_train_batch_size=BATCH,
            learning_rate=1e-3,
            optimizer_cls="Adam",
            optimizer_params={"eps": 1e-7},
            no_cuda=True,
            seed=seed,
        )
        data = BaseDataset(x, torch.zeros(len(x)))
        BaseTrainer(model, data, training_config=config, callbacks=[_Paced(pacer)]).train()


def _check(x: Tensor) -> float:
    model = build()
    eager.load_weights(model.encoder.network, model.decoder.network)
    with torch.no_grad():
        return float(model(DatasetOutput(data=x.flip(2, 3))).loss)
