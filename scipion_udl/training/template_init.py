"""The first guess of the equivariant network, in closed form.

With correlation as the only layer, the joint objective (the power of the mean of the aligned polar spectra) is climbed
by turning every particle to the template and putting the mean in the template's place. Several starts, each one
particle; the start with the best objective wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from scipion_udl.models.polar_network import PolarNetwork, refine_angles


@dataclass
class TemplateFit:
    """A template (radii, angles); radial_weight (radii,), the agreement of halves; turns (N,) degrees modulo 180;
    history: one dict a round."""

    template: torch.Tensor
    radial_weight: torch.Tensor
    rotations: torch.Tensor
    history: list[dict]


def fit_template(spectra: torch.Tensor, seed: int, starts: int = 6, rounds: int = 40) -> TemplateFit:
    """Fit a template to spectra, unsupervised.

    Parameters
    ----------
    spectra : (N, radii, angles) tensor
        Polar spectra.
    seed : int
        Which of them are the starts.
    starts : int, optional
        How many there are.
    rounds : int, optional
        How many there may be; it ends as soon as the turns move by less than 0.02 degrees.

    Returns
    -------
    TemplateFit
        The template of the best start. Its history holds, per round, the loss of the best start (1 - power of the mean
        / mean power) and how far the rotations still moved in degrees.
    """
    n, _, bins = spectra.shape
    data = torch.fft.rfft(spectra)
    order = torch.arange(data.shape[-1], device=data.device)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(n, generator=generator)[: min(starts, n)].to(data.device)
    templates = data[chosen].clone()
    power = data.abs().pow(2).sum((1, 2)).mean()
    history: list[dict] = []
    rotations = torch.zeros(n, len(templates), device=data.device)
    for round_number in range(1, rounds + 1):
        product = torch.einsum("nrm,srm->nsm", data, templates.conj())
        new = refine_angles(torch.fft.irfft(product, n=bins).flatten(0, 1)).view(n, -1)
        moved = None if round_number == 1 else _distance(new, rotations).mean(0)
        rotations = new
        phase = torch.polar(torch.ones((), device=data.device), rotations[..., None] * order * (torch.pi / 90))
        templates = torch.einsum("nrm,nsm->srm", data, phase) / n
        objective = templates.abs().pow(2).sum((1, 2)) / power
        best = int(objective.argmax())
        history.append({"epoch": round_number, "stage": "template", "loss": 1 - float(objective[best])})
        if moved is not None:
            history[-1]["moved"] = float(moved[best])
            if moved.max() < 0.02:
                break
    aligned = data * phase[:, best, None]
    weight = _agreement(aligned[::2].sum(0), aligned[1::2].sum(0))
    template = torch.fft.irfft(templates[best], n=bins)
    return TemplateFit(template, weight, rotations[:, best] % 180, history)


def start_from_template(
    network: PolarNetwork, fit: TemplateFit, spectra: torch.Tensor, view: int | None = None
) -> None:
    """Put a fitted template into the equivariant network, scaled so that its logits are about log likelihoods.

    The spectra are sampled about twice as finely as they are independent along either axis, hence the factor.

    Parameters
    ----------
    network : PolarNetwork
        Changed in place.
    fit : TemplateFit
        What was fitted.
    spectra : (N, radii, angles) tensor
        What it was fitted to; the noise of each radius is taken of them.
    view : int, optional
        Which one of several views it is of.
    """
    noise = spectra.var(dim=(0, 2)).clamp(min=1e-8)
    with torch.no_grad():
        network.of_view("template", view).copy_(fit.template / noise[:, None] / 4)
        network.of_view("radial_weight", view).copy_(fit.radial_weight)
        network.of_view("agreement", view).copy_(fit.radial_weight)


def reliable_radii(views: Sequence[torch.Tensor], seed: int, least: int = 7, threshold: float = 0.4) -> int:
    """How many radii, counted from the innermost, carry a common signal: the band a network may look at.

    Two halves of each view get a template each, on their own; the templates are rotated onto each other, and the band
    ends where their agreement (over all views, smoothed over three radii) first falls below ``threshold``; the
    innermost radii may be empty in a view. In noise that is at once.

    Parameters
    ----------
    views : sequence of (N, radii, angles) tensors
        The spectra of each view, 4 or more.
    seed : int
        Of the fits.
    least : int, optional
        Radii that are kept in any case.
    threshold : float, optional
        The agreement that is asked for.

    Returns
    -------
    int
        Radii.
    """
    pairs = [_half_templates(spectra, seed) for spectra in views]
    agreement = _agreement(*(torch.cat([pair[half] for pair in pairs], -1) for half in (0, 1)))
    padded = torch.cat([agreement[:1], agreement, agreement[-1:]])
    low = (padded.unfold(0, 3, 1).mean(-1) < threshold).nonzero()[:, 0]
    low = low[low > 3]
    end = int(low[0]) if len(low) else len(agreement)
    return max(min(least, len(agreement)), end)


def _half_templates(spectra: torch.Tensor, seed: int) -> list[torch.Tensor]:
    """Templates of two halves, rotated onto each other, Fourier along the angle (radii, angles//2 + 1); in units of
    their noise, so that of several views each counts by its signal."""
    halves = [fit_template(part, seed, starts=3, rounds=20).template for part in (spectra[::2], spectra[1::2])]
    first, second = (torch.fft.rfft(template) for template in halves)
    rotation = refine_angles(torch.fft.irfft((second * first.conj()).sum(0)[None], n=spectra.shape[-1]))[0]
    order = torch.arange(second.shape[-1], device=second.device)
    rotated = second * torch.polar(torch.ones((), device=second.device), rotation * order * (torch.pi / 90))
    return [template * len(spectra) ** 0.5 for template in (first, rotated)]


def _distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Absolute difference of angles modulo 180, degrees."""
    return ((a - b + 90) % 180 - 90).abs()


def _agreement(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Correlation per radius of the two halves' mean spectra (Fourier along the angle), 0 to 1, as a Wiener weight."""
    cross = (a * b.conj()).real.sum(-1)
    frc = (cross / (a.abs().pow(2).sum(-1) * b.abs().pow(2).sum(-1)).sqrt().clamp(min=1e-12)).clamp(0, 1)
    return 2 * frc / (1 + frc)
