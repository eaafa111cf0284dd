"""Networks that read the in-plane turn of a particle off its polar log spectrum.

Input: spectra (N, radii, angles), float32, from ``alignment.spectra``: angle bin a is the direction a * 180 / angles
degrees from +x towards +y. Output: the turn in degrees modulo 180, positive where a positive pose angle turns
(clockwise with row 0 on top): a particle whose turn is phi is brought to the common position by the pose angle -phi.
"""

from __future__ import annotations

import math

import torch
from torch import nn

FINE = 4  # points per angle bin at which the peak of the logits is read


def refine_angles(logits: torch.Tensor, window: float = 2.5) -> torch.Tensor:
    """Turn (N,) in degrees, modulo 180, of logits (N, angles).

    The logits are interpolated (zero padding along the angle); the answer is their soft maximum within ``window`` bins
    of the highest point, so that it is differentiable and a far second peak does not pull on it.
    """
    bins = logits.shape[-1]
    fine = torch.fft.irfft(torch.fft.rfft(logits), n=bins * FINE) * FINE
    reach = round(window * FINE)
    offset = torch.arange(-reach, reach + 1, device=logits.device)
    peak = fine.argmax(-1, keepdim=True)
    near = fine.gather(-1, (peak + offset) % (bins * FINE))
    position = peak[:, 0] + (near.softmax(-1) * offset).sum(-1)
    return position * (180.0 / (bins * FINE))


def turn_spectra(spectra: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Spectra (N, radii, angles) as if each particle had been turned by ``angle`` (N,) degrees: a Fourier shift."""
    bins = spectra.shape[-1]
    order = torch.arange(bins // 2 + 1, device=spectra.device)
    phase = angle.to(spectra.dtype)[:, None] * order * (-2 * math.pi / 180)
    turned = torch.fft.rfft(spectra) * torch.polar(torch.ones_like(phase), phase)[:, None]
    return torch.fft.irfft(turned, n=bins)


class PolarNetwork(nn.Module):
    """The equivariant network: correlation with a learned template, and circular convolutions as a residual on top.

    Turning a particle turns the logits by as much, by construction; so the difference constraint of UDL holds exactly
    and the joint term alone (JUDL; Chen, Feng, Shen 2023) trains it. radii, angles: the shape of the input; channels,
    kernel: of the residual, which is zero until it is trained.
    """

    def __init__(self, radii: int, angles: int, channels: int = 24, kernel: int = 9) -> None:
        super().__init__()
        self.config = {"radii": radii, "angles": angles, "channels": channels, "kernel": kernel}
        self.template = nn.Parameter(torch.zeros(radii, angles))
        self.radial_weight = nn.Parameter(torch.ones(radii))
        # How much each radius counts in the joint loss; fixed, or training would lower the loss by looking away.
        self.register_buffer("agreement", torch.ones(radii))
        padding = {"padding": kernel // 2, "padding_mode": "circular"}
        self.residual = nn.Sequential(
            nn.Conv1d(radii, channels, kernel, **padding),
            nn.GELU(),
            nn.Conv1d(channels, channels, kernel, **padding),
            nn.GELU(),
            nn.Conv1d(channels, 1, kernel, **padding),
        )
        nn.init.zeros_(self.residual[-1].weight)
        nn.init.zeros_(self.residual[-1].bias)

    def forward(self, spectra: torch.Tensor) -> torch.Tensor:
        """Logits (N, angles): how well the template, turned by each bin, explains each of the spectra."""
        template = torch.fft.rfft(self.template * self.radial_weight[:, None]).conj()
        product = torch.einsum("nrm,rm->nm", torch.fft.rfft(spectra), template)
        return torch.fft.irfft(product, n=spectra.shape[-1]) + self.residual(spectra)[:, 0]

    def turns(self, spectra: torch.Tensor) -> torch.Tensor:
        """Turn (N,) in degrees, modulo 180."""
        return refine_angles(self(spectra))


class FreeHeadNetwork(nn.Module):
    """The network with a free head: nothing in it is equivariant but what the pair-wise difference (UDL) teaches it.

    Circular convolutions, then dense layers that give (cos 2 phi, sin 2 phi); the turn between two particles is the
    difference of their phi. radii, angles: the shape of the input (angles divisible by 8).
    """

    def __init__(self, radii: int, angles: int, channels: int = 48, kernel: int = 9) -> None:
        super().__init__()
        self.config = {"radii": radii, "angles": angles, "channels": channels, "kernel": kernel}
        padding = {"padding": kernel // 2, "padding_mode": "circular"}
        self.features = nn.Sequential(
            nn.Conv1d(radii, channels, kernel, **padding),
            nn.GELU(),
            nn.AvgPool1d(2),
            nn.Conv1d(channels, channels, kernel, **padding),
            nn.GELU(),
            nn.AvgPool1d(2),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(channels * (angles // 4), 128), nn.GELU(), nn.Linear(128, 2))

    def forward(self, spectra: torch.Tensor) -> torch.Tensor:
        """(N, 2): cosine and sine of twice the turn, not normalised."""
        return self.head(self.features(spectra))

    def turns(self, spectra: torch.Tensor) -> torch.Tensor:
        """Turn (N,) in degrees, modulo 180."""
        out = self(spectra)
        return torch.rad2deg(torch.atan2(out[:, 1], out[:, 0])) / 2
