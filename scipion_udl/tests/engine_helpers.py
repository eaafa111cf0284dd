"""What the engine's tests share: particles with known poses, spectra with known rotations, and the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from scipion_udl import api, cli
from scipion_udl.alignment.ctf_state import CtfState
from scipion_udl.compute.context import Context
from scipion_udl.imaging.band import Band
from scipion_udl.imaging.poses import PoseErrors, Poses, pose_errors
from scipion_udl.io.aligned import write_aligned
from scipion_udl.io.defocus import read_defocus
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.particles import open_particles
from scipion_udl.io.source import Source
from scipion_udl.io.stacks import StackReader, write_stack
from scipion_udl.io.tables import read_tables, write_tables
from scipion_udl.io.truth import read_truth
from scipion_udl.jobs.simulate import write_simulation
from scipion_udl.models.polar_network import rotate_spectra
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.results.returned import Alignment
from scipion_udl.simulation.ctf import CtfSettings
from scipion_udl.simulation.particles import Simulation
from scipion_udl.simulation.phantoms import phantom
from scipion_udl.training.trainer import TrainingResult
from scipion_udl.validation.reference_match import transform

PIXEL_SIZE = 3.0
CPU = torch.device("cpu")
DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def run(*arguments: object) -> int:
    """The exit code of ``scipion-udl`` with these arguments; one CPU thread, which is as fast for images this small."""
    words = [str(argument) for argument in arguments]
    if words[0] in ("train", "align"):
        words += [option for pair in (("--gpu", "none"), ("--threads", "1")) if pair[0] not in words for option in pair]
    return cli.main(words)


def align_images(images: np.ndarray | Path, **options: object) -> Alignment:
    """What `align` finds in images (n, D, D) of PIXEL_SIZE, or in a table, by the API: no report, no files."""
    given = {"name": "images.mrcs", "pixel_size": PIXEL_SIZE} if isinstance(images, np.ndarray) else {}
    return api.align(images, **{"gpu": "none", "threads": 1, **given, **options})


def simulate(folder: Path, count: int, box: int, snr: float, name: str = "hook", **more: object) -> Path:
    """A simulation (CTF, whole-pixel shifts up to 5 px unless said otherwise) written into ``folder``, returned."""
    options = {"max_shift": 5.0, "ctf": CtfSettings(), "seed": 3, **more}
    with OutputFolder(str(folder)) as out:
        write_simulation(out, Simulation(phantom(name, box), count, snr, PIXEL_SIZE, **options))
    return folder


def without_noise(box: int, name: str) -> np.ndarray:
    """The phantom as a perfect average of such simulated particles would show it, (box, box): through the CTF."""
    simulation = Simulation(phantom(name, box), 100, np.inf, PIXEL_SIZE, 0.0, ctf=CtfSettings())
    rows = np.arange(100)
    return np.mean([transform(i, simulation.poses[[k]]) for k, i in enumerate(simulation.images(rows))], axis=0)


def phantom_band(band: Band, name: str, shift: tuple[float, float] = (0.0, 0.0)) -> torch.Tensor:
    """A phantom of unit variance as a band, moved by (x, y) pixels."""
    image = torch.from_numpy(phantom(name, band.box).image())
    return band.shifted(band.of_images(image / image.std()), torch.tensor(shift))


def subset_star(folder: Path, path: Path, rows: np.ndarray | list[int], name: str = "particles.star") -> Path:
    """A STAR with these rows of the folder's particles.star (or another), in this order."""
    optics, table = read_tables(str(folder / name))
    write_tables(str(path), [optics, table.rows(rows)])
    return path


def named_poses(path: Path) -> dict[str, tuple[float, float, float]]:
    """(angle, x, y) in degrees and pixels by image name."""
    source = open_particles(str(path))
    poses = source.poses()
    return {n: (a, *s) for n, a, s in zip(source.names, poses.angle.tolist(), poses.shift.tolist())}


def errors_to_truth(aligned: Path, folder: Path, period: float = 360.0) -> PoseErrors:
    """The PoseErrors of a table against the truth.star of a simulation, joined by image name."""
    found = named_poses(aligned)
    names, truth = read_truth(str(folder / "truth.star"))
    rows = [row for row, name in enumerate(names) if name in found]
    values = np.array([found[names[row]] for row in rows])
    return pose_errors(Poses(values[:, 0], values[:, 1:]), truth[np.array(rows)], period)


