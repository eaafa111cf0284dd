"""Training of the polar networks without labels: JUDL (the joint term) and UDL (the pair-wise difference).

Both work on the polar spectra of a bounded subset, which are small; turning a particle is a shift of its spectrum.
A tenth to a quarter of the subset is held out: its loss decides when to stop and which epoch is kept.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

import torch
from torch import nn

from scipion_udl.alignment.losses import difference_loss, joint_loss
from scipion_udl.alignment.spectra import SpectraSettings
from scipion_udl.alignment.template import TemplateFit, fit_template
from scipion_udl.errors import UdlError
from scipion_udl.models.checkpoint import write_tensors
from scipion_udl.models.polar import FreeHeadNetwork, PolarNetwork, turn_spectra

SUBSET = 2048  # particles that training looks at, at most
HELD_OUT = 0.2


@dataclass(frozen=True)
class _Recipe:
    """What suits a method. epochs: at most; learned: the held-out loss below which there is something to converge;
    noise: of the copies that the network compares, in standard deviations of the spectra."""

    epochs: int
    lr: float
    batch: int
    patience: int
    learned: float = math.inf
    noise: float = 0.0


# UDL stands at chance for some epochs before it finds the turn, so that a rest there is no convergence; and without
# fresh noise in every copy it learns each particle's own noise, which turns with the particle as well.
RECIPES = {
    "judl": _Recipe(epochs=60, lr=1e-3, batch=128, patience=6),
    "udl": _Recipe(epochs=120, lr=2e-3, batch=64, patience=12, learned=0.5, noise=1.0),
}


@dataclass
class TrainingSettings:
    """How a network is trained.

    method: judl (equivariant head, joint term) or udl (free head, difference loss); epochs: at most, lr: of Adam,
    batch: particles a step, patience: epochs without gain after which training has converged (None: what suits the
    method); min_gain: the relative gain of the held-out loss that counts.
    """

    method: str = "judl"
    epochs: int | None = None
    lr: float | None = None
    batch: int | None = None
    seed: int = 0
    patience: int | None = None
    min_gain: float = 1e-4

    def __post_init__(self) -> None:
        recipe = self.recipe
        self.epochs = recipe.epochs if self.epochs is None else self.epochs
        self.lr = recipe.lr if self.lr is None else self.lr
        self.batch = recipe.batch if self.batch is None else self.batch
        self.patience = recipe.patience if self.patience is None else self.patience

    @property
    def recipe(self) -> _Recipe:
        """What suits the method."""
        return RECIPES[self.method]


@dataclass
class TrainingResult:
    """network (evaluation mode), one dict an epoch in history, and what the card says of the training."""

    network: nn.Module
    history: list[dict]
    summary: dict = field(default_factory=dict)


@dataclass
class _State:
    """What a continued training needs besides the weights."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    since_gain: int = 0
    history: list[dict] = field(default_factory=list)


def new_network(method: str, settings: SpectraSettings) -> tuple[str, nn.Module]:
    """(name in NETWORKS, network) of a method."""
    if method == "judl":
        return "polar", PolarNetwork(settings.radii, settings.angles)
    return "polar-free", FreeHeadNetwork(settings.radii, settings.angles)


def train_network(
    spectra: torch.Tensor,
    network: nn.Module,
    settings: TrainingSettings,
    started: bool = False,
    checkpoint: str | None = None,
    report: Callable[[dict, int], None] | None = None,
    monitor: Callable[[nn.Module], dict] | None = None,
) -> TrainingResult:
    """Train ``network`` on polar spectra (N, radii, angles).

    started: the network already holds a trained model to go on from; checkpoint: a file that is written after every
    epoch and, where it is there, continued from; report: called with each epoch's row and the most epochs there may be;
    monitor: adds figures to each row, it does not take part. Raises UdlError where the loss is not finite.
    """
    torch.manual_seed(settings.seed)
    network = network.to(spectra.device)
    held = max(2, round(HELD_OUT * len(spectra)))
    held_out, seen = spectra[:held], spectra[held:]
    state = _State()
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.lr)
    best = None
    if checkpoint and os.path.exists(checkpoint):
        best = _resume(checkpoint, network, optimiser, state)
    elif settings.method == "judl" and not started:
        fit = fit_template(seen, settings.seed)
        start_from_template(network, fit, seen)
        state.history.extend(fit.history)
    if best is None:
        state.best_loss = _validate(network, held_out, settings)
        state.history.append({"epoch": 0, "stage": "network", "validation": state.best_loss})
        if monitor:
            state.history[-1].update(monitor(network))
        best = _copy(network)
    while state.epoch < settings.epochs and not _converged(state, settings):
        row = _epoch(network, optimiser, seen, held_out, settings, state)
        if monitor:
            row.update(monitor(network))
        if row["validation"] < state.best_loss * (1 - settings.min_gain):
            state.best_loss, state.best_epoch, state.since_gain = row["validation"], state.epoch, 0
            best = _copy(network)
        else:
            state.since_gain += 1
        if checkpoint:
            _save_checkpoint(checkpoint, network, best, optimiser, state)
        if report:
            report(row, settings.epochs)
    network.load_state_dict(best)
    return TrainingResult(network.eval(), state.history, _summary(settings, state, len(spectra)))


