"""What one command works with: particles, device, output folder, and all that it has to say."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from scipion_udl.alignment.ctf_state import CtfState
from scipion_udl.compute.context import Context, Report, nobody
from scipion_udl.compute.device import choose_device, describe
from scipion_udl.compute.distributed import ProcessGroup
from scipion_udl.compute.heap import keep_arrays
from scipion_udl.compute.log import Log, command_line
from scipion_udl.compute.memory import Result, within_memory
from scipion_udl.compute.progress import FILE, Progress
from scipion_udl.constants import __version__
from scipion_udl.errors import UdlError
from scipion_udl.imaging.defocus import Defocus
from scipion_udl.io.classes.references import read_references
from scipion_udl.io.defocus import read_defocus
from scipion_udl.io.images import file_of
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.io.particles import open_particles
from scipion_udl.io.source import Optics, Source
from scipion_udl.messages import Message, message
from scipion_udl.particles.background import background_words, steepness
from scipion_udl.particles.diameter import diameter_words, given_radius
from scipion_udl.particles.polarity_warning import polarity_warning
from scipion_udl.particles.prepared import PreparedParticles
from scipion_udl.particles.resolution_limit import limit_low_resolution, limit_resolution
from scipion_udl.settings.commands import RunSettings

# Of warnings by which something was decided: what summary.json calls the decision.
DECISIONS = {code: code for code in ("no_signal", "ambiguous_halfturn", "mixed_views", "shift_limit")}
DECISIONS["like_picked_noise"] = "no_signal"
LOG_EVERY = 20  # epochs between two lines of the log


def given_files(settings: RunSettings) -> list[str]:
    """The files that the options name, which the command reads before it opens any particles.

    Parameters
    ----------
    settings : RunSettings
        The options.

    Returns
    -------
    list of str
        Input, model, truth, reference and references, those that are given.
    """
    given = [settings.input, settings.model, settings.truth, file_of(settings.reference)]
    references = getattr(settings, "references", None)
    given += read_references(references).files if references else ()
    return [path for path in given if path]


class Run:
    """What one command works with: particles, device, output folder, what it has to say.

    group: the processes that share the run, None for this one alone; all but the first are silent. source: the
    particles where they are not in the file that the settings name. A run without a folder (:class:`NoFolder`) says
    nothing.
    """

    def __init__(
        self,
        settings: RunSettings,
        out: OutputFolder,
        group: ProcessGroup | None = None,
        source: Source | None = None,
        report: Report | None = None,
    ) -> None:
        self.settings, self.out = settings, out
        self.group = group or ProcessGroup()
        self.device = choose_device(settings.gpu, settings.threads, self.group.local_rank, self.group.local_size)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        self.device_words = self.group.words(describe(self.device))
        silent = not (self.group.first and out.path)
        self.progress = Progress(None if silent else partial(out.tell, FILE), self.say, bool(out.path))
        self.log = Log(settings.quiet, settings.verbose, out.log, self.progress.clear, silent)
        self.log.begin(f"{command_line()}  (version {__version__})")
        self.warnings: list[Message] = []
        self.notes: list[Message] = []
        self.ctf_state: CtfState | None = None  # until :meth:`use_ctf`
        self.defocus: Defocus | None = None  # that the table gives, likewise
        self.method: str | None = None  # of the network that is used
        self.heading = ""  # of what is said of a part of the set
        self.log.say(f"Device: {self.device_words}", always=True)
        source = open_particles(settings.input, settings.pixel_size) if source is None else source
        for warning in source.warnings:
            self.warn(warning)
        source.optics = Optics(settings.voltage, settings.cs, settings.amplitude_contrast)
        self.source: Source = source
        out.spare(source.files())
        out.begin_log()
        self.say(f"{len(source)} particles of {source.box} px at {source.pixel_size:g} A/px in {settings.input}")
        report = report or (nobody if silent else self.progress.show)
        context = Context(self.group, report, self.say)
        self.given_radius = given_radius(
            settings, source.box, source.pixel_size, source.pixel_size_known, settings.input
        )
        self.particles = PreparedParticles(source, self.device, settings.batch, self.given_radius, context)
        self.particles.ignores_ctf = settings.ctf == "none"
        limits = (
            (settings.high_resolution_limit, limit_resolution),
            (settings.low_resolution_limit, limit_low_resolution),
        )
        for limit, apply_limit in limits:
            note = apply_limit(self.particles, limit)
            if note:
                self.note(note)
        if out.path:  # a process of its own; without a folder it is somebody's who may want the memory back
            keep_arrays()

    def part(self, indices: np.ndarray, name: str) -> Run:
        """The same command for some particles alone, with warnings of its own.

        Parameters
        ----------
        indices : (n,) int array
            Which particles, from 0.
        name : str
            What it says is headed by.

        Returns
        -------
        Run
            That shares device, folder and log with this one.
        """
        other = copy.copy(self)
        other.particles = self.particles.part(indices)
        report = self.particles.reader.context.report
        other.particles.reader.context = Context(
            self.group, lambda stage, done, total: report(f"{name}, {stage}", done, total), other.say
        )
        if self.ctf_state is not None:
            other._take_ctf(self.ctf_state.mode)
        other.source, other.heading = other.particles.source, f"{name}: "
        other.warnings, other.notes = [], []
        return other

    def by_itself(self) -> Run:
        """The same run as if this process were its only one: what is done in it is shared with no other.

        Returns
        -------
        Run
            That shares device, folder, log and warnings with this one.
        """
        other, alone = copy.copy(self), ProcessGroup()
        other.group, other.particles = alone, copy.copy(self.particles)
        reader = other.particles.reader = copy.copy(self.particles.reader)
        reader.context = replace(reader.context, group=alone)
        return other

    def say(self, line: str, detail: bool = False) -> None:
        """Say one line in the log.

        Parameters
        ----------
        line : str
            Without an end of line.
        detail : bool, optional
            Whether it is for run.log alone, where the user does not ask for more; what is said of a part of the set
            always is.
        """
        self.log.say(f"{self.heading}{line}", detail or bool(self.heading))

    @property
    def codes(self) -> list[str]:
        """Short names of the decisions that some of the warnings tell of."""
        return list(dict.fromkeys(DECISIONS[one.code] for one in self.warnings if one.code in DECISIONS))

    @property
    def told(self) -> list[tuple[str, str]]:
        """The code and the sentence of each warning."""
        return [(one.code, str(one)) for one in self.warnings]

    def warn(self, sentence: Message) -> None:
        """A warning: in the log now, in summary and report later.

        Parameters
        ----------
        sentence : Message
            Told once, however often it is said.
        """
        if self.group.first and sentence not in self.warnings:
            self.warnings.append(sentence)
            self.log.warn(f"{self.heading}{sentence}", bool(self.heading))

    def warn_of(self, sentence: Message | None) -> None:
        """The same where there is something to warn of.

        Parameters
        ----------
        sentence : Message or None
            None for nothing.
        """
        if sentence:
            self.warn(sentence)

    def note(self, sentence: Message) -> None:
        """Something worth knowing: in the log now, in summary and report later.

        Parameters
        ----------
        sentence : Message
            Told once, however often it is said.
        """
        if sentence not in self.notes:
            self.notes.append(sentence)
            self.say(sentence)

    def epoch(self, row: dict, epochs: int) -> None:
        """Tell of the end of an epoch: on the bar, and now and then in the log.

        Parameters
        ----------
        row : dict
            Its row of training.csv.
        epochs : int
            How many there may be.
        """
        self.progress.epoch(row, epochs)
        if row["epoch"] % LOG_EVERY == 0:
            error = f", true error {row['true_error']:.2f} degrees" if "true_error" in row else ""
            self.say(
                f"Training, epoch {row['epoch']} of at most {epochs}: held-out loss {row['validation']:.4f}{error}"
            )

    def within_memory(self, work: Callable[[], Result]) -> Result:
        """Do a piece of work, with fewer particles at a time where memory is short: see compute.memory.

        Parameters
        ----------
        work : callable
            Without arguments; fit to be done again.

        Returns
        -------
        Result
            What ``work`` returns.
        """
        return within_memory(self.particles.reader, work, self.warn)

    def scan(self, noise: torch.Tensor | None = None, loud_limit: float | None = None) -> None:
        """The first look through the set, with its warnings.

        Parameters
        ----------
        noise : (rings,) tensor, optional
            See :meth:`PreparedParticles.scan`.
        loud_limit : float, optional
            The same.
        """
        statistics = self.within_memory(lambda: self.particles.scan(noise, loud_limit))
        self.say(f"Particle diameter: {diameter_words(self.particles)}")
        blank = np.flatnonzero(statistics.blank)
        if len(blank):
            self.warn(message("constant_images", count=len(blank), total=len(self.source), first=blank[0] + 1))
        self.warn_of(statistics.opposite)
        found = background_words(
            steepness(statistics.slope, statistics.std, self.source.box)[~statistics.blank], statistics.hot
        )
        if found:
            self.note(message("background_uneven", what=found))
        odd = polarity_warning(statistics, self.settings.polarity)
        if odd:
            self.warn(odd)

    def use_ctf(self) -> CtfState:
        """Make use of the particles' CTF where their table gives it, as --ctf asks for.

        Returns
        -------
        CtfState
            How it is taken.

        Raises
        ------
        UdlError
            Where it is asked for and the table gives none.
        """
        asked, defocus = self.settings.ctf, self.read_defocus()
        self.defocus = defocus
        if defocus is None and asked in ("flipped", "signed"):
            raise UdlError(message("ctf_without_defocus", value=asked, path=self.settings.input))
        # Where nothing is said, RELION means that phases are as they were (read_defocus); Xmipp flips them as a rule.
        self.ctf_state = CtfState(self.particles, defocus, asked, "flipped", self.say, self.warn)
        return self.ctf_state

    @property
    def asks_for_ctf(self) -> bool:
        """Whether the particles are still to tell how their CTF is taken; those that join a run are not asked."""
        return self.ctf_state is not None and self.ctf_state.asks_images

    @property
    def ctf_choice(self) -> CtfState:
        """How the particles' CTF is taken. Raises ValueError before :meth:`use_ctf`."""
        if self.ctf_state is None:
            raise ValueError("nobody has asked yet how the CTF is to be taken")
        return self.ctf_state

    def read_defocus(self) -> Defocus | None:
        """What the table gives of the particles' CTF.

        With the microscope of the options where the table says nothing of that; what lacks is told. See
        :func:`scipion_udl.io.defocus.read_defocus`.

        Returns
        -------
        Defocus or None
            None where the table gives none.
        """
        defocus = read_defocus(self.source, self.warn)
        if defocus is not None and defocus.filled:
            self.note(defocus.filled)
        return defocus

    def settle_ctf(self, classes: Iterable[str]) -> bool:
        """Judge how the CTF is to be taken by what particles told, and take it so.

        Parameters
        ----------
        classes : iterable of str
            Names of the classes that these are of: see :meth:`CtfState.settle`.

        Returns
        -------
        bool
            Whether that is another way than before.
        """
        if not self.asks_for_ctf:
            return False
        ctf_state = self.ctf_choice

        def settle() -> tuple[bool, str, str]:
            changed = ctf_state.settle(classes)
            return changed, ctf_state.mode, ctf_state.reason

        changed, ctf_state.mode, ctf_state.reason = self.group.on_rank0(settle)
        ctf_state.asks_images = False
        self._take_ctf(ctf_state.mode)
        return changed

    def _take_ctf(self, mode: str) -> None:
        """Take the particles' CTF, where it is known, in this mode from now on."""
        ctfs = self.particles.ctfs
        if ctfs is not None and ctfs.mode != mode:
            self.particles.ctfs = ctfs.with_mode(mode)

    def note_ctf(self) -> None:
        """Say how the CTF was taken: in the log now, in summary and report later."""
        note = self.ctf_choice.note()
        if note:
            self.note(note)
