"""`scipion-udl simulate`: a simulation as a folder of files that RELION, Xmipp and this project read."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack

import numpy as np

from scipion_udl.errors import UdlError
from scipion_udl.io.dialects import name_optics_groups
from scipion_udl.io.images import file_of, read_image
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.stacks import StackWriter, write_stack
from scipion_udl.io.tables import Table, quote, write_tables
from scipion_udl.io.truth import add_views, truth_table
from scipion_udl.jobs.simulate_views import DEFAULT_PHANTOM as VIEWS_PHANTOM
from scipion_udl.jobs.simulate_views import mixture, prepare_views, shift_of, symmetries, write_molecules
from scipion_udl.messages import message
from scipion_udl.settings.commands import SimulateSettings
from scipion_udl.settings.option import given
from scipion_udl.simulation.centers import each_center
from scipion_udl.simulation.ctf import CtfSettings
from scipion_udl.simulation.effects import effects_of
from scipion_udl.simulation.helices import PHANTOM_HELICES, Helix, HelixSimulation
from scipion_udl.simulation.parameters import settled, write_parameters
from scipion_udl.simulation.particles import Simulation, chunks
from scipion_udl.simulation.phantoms import BlobTemplate, phantom
from scipion_udl.simulation.phantoms_3d import PHANTOMS_3D
from scipion_udl.simulation.realistic import RealisticSimulation
from scipion_udl.simulation.ssnr import SsnrChange
from scipion_udl.simulation.templates import ImageTemplate
from scipion_udl.simulation.views import ViewSimulation

_DEFAULT_PHANTOM = "hook"
_DEFAULT_COUNT = 1000
_DEFAULT_BOX = 128
_DEFAULT_PIXEL_SIZE = 2.0
# Pixels that are worked on at a time: 64 particles of 128 pixels.
_CHUNK_PIXELS = 1 << 20


def simulate(settings: SimulateSettings) -> None:
    """Do `scipion-udl simulate`: particles whose true poses are known, in OUT. Prints a summary.

    Parameters
    ----------
    settings : SimulateSettings
        The options.

    Raises
    ------
    UdlError
        For options that do not go together, and wrong input.
    """
    if settings.gpu not in ("auto", "none"):
        raise UdlError(message("simulation_on_cpu"))
    if settings.threads:
        import torch

        torch.set_num_threads(settings.threads)
    if settings.pixel_sizes and not settings.centers:
        raise UdlError(message("pixel_sizes_without_centers"))
    settings = settled(settings.but(count=settings.count or _DEFAULT_COUNT))
    _folder(settings).check()
    _folder(settings).spare([file_of(settings.template), settings.volume, settings.second])
    if settings.centers:
        _simulate_centers(settings)
    else:
        print(_simulate_one(settings, *prepare(settings)))


def _simulate_centers(settings: SimulateSettings) -> None:
    """A sub-folder of its own for each template of a folder, and the parameters of them all beside."""
    # All that is wrong shows before the first particle is made.
    prepared = [(one, *prepare(one)) for one in each_center(settings)]
    for one, _, _ in prepared:
        _folder(one).check()
    _refuse_others(settings.output, [one.output for one, _, _ in prepared])
    for other, _, _ in prepared:
        _folder(other).spare(path for one, _, _ in prepared for path in (one.template, one.volume, one.second))
    with _folder(settings) as out:
        for one, simulation, what in prepared:
            print(_simulate_one(one, simulation, what), end="\n\n")
        write_parameters(out.scratch("parameters.json"), settings)
    sets, particles = _counted(len(prepared), "set"), _counted(given(settings.count), "particle")
    print(f"{sets} of {particles}, one of each template: in {settings.output}")


def _folder(settings: SimulateSettings) -> OutputFolder:
    return OutputFolder(settings.output, settings.overwrite, command="simulate")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _refuse_others(output: str, own: list[str]) -> None:
    """Raise UdlError where the folder holds a set of an earlier run that this one has none in place of."""
    for name in sorted(os.listdir(output)) if os.path.isdir(output) else []:
        path = os.path.join(output, name)
        if name.isdecimal() and path not in own and os.path.isfile(os.path.join(path, "parameters.json")):
            raise UdlError(message("set_without_template", path=path))


def prepare(
    settings: SimulateSettings, image: ImageTemplate | None = None
) -> tuple[Simulation | RealisticSimulation, str]:
    """The simulation of one template or of many views, with what real particles have if asked for.

    Parameters
    ----------
    settings : SimulateSettings
        The options.
    image : ImageTemplate, optional
        The template, in place of the one that the settings name.

    Returns
    -------
    Simulation or RealisticSimulation
        Nothing is made yet.
    str
        What it shows, in words.
    """
    simulation, what = _prepare_shown(settings, image)
    effects = effects_of(settings)
    return (RealisticSimulation(simulation, effects) if effects else simulation), what


def _prepare_shown(settings: SimulateSettings, image: ImageTemplate | None) -> tuple[Simulation, str]:
    ctf = None
    if not settings.no_ctf:
        least, most = given(settings.defocus)
        ctf = CtfSettings(
            (least, most),
            given(settings.voltage),
            given(settings.cs),
            given(settings.amplitude_contrast),
            given(settings.b_factor),
            settings.signed,
        )
    ssnr = SsnrChange(*settings.ssnr) if settings.ssnr else None
    if settings.views:
        return prepare_views(settings, ctf=ctf, ssnr=ssnr)
    template: BlobTemplate | ImageTemplate | Helix
    if image is None:
        template, pixel_size, what = _template(settings)
    else:
        template, pixel_size, what = image, settings.pixel_size or _DEFAULT_PIXEL_SIZE, "an image"
    shift = shift_of(settings, template.box)
    more = (given(settings.count), settings.snr, pixel_size, shift, settings.subpixel, ctf, settings.seed, ssnr)
    simulation = HelixSimulation(template, *more) if isinstance(template, Helix) else Simulation(template, *more)
    return simulation, what


def _simulate_one(settings: SimulateSettings, simulation: Simulation | RealisticSimulation, what: str) -> str:
    """Write one simulation into its folder; returns the summary."""
    with _folder(settings) as out:
        out.spare([file_of(settings.template), settings.volume, settings.second])
        write_simulation(out, simulation, settings.batch, progress=True, clean=settings.clean)
        shown = _shown(simulation)
        chosen: dict[str, object] = {"box": shown.box, "pixel_size": shown.pixel_size, "shift": shown.max_shift}
        if not (settings.template or settings.volume):
            chosen["phantom"] = settings.phantom or (VIEWS_PHANTOM if settings.views else _DEFAULT_PHANTOM)
        facts = symmetries(settings) if settings.views else None
        write_parameters(out.scratch("parameters.json"), settings, facts, **chosen)
    return _summary(settings, simulation, what)


def _template(settings: SimulateSettings) -> tuple[BlobTemplate | ImageTemplate | Helix, float, str]:
    """The template, the particles' pixel size (angstrom), and what the template is in words."""
    if settings.template:
        image, own_size = read_image(settings.template)
        box = settings.box or image.shape[0]
        # The field of view stays, so the pixels of another box are of another size.
        size = settings.pixel_size or (own_size * image.shape[0] / box if own_size else _DEFAULT_PIXEL_SIZE)
        return ImageTemplate(image, box), size, f"the template {settings.template}"
    name = settings.phantom or _DEFAULT_PHANTOM
    if name in PHANTOMS_3D:
        raise UdlError(message("phantom_of_many_views", name=name))
    if name in PHANTOM_HELICES and settings.realistic:
        raise UdlError(message("helix_not_realistic", name=name))
    box, size = settings.box or _DEFAULT_BOX, settings.pixel_size or _DEFAULT_PIXEL_SIZE
    return Helix(box) if name in PHANTOM_HELICES else phantom(name, box), size, f"the phantom {name}"


