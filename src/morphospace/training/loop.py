"""The one training loop: a recipe and images in, trained weights out; stopped at any moment, it resumes exactly."""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from morphospace.data.images import Images
from morphospace.files import write_text
from morphospace.model import VAE, Trace
from morphospace.networks import Sight
from morphospace.recipes import Parts, Recipe
from morphospace.seeds import seed_of
from morphospace.settings import Settings
from morphospace.training import checkpoint
from morphospace.training.capture import Captured
from morphospace.training.config import describe, require_same_images, write_config
from morphospace.training.device import (
    channels_last,
    fixed_threads,
    forked_random,
    pick_device,
    synchronize,
)
from morphospace.training.feed import Batches, Feed, Order, hidden, some_of_each
from morphospace.training.measure import measure
from morphospace.training.optimizers import make_optimizers, set_rate
from morphospace.training.precision import probe, set_precision
from morphospace.training.schedule import FINISH, finish_from, rate_factor
from morphospace.training.signals import stop_flag
from morphospace.types import Interrupted, NumericalError, Progress, UsageError, silent

__all__ = ["Trained", "make_feed", "resume", "settled", "train"]

LOGS = 200
"""Lines in metrics.jsonl for the training terms over a whole run."""
PROBE_PAYS = 100
"""Steps from which on a run is long enough for a probe of the precision to be worth its own."""
LOSSES = ("the loss", "the critics' loss")
MOST_TESTS = 20
"""Points of the test curve at most; one an epoch where there are fewer epochs."""


@dataclass(frozen=True)
class Trained:
    """What a finished loop gives: the model that is kept, its configuration, its curve, and the time it took."""

    model: VAE
    config: dict[str, Any]
    history: list[dict[str, Any]]
    seconds: float
    images_per_second: float


def train(
    recipe: Recipe,
    images: Images,
    settings: Settings,
    folder: Path | None = None,
    progress: Progress = silent,
) -> Trained:
    """Train ``recipe`` on the training split of ``images``; with a ``folder``, write the run there as it goes.

    Raises:
        UsageError: if there are no training images, or settings that the machine cannot meet.
        NumericalError: at the first loss or gradient that is not finite, with the batch's indices.
        Interrupted: when SIGINT or SIGTERM asked for a stop, after a checkpoint.
    """
    count = int((images.splits == 0).sum())
    if count == 0:
        raise UsageError(f"{images!r} has no training images")
    recipe = recipe.met(images)
    settings = settled(recipe, images, settings)
    with fixed_threads(torch.get_num_threads()), forked_random(settings.device):
        if settings.steps is None:
            settings = replace(settings, steps=_steps_in_time(recipe, images, settings, progress))
        config = describe(recipe, images, settings)
        run = _Run(recipe, images, settings, config, folder)  # what it refuses leaves no folder
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            write_config(folder, config)
        return run.to_the_end(progress)


def resume(
    recipe: Recipe,
    images: Images,
    settings: Settings,
    config: dict[str, Any],
    folder: Path,
    progress: Progress = silent,
) -> Trained:
    """Go on from the newest checkpoint that verifies, or from the start if there is none, to the same end.

    Raises:
        RunError: if ``images`` are not those that the run began with.
        UsageError: if this machine lacks the run's device.
    """
    require_same_images(images, config, folder)
    pick_device(settings.device)
    with fixed_threads(config["machine"]["threads"]), forked_random(settings.device):
        run = _Run(recipe, images, settings, config, folder)
        run.load()
        return run.to_the_end(progress)


def settled(recipe: Recipe, images: Images, settings: Settings) -> Settings:
    """The settings with batch, device and precision made certain for these images on this machine.

    Steps stay open where minutes decide on them. Torch's threads should be as the run will have them.
    """
    settings = replace(settings.fixed(len(images.train)), device=pick_device(settings.device))
    if settings.precision != "auto":
        return settings
    if settings.device == "mps" or (settings.steps is not None and settings.steps < PROBE_PAYS):
        return replace(settings, precision="float32")
    device, parts = torch.device(settings.device), recipe.met(images).build(settings.seed)
    feed, some = make_feed(parts, images, "train", settings), slice(0, settings.batch)
    model = channels_last(parts.first_model.to(device))
    found = probe(model, parts.objective.to(device), feed(some), feed.labels_of(some))
    return replace(settings, precision=found.precision)