def table_with(folder: Path, path: Path, poses: Poses) -> Path:
    """The folder's particles with poses (N,), in a STAR or XMD, by the ending of ``path``, which is returned."""
    source = open_particles(str(folder / "particles.star"))
    none = np.zeros(len(source), bool)
    write_aligned(source, poses, np.zeros(len(source)), none, **{path.suffix[1:]: str(path)})
    return path


def true_poses(folder: Path) -> Poses:
    """The poses (N,) of the truth.star of a simulation."""
    return read_truth(str(folder / "truth.star"))[1]


def image(path: Path) -> np.ndarray:
    """The one image (D, D) of a stack."""
    return StackReader(str(path)).read()[0]


def prepared(folder: Path, images: np.ndarray, chunk: int | None = None, told: Told | None = None) -> PreparedParticles:
    """Images (n, D, D) as the alignment sees them, on the CPU; told: what is said of them."""
    path = folder / "images.mrcs"
    write_stack(str(path), np.asarray(images, np.float32), PIXEL_SIZE)
    context = Context() if told is None else Context(say=told)
    return PreparedParticles(open_particles(str(path)), CPU, chunk, context=context)


def ctf_asked(source: Source, poses: Poses) -> tuple[CtfState, list[str]]:
    """How the CTF of particles is taken once they were asked in these poses (N,), and what was told of
    it."""
    told: list[str] = []
    particles = PreparedParticles(source, CPU)
    state = CtfState(particles, read_defocus(source), "auto", "flipped", Told(), told.append)
    state.hear("all", particles, np.arange(len(source)), poses)
    state.settle(["all"])
    return state, told


def smooth_template(radii: int = 12, angles: int = 64, seed: int = 0) -> torch.Tensor:
    """A template (radii, angles) of unit variance without any symmetry, a smooth function of the angle."""
    generator = torch.Generator().manual_seed(seed)
    orders = torch.randn(radii, angles // 2 + 1, generator=generator, dtype=torch.complex64)
    orders = orders * torch.exp(-torch.arange(angles // 2 + 1) / 4)
    orders[:, 0] = 0
    template = torch.fft.irfft(orders, n=angles)
    return template / template.std()


def turned_spectra(n: int, noise: float, seed: int = 0, **shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(spectra (n, radii, angles), turns (n,) degrees): a template rotated, in white noise of this deviation."""
    generator = torch.Generator().manual_seed(seed + 1)
    template = smooth_template(**shape)
    rotations = torch.rand(n, generator=generator) * 180
    spectra = rotate_spectra(template.expand(n, -1, -1), rotations)
    return spectra + noise * torch.randn(spectra.shape, generator=generator), rotations


def turn_errors(found: torch.Tensor, true: torch.Tensor) -> np.ndarray:
    """Absolute differences (n,) in degrees modulo 180, once the common bias is taken out."""
    return np.abs(pose_errors(Poses(found.double().numpy()), Poses(true.double().numpy()), 180.0).rotation)


def same_weights(a: TrainingResult, b: TrainingResult) -> bool:
    """Whether two trainings came to the same network, bit by bit."""
    one, other = a.network.state_dict(), b.network.state_dict()
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def correlation(a: np.ndarray, b: np.ndarray, mask: np.ndarray | float = 1.0) -> float:
    """The correlation of two images under a mask, about their means."""
    weight = np.broadcast_to(mask, a.shape)
    a, b = ((v - (v * weight).sum() / weight.sum()) * weight for v in (a, b))
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def summary(folder: Path) -> dict:
    """What summary.json says."""
    return json.loads((folder / "summary.json").read_text())


def rms(errors: PoseErrors) -> float:
    """The root mean square of how far the template's origin falls from its place, pixels."""
    return float(np.sqrt((errors.shift**2).sum(1).mean()))


def difference(a: Path, b: Path) -> tuple[float, float]:
    """(largest angle in degrees, largest shift in pixels) between two tables of the same images, common pose out."""
    one, other = named_poses(a), named_poses(b)
    assert one.keys() == other.keys()
    first, second = (np.array([poses[name] for name in one]) for poses in (one, other))
    return apart(Poses(first[:, 0], first[:, 1:]), Poses(second[:, 0], second[:, 1:]))


def apart(one: Poses, other: Poses) -> tuple[float, float]:
    """(largest angle in degrees, largest shift in pixels) between poses (N,) of the same particles, common pose out."""
    errors = pose_errors(one, other)
    return float(np.abs(errors.rotation).max()), float(np.abs(errors.shift).max())


class Told(list[str]):
    """The lines that a method says, details too, in a list."""

    def __call__(self, line: str, detail: bool = False) -> None:
        self.append(line)