def _shown(simulation: Simulation | RealisticSimulation) -> Simulation:
    """The simulation of what particles show, which realistic ones have a base in."""
    return simulation.base if isinstance(simulation, RealisticSimulation) else simulation


def write_simulation(
    out: OutputFolder,
    simulation: Simulation | RealisticSimulation,
    chunk: int | None = None,
    progress: bool = False,
    clean: bool = False,
) -> None:
    """Write particles.mrcs, particles.star, truth.star and template.mrc into an open output folder.

    Of many views volume.mrc, and second.mrc of a second molecule, are in the place of template.mrc.

    Parameters
    ----------
    out : OutputFolder
        The folder.
    simulation : Simulation or RealisticSimulation
        What is made.
    chunk : int, optional
        Particles made at a time (they do not depend on it); None: by their size.
    progress : bool, optional
        Whether to draw a bar on stderr.
    clean : bool, optional
        Whether to write clean.mrcs and clean.star too, the same particles before the noise (and before all that real
        particles have around and upon them); truth.star then names both stacks.
    """
    shown = _shown(simulation)
    _write_stacks(out, simulation, chunk or max(1, _CHUNK_PIXELS // shown.box**2), progress, clean)
    if isinstance(shown, ViewSimulation):
        write_molecules(out, shown)
    else:
        write_stack(out.scratch("template.mrc"), shown.template.image(), shown.pixel_size)
    names: list[str] = []
    stacks = ["particles", "clean"] if clean else ["particles"]
    for stack in stacks:
        path = os.path.abspath(out.final(f"{stack}.mrcs"))
        own = [f"{k + 1:06d}@{path}" for k in range(shown.count)]
        tables = particle_tables(own, shown.box, shown.pixel_size, shown.ctf, shown.defocus)
        if isinstance(simulation, RealisticSimulation | HelixSimulation):
            simulation.add_to(tables[1])
        write_tables(out.scratch(f"{stack}.star"), tables)
        names += own
    rows = np.tile(np.arange(shown.count), len(stacks))
    truth = truth_table(names, simulation.poses[rows])
    if isinstance(shown, ViewSimulation):
        of_views = simulation if isinstance(simulation, RealisticSimulation) else shown
        add_views(truth, of_views.molecule[rows], of_views.direction[rows])
    if isinstance(simulation, RealisticSimulation):
        simulation.add_truth_to(truth, rows)
    write_tables(out.scratch("truth.star"), [truth])


def _write_stacks(
    out: OutputFolder, simulation: Simulation | RealisticSimulation, chunk: int, progress: bool, clean: bool
) -> None:
    """particles.mrcs and, where it is wanted, clean.mrcs."""
    from tqdm import tqdm

    shown = _shown(simulation)

    def writer(name: str) -> StackWriter:
        return StackWriter(out.scratch(name), shown.count, shown.box, shown.pixel_size)

    with ExitStack() as opened:
        silent = None if progress else True  # None: where stderr is no terminal
        bar = tqdm(total=shown.count, desc="simulate", unit="particle", file=sys.stderr, disable=silent)
        opened.enter_context(bar)
        noisy = opened.enter_context(writer("particles.mrcs"))
        noiseless = opened.enter_context(writer("clean.mrcs")) if clean else None
        for indices in chunks(shown.count, chunk):
            signal = simulation.signal(indices)
            if noiseless:
                noiseless.write(signal)
            noisy.write(simulation.add_noise(signal, indices))
            bar.update(len(indices))


def particle_tables(
    names: list[str], box: int, pixel_size: float, settings: CtfSettings | None, defocus: np.ndarray | None
) -> list[Table]:
    """The tables of a particles.star (RELION 3.1).

    Parameters
    ----------
    names : list of str
        Of N images.
    box : int
        Pixels.
    pixel_size : float
        Angstrom.
    settings : CtfSettings or None
        Of the CTF; None for images without.
    defocus : (N,) array or None
        Micrometers; None for images without CTF.

    Returns
    -------
    list of Table
        Optics and particles.
    """
    ctf = settings or CtfSettings()
    optics = Table("optics")
    optics.set("rlnOpticsGroup", ["1"])
    optics.set("rlnVoltage", f"{ctf.voltage:.6f}")
    optics.set("rlnSphericalAberration", f"{ctf.cs:.6f}")
    optics.set("rlnAmplitudeContrast", f"{ctf.amplitude_contrast:.6f}")
    optics.set("rlnImagePixelSize", f"{pixel_size:.6f}")
    optics.set("rlnImageSize", str(box))
    optics.set("rlnImageDimensionality", "2")
    particles = Table("particles", {"rlnImageName": [quote(name) for name in names]})
    particles.set("rlnOpticsGroup", "1")
    if settings is not None and defocus is not None:
        angstrom = [f"{value * 1e4:.3f}" for value in defocus]
        particles.set("rlnDefocusU", angstrom)
        particles.set("rlnDefocusV", angstrom)
        particles.set("rlnDefocusAngle", "0.000000")
        particles.set("rlnCtfBfactor", f"{ctf.b_factor:.6f}")
        particles.set("rlnPhaseShift", "0.000000")
        optics.set("rlnCtfDataArePhaseFlipped", str(int(not ctf.signed)))
    name_optics_groups(optics)
    return [optics, particles]


def _summary(settings: SimulateSettings, made: Simulation | RealisticSimulation, what: str) -> str:
    simulation, ctf = _shown(made), "no CTF"
    if simulation.ctf:
        low, high = simulation.ctf.defocus
        ctf = f"CTF at {low:g} to {high:g} um defocus, " + ("signed" if simulation.ctf.signed else "phase-flipped")
    steps = "sub-pixel" if simulation.subpixel else "whole pixels"
    noise = f"SNR {simulation.snr:g}"
    if simulation.ssnr:
        change = simulation.ssnr
        noise += f" (coarser than {change.resolution:g} A the noise has {change.factor:g} times the power)"
    files = "particles.mrcs, particles.star, " + ("clean.mrcs, clean.star, " if settings.clean else "")
    mixed, last = "", "truth.star and template.mrc"
    if isinstance(simulation, ViewSimulation):
        mixed = mixture(simulation, settings.second)
        own = ["template.mrc"] * (settings.views == "single") + ["volume.mrc"] + ["second.mrc"] * bool(settings.second)
        last = f"{', '.join(['truth.star', *own[:-1]])} and {own[-1]}"
    return "\n".join(
        [
            f"{simulation.count} particles of {what}, {simulation.box} px at {simulation.pixel_size:g} A",
            *([f"of them {mixed}"] if mixed else []),
            *([simulation.words()] if isinstance(simulation, HelixSimulation) else []),
            *(made.words() if isinstance(made, RealisticSimulation) else []),
            f"turned by any angle, off centre by up to {simulation.max_shift:g} px ({steps})",
            f"{ctf}, {noise}, seed {simulation.seed}; computed on the CPU",
            f"{files}{last} are in {settings.output}",
        ]
    )
