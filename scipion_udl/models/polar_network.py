"""Networks that read the in-plane rotation of a particle off its polar log spectrum.

Input: spectra (N, radii, angles), float32, of ``imaging.polar_spectra``: angle bin a is the direction a * 180 / angles
degrees from +x towards +y. Output: the rotation in degrees modulo 180, positive where a positive pose angle turns
(clockwise with row 0 on top): a particle rotated by phi is brought to the common position by the pose angle -phi.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn

from scipion_udl.models.network import Network, TellsRotations

FINE = 4  # points per angle bin at which the peak of the logits is read


def refine_angles(logits: torch.Tensor, window: float = 2.5) -> torch.Tensor:
    """Turn (N,) in degrees, modulo 180, of logits (N, angles).

    The logits are interpolated (zero padding along the angle); the answer is their soft maximum within ``window`` bins
    of the highest point, so that it is differentiable and a far second peak does not pull on it.

    Parameters
    ----------
    logits : (N, angles) tensor
        A value for each direction over 180 degrees.
    window : float, optional
        Bins.

    Returns
    -------
    (N,) tensor
        Degrees, modulo 180.
    """
    bins = logits.shape[-1]
    fine = torch.fft.irfft(torch.fft.rfft(logits), n=bins * FINE) * FINE
    reach = round(window * FINE)
    offset = torch.arange(-reach, reach + 1, device=logits.device)
    peak = fine.argmax(-1, keepdim=True)
    near = fine.gather(-1, (peak + offset) % (bins * FINE))
    position = peak[:, 0] + (near.softmax(-1) * offset).sum(-1)
    return position * (180.0 / (bins * FINE))


def rotate_spectra(spectra: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Spectra (N, radii, angles) as if each particle had been rotated by ``angle`` (N,) degrees: a Fourier shift.

    Parameters
    ----------
    spectra : (N, radii, angles) tensor
        Polar spectra.
    angle : (N,) tensor
        Degrees.

    Returns
    -------
    (N, radii, angles) tensor
        The rotated spectra.
    """
    bins = spectra.shape[-1]
    order = torch.arange(bins // 2 + 1, device=spectra.device)
    phase = angle.to(spectra.dtype)[:, None] * order * (-2 * math.pi / 180)
    rotated = torch.fft.rfft(spectra) * torch.polar(torch.ones_like(phase), phase)[:, None]
    return torch.fft.irfft(rotated, n=bins)


def _circular_convolution(before: int, after: int, kernel: int) -> nn.Conv1d:
    """A convolution around all angles, (N, before, angles) to (N, after, angles), whose ends meet."""
    return nn.Conv1d(before, after, kernel, padding=kernel // 2, padding_mode="circular")


class PolarNetwork(Network):
    """The equivariant network: correlation with a learned template, and circular convolutions as a residual on top.

    Turning a particle turns the logits by as much, by construction; so the difference constraint of UDL holds exactly
    and the joint term alone (JUDL; Chen, Feng, Shen 2023) trains it. radii, angles: the shape of the input; channels,
    kernel: of the residual, which is zero until it is trained. views: a network of several has a template with its
    weights for each, (views, radii, angles) and (views, radii), and one residual for all; :meth:`view` gives one of
    them, which is used as a network of its own.
    """

    def __init__(self, radii: int, angles: int, channels: int = 24, kernel: int = 9, views: int = 1) -> None:
        super().__init__()
        self.views = views
        self.config = {"radii": radii, "angles": angles, "channels": channels, "kernel": kernel}
        several: tuple[int, ...] = ()
        if views > 1:
            self.config["views"], several = views, (views,)
        self.template = nn.Parameter(torch.zeros(*several, radii, angles))
        self.radial_weight = nn.Parameter(torch.ones(*several, radii))
        # How much each radius counts in the joint loss; fixed, or training would lower the loss by looking away.
        self.register_buffer("agreement", torch.ones(*several, radii))
        first, second, last = (
            _circular_convolution(before, after, kernel)
            for before, after in ((radii, channels), (channels, channels), (channels, 1))
        )
        for values in last.parameters():
            nn.init.zeros_(values)
        self.residual = nn.Sequential(first, nn.GELU(), second, nn.GELU(), last)

    def of_view(self, name: str, view: int | None) -> torch.Tensor:
        """The template, radial_weight or agreement of a view; of a network of several one must be named.

        Parameters
        ----------
        name : str
            Which of the three.
        view : int or None
            The view, from 0.

        Returns
        -------
        tensor
            Of that view.
        """
        values = getattr(self, name)
        if self.views == 1:
            return values
        if view is None:
            raise ValueError(f"a network of {self.views} views: say which one")
        return values[view]

    def forward(self, spectra: torch.Tensor, view: int | None = None) -> torch.Tensor:
        """Logits (N, angles): how well the template, rotated by each bin, explains each of the spectra.

        Parameters
        ----------
        spectra : (N, radii, angles) tensor
            Polar spectra.
        view : int, optional
            The view, from 0, of a network of several.

        Returns
        -------
        (N, angles) tensor
            The logits.
        """
        template = self.of_view("template", view) * self.of_view("radial_weight", view)[:, None]
        product = torch.einsum("nrm,rm->nm", torch.fft.rfft(spectra), torch.fft.rfft(template).conj())
        return torch.fft.irfft(product, n=spectra.shape[-1]) + self.residual(spectra)[:, 0]

    def rotations(self, spectra: torch.Tensor, view: int | None = None) -> torch.Tensor:
        """Turn (N,) in degrees, modulo 180.

        Parameters
        ----------
        spectra : (N, radii, angles) tensor
            Polar spectra.
        view : int, optional
            The view, from 0, of a network of several.

        Returns
        -------
        (N,) tensor
            Degrees.
        """
        return refine_angles(self(spectra, view))

    def view(self, number: int) -> PolarView:
        """View ``number`` (from 0) alone.

        Parameters
        ----------
        number : int
            From 0.

        Returns
        -------
        PolarView
            A network of that view, with the same weights.
        """
        return PolarView(self, number)

    @torch.no_grad()
    def best_view(self, spectra: torch.Tensor) -> int:
        """The view (from 0) whose template fits spectra (N, radii, angles) of one view best: by their likelihood, each
        particle as strong and rotated as suits it.

        Parameters
        ----------
        spectra : (N, radii, angles) tensor
            Polar spectra.

        Returns
        -------
        int
            The view.
        """
        data, fits = torch.fft.rfft(spectra), []
        for number in range(self.views):
            template = self.of_view("template", number) * self.of_view("radial_weight", number)[:, None]
            template = torch.fft.rfft(template / template.norm().clamp(min=1e-12))
            product = torch.einsum("nrm,rm->nm", data, template.conj())
            fits.append(float(torch.fft.irfft(product, n=spectra.shape[-1]).amax(-1).square().mean()))
        return fits.index(max(fits))


class PolarView:
    """One view of a :class:`PolarNetwork`, with that network's weights: gives turns as a network of it alone does."""

    def __init__(self, network: PolarNetwork, number: int) -> None:
        self.network, self.number = network, number

    @property
    def agreement(self) -> torch.Tensor:
        """How much each radius counts in the joint loss, (radii,)."""
        return self.network.of_view("agreement", self.number)

    def rotations(self, spectra: torch.Tensor) -> torch.Tensor:
        """Turn (N,) in degrees, modulo 180.

        Parameters
        ----------
        spectra : (N, radii, angles) tensor
            Polar spectra.

        Returns
        -------
        (N,) tensor
            Degrees.
        """
        return self.network.rotations(spectra, self.number)


class FreeHeadNetwork(Network):
    """The network with a free head: nothing in it is equivariant but what the pair-wise difference (UDL) teaches it.

    Circular convolutions, then dense layers that give (cos 2 phi, sin 2 phi); the rotation between two particles is the
    difference of their phi. radii, angles: the shape of the input (angles divisible by 8).
    """

    def __init__(self, radii: int, angles: int, channels: int = 48, kernel: int = 9) -> None:
        super().__init__()
        self.config = {"radii": radii, "angles": angles, "channels": channels, "kernel": kernel}
        self.features = nn.Sequential(
            _circular_convolution(radii, channels, kernel),
            nn.GELU(),
            nn.AvgPool1d(2),
            _circular_convolution(channels, channels, kernel),
            nn.GELU(),
            nn.AvgPool1d(2),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(channels * (angles // 4), 128), nn.GELU(), nn.Linear(128, 2))

    def forward(self, spectra: torch.Tensor) -> torch.Tensor:
        """(N, 2): cosine and sine of twice the rotation, not normalised.

        Parameters
        ----------
        spectra : (N, radii, angles) tensor
            Polar spectra.

        Returns
        -------
        (N, 2) tensor
            Cosine and sine.
        """
        return self.head(self.features(spectra))

    def rotations(self, spectra: torch.Tensor) -> torch.Tensor:
        """Turn (N,) in degrees, modulo 180.

        Parameters
        ----------
        spectra : (N, radii, angles) tensor
            Polar spectra.

        Returns
        -------
        (N,) tensor
            Degrees.
        """
        out = self(spectra)
        return torch.rad2deg(torch.atan2(out[:, 1], out[:, 0])) / 2


def view_of(network: nn.Module | TellsRotations, view: int | None) -> TellsRotations:
    """A network as it sees inputs of a view, where it tells views apart.

    Parameters
    ----------
    network : torch.nn.Module or TellsTurns
        The network.
    view : int or None
        The view, from 0.

    Returns
    -------
    TellsTurns
        That view of it; the network itself where there is but one, or none is named.
    """
    if isinstance(network, PolarNetwork) and network.views > 1 and view is not None:
        return network.view(view)
    return cast(TellsRotations, network)