def start_from_template(network: PolarNetwork, fit: TemplateFit, spectra: torch.Tensor) -> None:
    """Put a fitted template into the equivariant network, scaled so that its logits are about log likelihoods.

    The spectra are sampled about twice as finely as they are independent along either axis, hence the factor.
    """
    noise = spectra.var(dim=(0, 2)).clamp(min=1e-8)
    with torch.no_grad():
        network.template.copy_(fit.template / noise[:, None] / 4)
        network.radial_weight.copy_(fit.radial_weight)
        network.agreement.copy_(fit.radial_weight)


def _converged(state: _State, settings: TrainingSettings) -> bool:
    return state.since_gain >= settings.patience and state.best_loss < settings.recipe.learned


def _epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    seen: torch.Tensor,
    held_out: torch.Tensor,
    settings: TrainingSettings,
    state: _State,
) -> dict:
    """One pass over the subset in batches; the order depends on the seed and the epoch alone."""
    state.epoch += 1
    generator = torch.Generator().manual_seed(settings.seed * 100003 + state.epoch)
    network.train()
    total, count = 0.0, 0
    for batch in _batches(seen, settings.batch, generator):
        loss = _loss(network, batch, settings, generator, min(180.0, 30.0 + 4.0 * state.epoch))
        if not torch.isfinite(loss):
            raise UdlError(
                f"Training diverged in epoch {state.epoch} (the loss is not finite): try a lower --lr than "
                f"{settings.lr:g}."
            )
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
        total, count = total + float(loss.detach()) * len(batch), count + len(batch)
    validation = _validate(network, held_out, settings)
    row = {"epoch": state.epoch, "stage": "network", "loss": total / count, "validation": validation}
    state.history.append(row)
    return row


def _batches(spectra: torch.Tensor, size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    order = torch.randperm(len(spectra), generator=generator).to(spectra.device)
    parts = list(order.split(size))
    if len(parts) > 1 and len(parts[-1]) < size // 2:  # a joint loss over few particles says little
        parts[-2:] = [torch.cat(parts[-2:])]
    return (spectra[part] for part in parts)


def _loss(
    network: nn.Module,
    spectra: torch.Tensor,
    settings: TrainingSettings,
    generator: torch.Generator,
    reach: float = 180.0,
) -> torch.Tensor:
    """The loss of a batch under random turns; reach: the span of UDL's turns, degrees (small ones are learned first).
    """
    angle = torch.rand(2, len(spectra), generator=generator).to(spectra.device)
    if settings.method == "judl":
        turned = turn_spectra(spectra, angle[0] * 180)
        return joint_loss(turned, network.turns(turned), network.agreement)
    angle = (angle - 0.5) * reach
    deviation = settings.recipe.noise * spectra.std()

    def turns(copy: torch.Tensor) -> torch.Tensor:
        return network.turns(copy + deviation * torch.randn(copy.shape, generator=generator).to(copy.device))

    first, second = spectra, spectra.roll(1, 0)
    before = turns(first) - turns(second)
    after = turns(turn_spectra(first, angle[0])) - turns(turn_spectra(second, angle[1]))
    return difference_loss(after - before, angle[0] - angle[1])


@torch.no_grad()
def _validate(network: nn.Module, held_out: torch.Tensor, settings: TrainingSettings) -> float:
    """The loss of the held-out particles, with the same random turns in every epoch."""
    network.eval()
    return float(_loss(network, held_out, settings, torch.Generator().manual_seed(settings.seed)))


def _copy(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _summary(settings: TrainingSettings, state: _State, particles: int) -> dict:
    return {
        "method": settings.method,
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "converged": _converged(state, settings),
        "validation": state.best_loss,
        "particles": particles,
        "seed": settings.seed,
        "batch": settings.batch,
        "lr": settings.lr,
    }


def _save_checkpoint(
    path: str, network: nn.Module, best: dict[str, torch.Tensor], optimiser: torch.optim.Optimizer, state: _State
) -> None:
    """Weights, best weights, Adam's moments and the epoch, in one file that replaces the last when it is complete."""
    tensors = {f"now.{k}": v.contiguous() for k, v in network.state_dict().items()}
    tensors.update({f"best.{k}": v.contiguous() for k, v in best.items()})
    for number, values in optimiser.state_dict()["state"].items():
        tensors.update({f"adam.{number}.{k}": torch.as_tensor(v).contiguous() for k, v in values.items()})
    write_tensors(path, tensors, {"state": json.dumps(asdict(state))})


def _resume(
    path: str, network: nn.Module, optimiser: torch.optim.Optimizer, state: _State
) -> dict[str, torch.Tensor]:
    """Put a checkpoint back into network, optimiser and state; returns the best weights so far."""
    from safetensors import SafetensorError, safe_open

    device = str(next(network.parameters()).device)
    try:
        with safe_open(path, framework="pt", device=device) as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            saved = json.loads(file.metadata()["state"])
        network.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("now.")})
        moments: dict[int, dict] = {}
        for name, value in tensors.items():
            if name.startswith("adam."):
                _, number, key = name.split(".", 2)
                moments.setdefault(int(number), {})[key] = value.cpu() if key == "step" else value
        optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError):
        raise UdlError(
            f"The checkpoint {path} is damaged or of another network: remove it, or start anew with --overwrite."
        ) from None
    for key, value in saved.items():
        setattr(state, key, value)
    return {k[5:]: v for k, v in tensors.items() if k.startswith("best.")}


def write_history(path: str, history: list[dict]) -> None:
    """training.csv: one row an epoch, with all columns that occur."""
    columns = ["epoch", "stage"]
    columns += [key for row in history for key in row if key not in columns and not columns.append(key)]
    columns = list(dict.fromkeys(columns))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in history
        )