def make_feed(parts: Parts, images: Images, split: Literal["train", "test"], settings: Settings) -> Feed:
    """The images of a split as a run sees them: with labels for a model that is told of classes, some pixels hidden."""
    part: Images = getattr(images, split)
    observed = part.observed
    if parts.hide > 0:
        shape = (len(part), 1, part.spec.height, part.spec.width)
        observed = hidden(observed, shape, parts.hide, settings.seed, "hidden", split)
    labels = part.labels if parts.model.classes else None
    if labels is not None and parts.labelled is not None and split == "train":
        labels = some_of_each(labels, parts.labelled, settings.seed)
    return Feed(part.pixels, torch.device(settings.device), labels, observed)


class _Run:
    """The state of a training run: `{seed, step}`, and tensors."""

    def __init__(
        self, recipe: Recipe, images: Images, settings: Settings, config: dict[str, Any], folder: Path | None
    ) -> None:
        assert settings.steps is not None
        self.settings, self.config, self.folder, self.steps = settings, config, folder, settings.steps
        self.device = torch.device(settings.device)
        parts = recipe.met(images).build(settings.seed)
        self.finished = parts.model if parts.first is not None else None
        self.feed, self.test = (make_feed(parts, images, split, settings) for split in ("train", "test"))
        self.order = Order(len(self.feed), settings.batch, settings.seed, self.device)
        self.batches = Batches(self.feed, self.order)

        self.objective = parts.objective.to(self.device)
        model = channels_last(parts.first_model.to(self.device))
        model.begin(
            lambda n: self.feed(Order(len(self.feed), n, settings.seed, self.device)(0)), self.feed.labels
        )
        self._teach(model, 0, self.steps if self.finished is None else finish_from(self.steps))
        # Terms may also bring networks that do not learn, such as a perceptual distance's features.
        self.critics = [p for p in self.objective.parameters() if p.requires_grad]
        # Critics have no hidden matrices worth Muon's products, and follow the model's own learning rate.
        plain = replace(settings, optimizer="adamw") if settings.optimizer == "muon" else settings
        self.critic_optimizers = make_optimizers(self.critics, plain) if self.critics else {}

        self.step = 0
        self.elapsed = 0.0
        # What a step reads beside the weights, and what it leaves behind: tensors that keep their place in memory,
        # so that a step captured on a GPU finds them.
        self.weights: dict[str, float | Tensor] = {**self.objective.weights(0.0)}
        self.weights |= {name: torch.zeros((), device=self.device) for name in self.objective.scheduled}
        self.average = torch.ones((), device=self.device)
        # Of the first step that was not finite: its number from 1, which of LOSSES, its value, its gradient's norm.
        self.failed = torch.zeros(4, device=self.device)
        self.number = torch.zeros((), device=self.device)
        self.sums: dict[str, Tensor] = {}
        self.summed = 0
        self.history: list[dict[str, Any]] = []
        self.figures: dict[str, float] = {}
        every = max(1, min(MOST_TESTS, round(self.steps * settings.batch / len(self.feed))))
        self.test_steps = (
            {round(self.steps * (i + 1) / every) for i in range(every)} if len(self.test) else set()
        )
        self.log_every = max(1, self.steps // LOGS)

    def _teach(self, model: VAE, start: int, stop: int) -> None:
        """From here on ``model`` learns, over the steps from ``start`` to ``stop``."""
        self.model, self.start, self.stop = model, start, stop
        # The weights that are measured and kept: a running mean of those that learn, or they themselves.
        self.kept = copy.deepcopy(model).requires_grad_(False) if self.settings.ema > 0 else model
        lasting = model.state_dict()  # without what a part only remembers from one step to the next
        kept, last = (dict(each.named_buffers()) for each in (self.kept, model))
        self.shared = [(kept[name], buffer) for name, buffer in last.items() if name in lasting]
        self.memory = {name: buffer for name, buffer in last.items() if name not in lasting}
        pairs = list(zip(self.kept.parameters(), model.parameters(), strict=True))
        self.averaged = [(mean, value) for mean, value in pairs if value.requires_grad]
        set_precision(model, self.settings.precision)
        learning = [p for p in model.parameters() if p.requires_grad]
        self.optimizers = make_optimizers(learning, self.settings, model.tables())
        self.captured = Captured(self._work) if self.device.type == "cuda" else None

    def _finish(self) -> None:
        """The decoder and the prior are what they will be; from here on the model's own encoder learns, alone."""
        assert self.finished is not None
        model, self.finished = channels_last(self.finished.to(self.device)), None
        for name in ("decoder", "prior"):
            getattr(model, name).load_state_dict(getattr(self.kept, name).state_dict())
            getattr(model, name).requires_grad_(False)
        _hold(model, True)
        self._teach(model, self.stop, self.steps)
        self.prepared()

    def prepared(self) -> VAE:
        """The model that learns, in the mode for it; what rests is as it will be used."""
        self.model.train()
        if self.start > 0:
            self.model.decoder.eval()
        return self.model

    # ------------------------------------------------------------ one step

    def update(self) -> None:
        """One step: everything random in it is a function of (seed, step)."""
        if self.step == self.stop and self.finished is not None:
            self._finish()
        self._prepare()
        if self.captured is not None:
            self.captured()
        else:
            self._work()
        self.step += 1
        self.summed += 1
        if self.device.type == "cpu":  # elsewhere reading back would make the device wait
            self._require_finite()

    def _prepare(self) -> None:
        """Tell the device what this step is about: nothing here reads anything back from it."""
        s, step = self.settings, self.step
        torch.manual_seed(seed_of(s.seed, "noise", step))
        self.batches.stage(step)
        self.number.fill_(step + 1)
        done, length = step - self.start, self.stop - self.start
        factor = rate_factor(s, done, length)
        for optimizer in self._optimizers():
            for group in optimizer.param_groups:
                set_rate(group, factor * group["peak"])
        for name, value in self.objective.weights(step / self.steps).items():
            if isinstance(place := self.weights[name], Tensor):
                place.fill_(value)
        # The window grows with the run until it is as long as asked: early weights are forgotten quickly.
        self.average.fill_(1 / max(1.0, min(s.ema * length, done / 10)))

    def _work(self) -> None:
        """What a step does on the device, without waiting for it: a GPU captures this once and repeats it."""
        x, labels = self.batches.staged(), self.batches.labels
        trace = self.model.trace(x, self.objective.draws, len(self.feed), labels)
        values = self.objective(trace)
        loss = self.objective.total(values, self.weights)
        self.model.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip or math.inf)
        self._check(0, loss, norm)
        for optimizer in self.optimizers.values():
            optimizer.step()
        if self.critics:
            self._teach_critics(trace)
        if self.settings.ema > 0:
            self._average()
        self._note(trace, values)

    def _teach_critics(self, trace: Trace) -> None:
        self.objective.zero_grad(set_to_none=True)
        losses = [adversary.critic_loss(trace) for adversary in self.objective.adversaries]
        torch.autograd.backward(losses, inputs=self.critics)
        norm = nn.utils.get_total_norm(p.grad for p in self.critics if p.grad is not None)
        self._check(1, torch.stack(losses).sum(), norm)
        for optimizer in self.critic_optimizers.values():
            optimizer.step()

    @torch.no_grad()
    def _average(self) -> None:
        kept: list[Tensor] = [mean for mean, _ in self.averaged]
        last: list[Tensor] = [value for _, value in self.averaged]
        torch._foreach_mul_(kept, 1 - self.average)
        torch._foreach_add_(kept, list(torch._foreach_mul(last, self.average)))
        for mean, value in self.shared:
            mean.copy_(value)

    @torch.no_grad()
    def _note(self, trace: Trace, values: dict[str, Tensor]) -> None:
        """Add this step's terms to the sums since the last line of metrics; read back only when it is written."""
        raw = {"distortion": trace.distortion.mean(), "rate": trace.rate.mean(), **values}
        for name, value in raw.items():
            if name not in self.sums:
                self.sums[name] = torch.zeros_like(value)
            self.sums[name].add_(value)

    @torch.no_grad()
    def _check(self, which: int, loss: Tensor, norm: Tensor) -> None:
        """Keep the first step whose loss or gradient is not finite."""
        found = torch.stack([self.number, torch.full_like(self.number, which), loss.float(), norm.float()])
        first = ~(loss.isfinite() & norm.isfinite()) & (self.failed[0] == 0)
        self.failed.copy_(torch.where(first, found, self.failed))

    def _require_finite(self) -> None:
        number, which, loss, norm = self.failed.tolist()
        if number == 0:
            return
        step = int(number) - 1
        epoch = step * self.settings.batch // len(self.feed)
        indices = ", ".join(map(str, self.order(step).tolist()))
        raise NumericalError(
            f"at step {step} (epoch {epoch}) {LOSSES[int(which)]} is {loss:g} and its gradient's norm {norm:g}; "
            f"expected finite numbers. Try a lower --lr than {self.settings.lr:g}. "
            f"The batch held the training images {indices}"
        )

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return [*self.optimizers.values(), *self.critic_optimizers.values()]

    # ------------------------------------------------------------ the whole run

    def to_the_end(self, progress: Progress) -> Trained:
        self._open_metrics()
        begun, saved = time.monotonic() - self.elapsed, time.monotonic()
        with stop_flag() as stop:
            self.prepared()
            while self.step < self.steps:
                self.update()
                self.elapsed = time.monotonic() - begun
                if self.step % self.log_every == 0 or self.step == self.steps:
                    self._log_training()
                progress("training", self.step, self.steps, self.figures)
                if self.step in self.test_steps:
                    self._log_test(progress)
                if (
                    stop
                    or time.monotonic() - saved > self.settings.checkpoint_seconds
                    or self.step == self.steps
                ):
                    self.save()
                    saved = time.monotonic()
                if stop:
                    raise self._interrupted()
            self._require_finite()
            synchronize(self.device)
            self.elapsed = time.monotonic() - begun
        set_precision(self.kept, "float32")
        _hold(self.kept, False)
        seen = self.steps * self.settings.batch
        return Trained(self.kept.eval(), self.config, self.history, self.elapsed, seen / self.elapsed)

    def _log_training(self) -> None:
        done = self.step / self.steps
        self._require_finite()
        mean = {name: float(total) / self.summed for name, total in self.sums.items()}
        for total in self.sums.values():
            total.zero_()
        self.summed = 0
        speed = self.step * self.settings.batch / self.elapsed
        self._write(
            {
                "split": "train",
                "distortion": mean.pop("distortion"),
                "rate": mean.pop("rate"),
                "terms": mean,
                "weights": self.objective.weights(done),
                "lr": self.settings.lr
                * rate_factor(self.settings, self.step - 1 - self.start, self.stop - self.start),
                "images_per_second": round(speed, 1),
            }
        )
        self.figures = {k: self.history[-1][k] for k in ("distortion", "rate", "images_per_second")}

    def _log_test(self, progress: Progress) -> None:
        set_precision(self.kept, "float32")
        elbo = measure(self.kept, self.test, 1, self.settings.seed, progress, "testing")
        set_precision(self.model, self.settings.precision)  # they may be one and the same
        self.prepared()
        self._write({"split": "test", **elbo.to_json()})

    def _write(self, line: dict[str, Any]) -> None:
        epoch = self.step * self.settings.batch / len(self.feed)
        line = {"step": self.step, "epoch": round(epoch, 4), "seconds": round(self.elapsed, 2), **line}
        self.history.append(line)
        if self.folder is not None:
            with (self.folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")

    def _open_metrics(self) -> None:
        """Bring metrics.jsonl to this step: what a lost part of the run wrote is not part of this one."""
        if self.folder is None:
            return
        path = self.folder / "metrics.jsonl"
        if self.step and path.is_file():
            self.history = [line for line in read_metrics(self.folder) if line["step"] <= self.step]
        write_text(path, "".join(json.dumps(line) + "\n" for line in self.history))

    def _interrupted(self) -> Interrupted:
        kept = (
            f"continue with: morphospace train --resume {self.folder}"
            if self.folder
            else "nothing was kept, since the run has no folder"
        )
        return Interrupted(f"stopped at step {self.step} of {self.steps}; {kept}")

    # ------------------------------------------------------------ state

    def save(self) -> None:
        """Commit a checkpoint, if the run has a folder."""
        self._require_finite()
        if self.folder is None:
            return
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= (
            {f"kept.{k}": v for k, v in self.kept.state_dict().items()} if self.kept is not self.model else {}
        )
        tensors |= {f"memory.{k}": v for k, v in self.memory.items()}
        tensors |= {f"objective.{k}": v for k, v in self.objective.state_dict().items()}
        tensors |= {f"sums.{k}": v for k, v in self.sums.items()}
        for name, optimizer in self._named_optimizers():
            tensors |= checkpoint.flatten_optimizer(name, optimizer)
        checkpoint.save_checkpoint(
            self.folder / "checkpoints", self.step, tensors, {"elapsed": self.elapsed, "summed": self.summed}
        )

    def _named_optimizers(self) -> list[tuple[str, torch.optim.Optimizer]]:
        return [(f"optimizer.{name}", o) for name, o in self.optimizers.items()] + [
            (f"critics.{name}", o) for name, o in self.critic_optimizers.items()
        ]

    def load(self) -> None:
        """Take up the newest checkpoint that verifies; without one the run begins at its beginning."""
        assert self.folder is not None
        found = checkpoint.load_newest(self.folder / "checkpoints")
        if found is None:
            return
        tensors, record = found
        if self.finished is not None and record["step"] > self.stop:
            self._finish()

        def under(prefix: str) -> dict[str, Tensor]:
            return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

        self.model.load_state_dict(under("model."))
        if self.kept is not self.model:
            self.kept.load_state_dict(under("kept."))
        for name, value in under("memory.").items():
            self.memory[name].copy_(value)
        self.objective.load_state_dict(under("objective."))
        self.sums = {k: v.to(self.device) for k, v in under("sums.").items()}
        for name, optimizer in self._named_optimizers():
            checkpoint.restore_optimizer(name, optimizer, tensors)
        self.step, self.elapsed, self.summed = (
            int(record["step"]),
            float(record["elapsed"]),
            int(record["summed"]),
        )


def _hold(model: VAE, held: bool) -> None:
    """Let what an encoder was shown of the decoder stay as it is, or no more."""
    for part in model.modules():
        if isinstance(part, Sight):
            part.held = held


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; a last line that a crash cut short is left out."""
    path = folder / "metrics.jsonl"
    lines = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def _steps_in_time(recipe: Recipe, images: Images, settings: Settings, progress: Progress) -> int:
    """How many steps fit into ``settings.minutes``, found by timing some on a run that is thrown away."""
    assert settings.minutes is not None
    budget, begun = settings.minutes * 60, time.monotonic()
    trial = _Run(recipe, images, replace(settings, steps=10**6), {}, None)
    trial_seconds = min(20.0, max(1.0, 0.03 * budget))

    def seconds_of_step() -> float:
        trial.update()  # the first step also pays for set-up that no other does
        start, steps = time.monotonic(), 0
        while steps < 3 or time.monotonic() - start < trial_seconds:
            trial.update()
            steps += 1
            progress("timing the first steps", min(time.monotonic() - start, trial_seconds), trial_seconds)
        return (time.monotonic() - start) / steps

    step_seconds = seconds_of_step()
    if trial.finished is not None:
        trial.step = trial.stop
        step_seconds += FINISH * (seconds_of_step() - step_seconds)
    test_seconds = 0.0
    if len(trial.test):
        start = time.monotonic()
        measure(trial.kept, trial.test, 1, settings.seed, progress, "timing a test")
        test_seconds = time.monotonic() - start
    left = budget - (time.monotonic() - begun)
    epoch_steps = len(trial.feed) / settings.batch
    # At first as if no test were made, then once more with as many as that length brings.
    tests = min(MOST_TESTS, max(1.0, left / step_seconds / epoch_steps)) if test_seconds else 0.0
    return max(1, int(0.98 * (left - tests * test_seconds) / step_seconds))
