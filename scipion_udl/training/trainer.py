"""Training without labels: epochs over a part of the particles, until what is held out gains no more.

What is learned stands in objectives.py, how in presets.py. A fifth of what a training looks at is held out: its loss
decides when to stop and which epoch is kept. Several processes (distributed.py) share the work on every batch.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, cast

import torch
from torch import nn

from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.compute.gradients import average_gradients
from scipion_udl.errors import UdlError
from scipion_udl.messages import Message, message
from scipion_udl.models.checkpoint import opened_tensors, write_tensors
from scipion_udl.models.network import Network
from scipion_udl.models.polar_network import PolarNetwork, view_of
from scipion_udl.training.datasets import HELD_AT_MOST, HELD_OUT, Samples, TensorSamples
from scipion_udl.training.objectives import Objective, PolarObjective
from scipion_udl.training.presets import Preset, preset_of
from scipion_udl.training.step_memory import StepMemory
from scipion_udl.training.template_init import fit_template, start_from_template

LOWER = 0.1  # by how much the rate is lowered where training has diverged


@dataclass
class TrainingSettings:
    """How a network is trained.

    method: judl or udl; epochs: at most, lr: of Adam, batch: inputs a step, patience: epochs without gain after which
    training has converged (None: as the recipe has it); min_gain: the relative gain of the held-out loss that counts;
    network: polar, resnet or matching, and name: of a published recipe, which choose the recipe; particles: a number
    that tells those which are learned from, so that a training goes on with them alone.
    """

    method: str = "judl"
    epochs: int = None  # type: ignore[assignment]  # a number once it is made, as those below
    lr: float = None  # type: ignore[assignment]
    batch: int = None  # type: ignore[assignment]
    seed: int = 0
    patience: int = None  # type: ignore[assignment]
    min_gain: float = 1e-4
    network: str = "polar"
    name: str | None = None
    particles: int | None = None

    def __post_init__(self) -> None:
        preset = self.preset
        self.epochs = preset.epochs if self.epochs is None else self.epochs
        self.lr = preset.lr if self.lr is None else self.lr
        self.batch = preset.batch if self.batch is None else self.batch
        self.patience = preset.patience if self.patience is None else self.patience

    @property
    def preset(self) -> Preset:
        """What suits network and method."""
        return preset_of(self.network, self.method, self.name)


@dataclass
class TrainingResult:
    """network (evaluation mode), one dict an epoch in history, and what the card says of the training."""

    network: Network
    history: list[dict]
    summary: dict = field(default_factory=dict)


@dataclass
class _State:
    """What a continued training needs besides the weights; lowered: in which epoch the rate was, 0 for never."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    since_gain: int = 0
    steps: int = 0
    lowered: int = 0
    history: list[dict] = field(default_factory=list)


def train_network(
    data: torch.Tensor | Samples,
    network: Network,
    settings: TrainingSettings,
    started: bool = False,
    checkpoint: str | None = None,
    report: Callable[[dict, int], None] | None = None,
    monitor: Callable[[nn.Module], dict] | None = None,
    objective: Objective[Any] | None = None,
    group: ProcessGroup | None = None,
    warn: Callable[[Message], None] | None = None,
) -> TrainingResult:
    """Train a network until what is held out gains no more.

    Parameters
    ----------
    data : (N, ...) tensor or Samples
        Inputs: polar spectra (N, radii, angles) unless ``objective`` is for others.
    network : Network
        What is trained, in place.
    settings : TrainingSettings
        How.
    started : bool, optional
        Whether the network already holds a trained model to go on from.
    checkpoint : str, optional
        A file that is written after every epoch and, where it is there, continued from.
    report : callable, optional
        Called with each epoch's row and the most epochs there may be.
    monitor : callable, optional
        Adds figures to each row; it does not take part.
    objective : Objective, optional
        The loss; None for that of polar spectra.
    group : ProcessGroup, optional
        Processes that share every batch and all call this with the same arguments.
    warn : callable, optional
        Told where the loss was not finite and training went back to its best epoch, once, with a lower rate; and where
        memory is not enough for a step, and it goes on with the same batches.

    Returns
    -------
    TrainingResult
        The network at its best epoch.

    Raises
    ------
    UdlError
        Where the loss is not finite a second time, and for a checkpoint that is damaged or of another training.
    """
    torch.manual_seed(settings.seed)
    samples = TensorSamples(data) if isinstance(data, torch.Tensor) else data
    objective = objective or PolarObjective(settings.method, settings.preset)
    group = group or ProcessGroup()
    training = _Training(network.to(samples.known.device), objective, samples, settings, group, warn or warnings.warn)
    training.start(checkpoint, started, monitor)
    training.go_on(checkpoint, report, monitor, warn)
    network.load_state_dict(training.best)
    training.finish()
    return TrainingResult(network.eval(), training.state.history, _summary(training))


class _Diverged(Exception):
    """The loss is not finite."""


def lowered_warning(epoch: int, rate: float) -> Message:
    """What is said of a training that had to go on with a lower rate.

    Parameters
    ----------
    epoch : int
        From which one on.
    rate : float
        The new rate, of Adam.

    Returns
    -------
    Message
        The warning.
    """
    return message("rate_lowered", epoch=epoch, rate=rate)


class _Training:
    """A training as it goes: network, what is trained with it, and how far it is."""

    def __init__(
        self,
        network: Network,
        objective: Objective[Any],
        samples: Samples,
        settings: TrainingSettings,
        group: ProcessGroup,
        warn: Callable[[Message], None],
    ) -> None:
        self.network, self.objective, self.samples, self.settings, self.group = (
            network, objective, samples, settings, group
        )  # fmt: skip
        objective.share_among(network, group)
        objective.extra.to(samples.known.device)
        objective.begin(samples.known)
        self.memory = StepMemory(network, objective, settings.batch, samples.known.device, warn)
        self.held = samples.held_out or max(2, min(HELD_AT_MOST, round(HELD_OUT * len(samples))))
        self.held_out = samples.known[: self.held]
        self.state = _State()
        self.best = _copy(network)
        self.optimiser = self._adam()
        self._best_extra = _copy(objective.extra)

    def start(self, checkpoint: str | None, started: bool, monitor: Callable[[nn.Module], dict] | None) -> None:
        """Where the checkpoint was left, or the start: of a network that is not trained yet, the template."""
        resumed = self.group.on_rank0(lambda: checkpoint is not None and os.path.exists(checkpoint))
        if checkpoint is not None and resumed:
            self.resume(checkpoint)
        elif isinstance(self.network, PolarNetwork) and self.settings.method == "judl" and not started:
            self.state.history.extend(self.fit_templates())
        self.begin(monitor, resumed)

    def go_on(
        self,
        checkpoint: str | None,
        report: Callable[[dict, int], None] | None,
        monitor: Callable[[nn.Module], dict] | None,
        warn: Callable[[Message], None] | None,
    ) -> None:
        """Epoch after epoch, until it has converged or there have been as many as there may be."""
        while self.state.epoch < self.settings.epochs and not self.converged:
            try:
                row = self.epoch(monitor)
            except _Diverged:
                self.go_back()
                if warn:
                    warn(lowered_warning(self.state.lowered, self.rate))
                continue
            if checkpoint and self.group.first:
                self.save(checkpoint)
            if report:
                report(row, self.settings.epochs)

    @property
    def rate(self) -> float:
        """The rate to learn at, of Adam, before it decays."""
        return self.settings.lr * (LOWER if self.state.lowered else 1)

    def go_back(self) -> None:
        """To the best epoch so far, with a lower rate and no memory of its moments. Raises UdlError the second time."""
        state = self.state
        if state.lowered:
            raise UdlError(message("training_diverged", epoch=state.epoch, rate=self.rate))
        state.lowered, state.since_gain, state.epoch = state.epoch, 0, state.epoch - 1
        self.network.load_state_dict(self.best)
        self.objective.extra.load_state_dict(self._best_extra)
        self.optimiser = self._adam()

    def _adam(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([*self.network.parameters(), *self.objective.extra.parameters()], lr=self.rate)

    def fit_templates(self) -> list[dict]:
        """Begin with the template that suits each view; returns the rounds of the fits, as the mean of all views."""
        known, histories = self.samples.known, []
        for view, rows in self._views(self.held, len(known)):
            fit = fit_template(known[rows], self.settings.seed)
            start_from_template(cast(PolarNetwork, self.network), fit, known[rows], view)
            histories.append(fit.history)
        longest = max(histories, key=len)
        rounds = [[history[min(number, len(history) - 1)] for history in histories] for number in range(len(longest))]
        return [
            {**row, **{key: sum(one[key] for one in same) / len(same) for key in ("loss", "moved") if key in row}}
            for row, same in zip(longest, rounds)
        ]

    def _views(self, start: int, end: int) -> list[tuple[int | None, slice | torch.Tensor]]:
        """(number, inputs) of each view among the inputs ``start`` to ``end``; number None where there is but one."""
        views = self.samples.view
        if views is None:
            return [(None, slice(start, end))]
        own = views[start:end]
        return [(int(view), start + (own == view).nonzero()[:, 0]) for view in own.unique()]

    def _batches(self, generator: torch.Generator) -> list[tuple[int | None, torch.Tensor]]:
        """(view, inputs) of the batches of an epoch: all of a batch are of one view."""
        size = self.settings.batch
        parts: list[tuple[int | None, torch.Tensor]] = []
        if self.samples.view is None:
            return [(None, part + self.held) for part in _cut(len(self.samples) - self.held, size, generator)]
        for view, rows in self._views(self.held, len(self.samples)):
            rows = cast(torch.Tensor, rows)  # of one view alone it would be a slice
            parts += [(view, rows[part]) for part in _cut(len(rows), size, generator)]
        return [parts[number] for number in torch.randperm(len(parts), generator=generator)]

    def begin(self, monitor: Callable[[nn.Module], dict] | None, resumed: bool) -> None:
        """The row of the start, epoch 0, where there is none yet."""
        for module in (self.network, self.objective.extra):
            self.group.broadcast_state(module)
        if resumed:
            return
        state = self.state
        state.best_loss = self.validate()
        state.history.append({"epoch": 0, "stage": "network", "validation": state.best_loss})
        self._watch(monitor, state.history[-1])
        self.best = _copy(self.network)

    @property
    def converged(self) -> bool:
        """Whether nothing has been gained for as long as the settings wait."""
        state, settings = self.state, self.settings
        return state.since_gain >= settings.patience and state.best_loss < settings.preset.learned

    @property
    def settled(self) -> bool:
        """Whether it has converged; of a training that goes through all its epochs, as the published ones do, whether
        the last fifth of them gained nothing."""
        state, settings = self.state, self.settings
        rest = min(settings.patience, max(10, settings.epochs // 5))
        return state.since_gain >= rest and state.best_loss < settings.preset.learned

    def epoch(self, monitor: Callable[[nn.Module], dict] | None) -> dict:
        """One pass over what is not held out, in batches whose order depends on the seed and the epoch alone."""
        state, settings = self.state, self.settings
        state.epoch += 1
        generator = torch.Generator().manual_seed(settings.seed * 100003 + state.epoch)
        parts = self._batches(generator)
        self.network.train()
        self.objective.extra.train()
        total, count = 0.0, 0
        for (view, _), batch in zip(parts, self.samples.batches([part for _, part in parts])):
            total, count = total + self._step(batch, generator, view) * len(batch), count + len(batch)
        held_out = self.validate()
        row: dict[str, Any] = {
            "epoch": state.epoch,
            "stage": "network",
            "loss": total / count,
            "validation": held_out,
        }
        state.history.append(row)
        self._watch(monitor, row)
        if held_out < state.best_loss * (1 - settings.min_gain):
            state.best_loss, state.best_epoch, state.since_gain = held_out, state.epoch, 0
            self.best, self._best_extra = _copy(self.network), _copy(self.objective.extra)
        else:
            state.since_gain += 1
        return row

    def _step(self, batch: torch.Tensor, generator: torch.Generator, view: int | None) -> float:
        """One step of the optimiser; returns the loss."""
        state, settings = self.state, self.settings
        if settings.preset.decay:
            steps, factor = settings.preset.decay
            for group in self.optimiser.param_groups:
                group["lr"] = self.rate * factor ** (state.steps // steps)
        parameters = [*self.network.parameters(), *self.objective.extra.parameters()]
        loss = self.memory.run(lambda: self._gradients(batch, generator, view, parameters), generator)
        if math.isfinite(settings.preset.clip):
            nn.utils.clip_grad_norm_(parameters, settings.preset.clip)
        self.optimiser.step()
        state.steps += 1
        return float(loss.detach())

    def _gradients(
        self, batch: torch.Tensor, generator: torch.Generator, view: int | None, parameters: list[nn.Parameter]
    ) -> torch.Tensor:
        """The loss of a batch, and its gradients in ``parameters``."""
        with self.memory.keeping():
            loss = self.objective.loss(view_of(self.network, view), batch, generator, self.state.epoch)
        if not torch.isfinite(self.group.total(loss)):
            raise _Diverged
        self.optimiser.zero_grad()
        loss.backward()
        average_gradients(parameters, self.group)
        return loss

    @torch.no_grad()
    def validate(self) -> float:
        """The loss of what is held out, with the same random rotations in every epoch."""
        self.network.eval()
        self.objective.extra.eval()
        generator = torch.Generator().manual_seed(self.settings.seed)
        return self.memory.run(lambda: self._validation(generator), generator)

    def _validation(self, generator: torch.Generator) -> float:
        loss = 0.0
        for view, rows in self._views(0, self.held):
            inputs = self.held_out[rows]
            share = len(inputs) / self.held
            loss += share * float(self.objective.validation(view_of(self.network, view), inputs, generator))
        return self.group.on_rank0(lambda: loss)

    def finish(self) -> None:
        """Make the network fit for use."""
        self.network.eval()
        self.objective.finish(self.network, self.samples.known)

    def _watch(self, monitor: Callable[[nn.Module], dict] | None, row: dict) -> None:
        if monitor:
            self.finish()
            row.update(monitor(self.network))

    def save(self, path: str) -> None:
        """Weights, best weights, Adam's moments and the epoch, in one file that replaces the last once complete."""
        tensors = {f"now.{k}": v.contiguous() for k, v in self.network.state_dict().items()}
        tensors.update({f"best.{k}": v.contiguous() for k, v in self.best.items()})
        tensors.update({f"extra.{k}": v.contiguous() for k, v in self.objective.extra.state_dict().items()})
        tensors.update({f"best_extra.{k}": v.contiguous() for k, v in self._best_extra.items()})
        for number, values in self.optimiser.state_dict()["state"].items():
            tensors.update({f"adam.{number}.{k}": torch.as_tensor(v).contiguous() for k, v in values.items()})
        saved = {"method": self.settings.method, "of": self._fingerprint, "state": asdict(self.state)}
        write_tensors(path, tensors, {"training": json.dumps(saved)})

    def resume(self, path: str) -> None:
        """Put a checkpoint back, which the first process reads. Raises UdlError for a damaged one, and for one of
        another network or method."""
        from safetensors import SafetensorError

        try:
            tensors, saved = self.group.on_rank0(lambda: _read_checkpoint(path, self.samples.known.device))
            if saved["method"] != self.settings.method:
                raise ValueError(saved["method"])
            self._check_same(path, saved["of"])
            self.best = _with_prefix(tensors, "best.")
            self.network.load_state_dict(self.best)  # that they fit is seen now, not at the end
            self.network.load_state_dict(_with_prefix(tensors, "now."))
            self.objective.extra.load_state_dict(_with_prefix(tensors, "extra."))
            self._best_extra = _with_prefix(tensors, "best_extra.") or _copy(self.objective.extra)
            moments: dict[int, dict] = {}
            for name, value in _with_prefix(tensors, "adam.").items():
                number, key = name.split(".", 1)
                moments.setdefault(int(number), {})[key] = value.cpu() if key == "step" else value
            self.state = _State(**saved["state"])
            self.optimiser = self._adam()
            self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError):
            raise UdlError(message("checkpoint_damaged", path=path)) from None

    @cached_property
    def _fingerprint(self) -> dict:
        """What a training that goes on must have in common with the one that was stopped."""
        known, settings = self.samples.known, self.settings
        return {
            "number of particles": len(self.samples),
            "size of the input": list(known.shape[1:]),
            "input": round(float(self.held_out.std()), 4),
            "seed": settings.seed,
            "batch": settings.batch,
            "recipe": settings.name,
            "particles": settings.particles,
        }

    def _check_same(self, path: str, saved: dict) -> None:
        for name, mine in self._fingerprint.items():
            if saved[name] != mine:
                raise UdlError(
                    message("checkpoint_of_other_training", path=path, name=name, saved=saved[name], mine=mine)
                )


def _read_checkpoint(path: str, device: torch.device) -> tuple[dict[str, torch.Tensor], dict]:
    """(tensors, what the file says of the training) of a checkpoint."""
    with opened_tensors(path, str(device)) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        return tensors, json.loads(file.metadata()["training"])


def _with_prefix(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _cut(count: int, size: int, generator: torch.Generator) -> list[torch.Tensor]:
    """The numbers 0 to count - 1 in random order, in parts of ``size``."""
    parts = list(torch.randperm(count, generator=generator).split(size))
    if len(parts) > 1 and len(parts[-1]) < size // 2:  # a joint loss over few particles says little
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _copy(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _summary(training: _Training) -> dict:
    settings, state = training.settings, training.state
    return {
        "method": settings.method,
        "recipe": settings.name,
        **training.objective.facts(),
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "converged": training.settled,
        "validation": state.best_loss,
        "particles": len(training.samples),
        "seed": settings.seed,
        "batch": settings.batch,
        "lr": training.rate,
        **({"lowered": state.lowered} if state.lowered else {}),
    }
