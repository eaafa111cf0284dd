"""`align --join RUN`: particles that come later, each aligned by itself to the averages of an earlier run.

RUN's two half averages stay as they are, and each new particle belongs to one half by its name. Its pose within the
half comes from that half's average alone, so that halves still know nothing of each other, and its final pose from the
average of both, just as in the run itself (half_sets.py). No average of new particles aligns anything: a pose does not
depend on what else comes. The averages are then added to those of RUN, or of whatever was joined to RUN before.
"""

from __future__ import annotations

import os
from dataclasses import replace
from math import inf

import numpy as np
import torch
from torch import nn

from scipion_udl.alignment.aligner import AMBIGUOUS, SEARCH_BAND, Aligner, Alignment, AlignSettings
from scipion_udl.alignment.averages import Averages
from scipion_udl.alignment.ctf_mode import WORDS, words_of
from scipion_udl.alignment.fit import Fit
from scipion_udl.alignment.half_turn import confirmed_rings, half_turn_difference
from scipion_udl.alignment.particle_scores import ParticleScores
from scipion_udl.alignment.refinement import SEARCH_STEP, Reference, Refiner, State
from scipion_udl.alignment.wiener import Denoiser, half_turn_centre
from scipion_udl.compute.distributed import Ranks
from scipion_udl.errors import UdlError
from scipion_udl.imaging.ctf import ContrastTransfer
from scipion_udl.imaging.frc import Claim
from scipion_udl.imaging.polar_spectra import SpectraSettings
from scipion_udl.imaging.poses import Poses, wrap
from scipion_udl.io.output.folder import OutputFolder
from scipion_udl.jobs.align import Inputs, averages_of, claim_of, load_network
from scipion_udl.jobs.train import ENOUGH
from scipion_udl.particles.known import Known
from scipion_udl.particles.outliers import outliers
from scipion_udl.pipelines.run import Run, given_files
from scipion_udl.results import run_results
from scipion_udl.results.joinable import (
    FILE,
    NEEDED,
    Joinable,
    counts_of,
    files_of,
    key_of,
    levels_of,
    take_radius,
)
from scipion_udl.settings import commands
from scipion_udl.settings.option import given
from scipion_udl.training.trainer import view_of
from scipion_udl.validation.heterogeneity import image_warnings

SWEEPS = 8  # at most; from the network's angles two or three do
STILL = 0.01  # degrees and working pixels: a particle that moves by less in a round is done
JOINT = 2
# Options that speak of a set as a whole, with what to do instead.
_NOT_WITH_JOIN = {
    "by_class": "RUN is of one view, and so are the particles that are joined to it",
    "finest": "what was compared in RUN is compared now",
    "start_poses": "where the particles lie follows from the averages of RUN",
    "truth": "it shows the error of a network while it is trained, and that of RUN is",
    "reference": "the particles take over the orientation of RUN",
    "no_refine": "particles that are joined are refined",
    "correntropy": "it compares particles with the average of the others of one run",
    "authors_xmd": "it holds the correntropy, which compares particles with the others of one run",
}


def join(settings: commands.AlignSettings) -> None:
    """`scipion-udl align --join RUN [--pool PREVIOUS]`: the files of `align` in OUT, for the particles that come; its
    averages, halves and FRC are of all particles so far.

    Raises UdlError where the particles do not fit RUN, or RUN is nothing that particles can be joined to.
    """
    settings, base, earlier = _earlier(settings)
    first, pool = given(settings.join), given(settings.pool)
    folder = OutputFolder(settings.output, settings.overwrite, settings.resume, "align")
    read = [os.path.join(f, name) for f in (first, pool) for name in (FILE, *NEEDED)]
    folder.spare([*given_files(settings), *read])
    with Ranks.from_environment() as team, team.folder(folder) as out:
        run = Run(settings, out, team)
        run.particles.finest = base.finest
        base.check_fits(run.source.box, run.source.pixel_size, first, settings.input)
        take_radius(run, base.mask_radius, inf if base.clear_radius is None else base.clear_radius, first)
        known = {first: base.known(), f"{pool} or of those that it was pooled with": earlier.known()}
        scan_new(run, known, torch.tensor(base.noise), inf if base.loud_limit is None else base.loud_limit)
        use_contrast_of(run, base.ctf, levels_of(base.levels), base.premultiplied)
        network, inputs = _network(run, base)
        max_shift = base.max_shift if settings.max_shift is None else float(settings.max_shift)
        aligner = Aligner(run.particles, network, inputs, AlignSettings(max_shift, settings.seed), run.say)
        alignment = run.within_memory(lambda: Joiner(aligner, base, first).run())
        averages = run.within_memory(lambda: averages_of(run, alignment, (base.background, base.noise_level)))
        if not team.first:
            return
        counts = counts_of(run.particles, averages)
        averages, counts = _pooled(run, averages, counts, earlier)
        claim, frc = _claim(run, alignment, averages, counts)
        for warning in image_warnings(run.particles) if len(run.particles.usable) else ():
            run.warn(warning)
        _write(run_results.Outcome(run, alignment, averages, claim, frc), base, earlier, counts)


def _earlier(settings: commands.AlignSettings) -> tuple[commands.AlignSettings, Joinable, Joinable]:
    """The settings with what follows from the run that particles are joined to, this run, and what their averages are
    added to."""
    for name, reason in _NOT_WITH_JOIN.items():
        if getattr(settings, name):
            option = f"--{name.replace('_', '-')}"
            raise UdlError(f"{option} does not go with --join: {reason}. Leave {option} out.")
    run = given(settings.join)
    base = Joinable.read(run)
    if base.mirror:
        raise UdlError(
            f"{run} was aligned with --mirror, and particles can be joined only to a run without mirror images: "
            "align its particles without --mirror."
        )
    if settings.max_shift is not None and settings.max_shift > base.box / 2:
        raise UdlError(f"--max-shift {settings.max_shift:g} is more than half the box, {base.box / 2:g} px: give less.")
    settings = settings.but(model=settings.model or base.model_file(run))
    if settings.pool is None or os.path.realpath(settings.pool) == os.path.realpath(run):
        return settings.but(pool=run), base, base
    earlier = Joinable.read(settings.pool)
    if earlier.joined_to != base.key:
        raise UdlError(
            f"{settings.pool} was not joined to {run}, so its averages do not lie on those of the new particles: "
            f"give what an earlier 'align --join {run}' wrote, or leave --pool out."
        )
    return settings, base, earlier


def scan_new(run: Run, known: dict[str, Known], noise: torch.Tensor, loud_limit: float) -> None:
    """The first look through particles that are to count beside others, as :meth:`Run.scan`. known: of those, by whose
    they are. Raises UdlError where one is among them, by where it lies (before anything is read) or by its image."""
    for whose, those in known.items():
        those.refuse_places(run.source, whose)
    run.scan(noise, loud_limit)
    found = run.particles.statistics
    for whose, those in known.items():
        those.refuse_images(run.source, found.images, found.blank, whose)


def use_contrast_of(run: Run, mode: str, levels: dict[int, torch.Tensor], share: float) -> None:
    """Take the contrast transfer as the run did that particles are joined to: its mode, relative to its levels; share:
    what part of its images was multiplied before. Where that run believed its table, the table of those that come is
    believed. Raises UdlError where the table cannot say what is needed."""
    asked = run.settings.ctf
    if asked not in ("auto", mode):
        how = "as its table says" if mode == "table" else mode
        raise UdlError(f"--ctf {asked} is not what {run.settings.join} was aligned with, {how}: leave --ctf out.")
    defocus = run.read_defocus()
    if mode == "none":
        if defocus is not None:
            run.say("The defocus of the particles is not made use of, as in the run that they are joined to")
        return
    if defocus is None:
        raise UdlError(
            f"{run.settings.join} was aligned with the contrast transfer of its particles, and {run.settings.input} "
            "gives no defocus for them: give a table like the first, or align the first particles with --ctf none."
        )
    reason = "as in the run that the particles were joined to"
    if mode == "table" and defocus.flipped is not None:
        reason = "as the table says"
    elif mode == "table":
        mode = "flipped"  # as Xmipp does as a rule
        run.warn(
            f"{run.settings.input} does not say whether phases were flipped; the particles are taken as phase-flipped."
        )
    elif defocus.said and (defocus.flipped[defocus.known] != (mode == "flipped")).any():
        run.warn(
            f"{run.settings.input} says otherwise than {run.settings.join} whether phases were flipped; the particles "
            f"are taken as in that run ({WORDS[mode]})."
        )
    box = run.source.box
    contrast = ContrastTransfer(defocus, box * run.source.pixel_size, mode, levels, share, box)
    run.particles.contrast = contrast
    run.notes.append(f"Contrast transfer: {words_of(contrast)} ({reason}).")


def _network(run: Run, base: Joinable) -> tuple[nn.Module | None, Inputs]:
    if not run.settings.model:
        run.say("No network: every angle is searched")
        return None, SpectraSettings.for_box(run.particles.box)
    network, card = load_network(run, run.settings.model)
    run.say(f"Model {run.settings.model} ({card.method.upper()}, version {card.made_by})")
    if getattr(network, "views", 1) > 1 and (base.view is None or base.view >= network.views):
        raise UdlError(
            f"{run.settings.model} knows {network.views} views, and none of them is that of {run.settings.join}."
        )
    return view_of(network, base.view), card.inputs()


class Joiner:
    """Aligns particles to the half averages of a run.

    aligner: of the new particles, with the run's network; base: what the run left; folder: the run's.
    """

    def __init__(self, aligner: Aligner, base: Joinable, folder: str) -> None:
        self.aligner, self.base, self.prepared, self.band = aligner, base, aligner.prepared, aligner.band
        self.refiner = Refiner(self.prepared, self.band, aligner.max_shift, SEARCH_BAND)
        self.half = self.prepared.halves_by_name()
        halves = self._halves(folder)
        centre = half_turn_centre(self.refiner.maps, halves[0] + halves[1])
        denoiser = Denoiser(self.band, halves, centre, base.local)
        self.own = [Reference(self.band, half, denoiser.weight(1), denoiser(half, 1)) for half in halves]
        members = base.half_counts
        total = (halves[0] * members[0] + halves[1] * members[1]) / sum(members)
        self.both = Reference(self.band, total, denoiser.weight(2), denoiser(total, 2))
        # A particle of one half is judged by the other's average, and its rings count as in the run.
        confirmed = confirmed_rings(self.band, self.refiner.maps, halves)
        self.judges = [self._judge(half, confirmed) for half in halves[::-1]]

    def run(self) -> Alignment:
        """The poses; ``half_poses`` are those within the halves."""
        usable, n = self.prepared.usable, len(self.prepared)
        state = State.start(np.zeros(n))
        if self.aligner.network is None:
            self.refiner.search(state, self.own, self.half, "full-circle search", usable)
        else:
            state.angle[usable] = self.aligner.network_angles(usable)
        self._sweep(state, usable, "joining")
        if self.aligner.network is not None:
            self._look_elsewhere(state, usable)
        half_state = state.copy()
        for number in range(1, JOINT + 1):
            self.refiner.sweep(
                state,
                [self.both] * 2,
                self.half,
                f"both halves, round {number}",
                usable,
                judge=self.judges,
                settle=True,
            )
        ParticleScores(self.refiner, self.judges, self.half).measure(state, usable)
        for one in (state, half_state):
            one.log_odds[self.prepared.statistics.blank] = 0
        limit = -np.inf if self.base.score_limit is None else self.base.score_limit
        scale = self.prepared.scale
        return Alignment(
            poses=Poses(state.angle, state.shift * scale),
            half_poses=Poses(half_state.angle, half_state.shift * scale),
            half=self.half,
            score=state.score,
            ambiguous=state.log_odds < AMBIGUOUS,
            shared=self.base.shared,
            searched=self.aligner.network is None,
            network_angle=self.aligner.network_angle,
            outlier=outliers(state.score, self.prepared.statistics.odd, limit),
            score_limit=limit,
            local=self.base.local,
            fit=None if self.base.fit is None else Fit(*self.base.fit),  # more particles make no single one better
        )

    def _sweep(self, state: State, indices: np.ndarray, stage: str) -> None:
        """Rounds against the average of each particle's half, for each until it stands still by itself: when to stop
        must not depend on the others."""
        for number in range(1, SWEEPS + 1):
            before = state.copy()
            self.refiner.sweep(state, self.own, self.half, f"{stage}, round {number}", indices, settle=number > 2)
            if number == 1:  # it only finds the shifts
                continue
            turned = np.abs(wrap(state.angle[indices] - before.angle[indices]))
            moved = np.hypot(*(state.shift[indices] - before.shift[indices]).T)
            indices = indices[(turned > STILL) | (moved > STILL)]
            if not len(indices):
                break

    def _look_elsewhere(self, state: State, usable: np.ndarray) -> None:
        """Search the full circle for particles that fit better elsewhere than where the network put them."""
        trial = state.copy()
        self.refiner.search(trial, self.own, self.half, "full-circle search", usable)
        step = SEARCH_STEP / self.refiner.coarse_band.k_max
        far = usable[np.abs(wrap(trial.angle[usable] - state.angle[usable])) > step]
        self._sweep(trial, far, "elsewhere")
        better = far[trial.score[far] > state.score[far]]
        self.aligner.log(f"Full-circle search: {len(better)} of {len(usable)} particles fit better elsewhere")
        state.take(trial, better)

    def _halves(self, folder: str) -> list[torch.Tensor]:
        """The run's half averages as particles are seen, bands: of its noise and background, masked."""
        base = self.base
        images = torch.from_numpy(np.stack([base.image(folder, name) for name in ("half1", "half2")]))
        level = np.full(2, base.background), np.full(2, base.noise_level)
        halves = self.band.crop(self.prepared.whiten(images.to(self.prepared.device), *level))
        return [self.band.masked(half, self.prepared.mask) for half in halves]

    def _judge(self, half: torch.Tensor, confirmed: torch.Tensor) -> Reference:
        weight = torch.tensor(self.base.score_weight, device=self.band.device)
        if len(weight) != self.band.k_max + 1:
            raise UdlError(
                f"{FILE} of the run weights {len(weight)} Fourier rings where {self.band.k_max + 1} are compared: it "
                "is damaged, or of another version; align anew."
            )
        difference = confirmed * half_turn_difference(self.band, self.refiner.maps, half)
        return Reference(self.band, half, weight, difference=difference)


def _pooled(run: Run, averages: Averages, counts: dict, earlier: Joinable) -> tuple[Averages, dict]:
    """Averages of the new particles and of those before, and how many they hold."""
    folder = given(run.settings.pool)
    power = None if earlier.power is None else np.array(earlier.power)
    averages.sums.add_means([earlier.image(folder, name) for name in ("half1", "half2")], earlier.half_counts, power)
    first, second, corrected = averages.sums.images()

    def mean(new: np.ndarray, name: str, count: str) -> np.ndarray:
        old, n, m = earlier.image(folder, name).astype(np.float64), counts[count], getattr(earlier, count)
        return ((new * n + old * m) / (n + m)).astype(np.float32)

    before, whole = mean(averages.before, "average_before", "usable"), mean(averages.all, "average", "particles")
    averages = replace(averages, before=before, all=whole, halves=(first, second), corrected=corrected)
    total = counts_of(run.particles, averages)
    return averages, total | {name: counts[name] + getattr(earlier, name) for name in ("particles", "usable")}


def _claim(run: Run, alignment: Alignment, averages: Averages, counts: dict) -> tuple[Claim, np.ndarray]:
    """What may be said of the resolution of all particles together."""
    claim, frc = claim_of(run, alignment, averages, 0)
    if counts["usable"] < ENOUGH:
        claim = Claim(None, None, f"{counts['usable']} particles are too few: no resolution is claimed.")
    elif claim.signal is False:
        run.warn(claim.note)
    return claim, frc


def _write(outcome: run_results.Outcome, base: Joinable, earlier: Joinable, counts: dict) -> None:
    run, settings, out = outcome.run, outcome.run.settings, outcome.run.out
    run.notes.append(
        f"{len(run.source)} particles were joined to the {earlier.particles} before them: averages, FRC and resolution "
        f"are of all {counts['particles']}."
    )
    run.say(run.notes[-1])
    facts = {
        "joined_to": settings.join,
        "pooled_with": settings.pool,
        "pooled_particles": counts["particles"],
        "half_counts": counts["half_counts"],
        "batches": earlier.batches + 1,
    }
    text = run_results.write_alignment(run, outcome, None, None, **facts)
    model = None if settings.model is None else os.path.relpath(settings.model, out.path)
    key = key_of(outcome.averages.halves)
    found = run.particles.statistics
    known = earlier.known().and_those_of(Known.of(run.source, found.images, found.blank)).packed()
    files = files_of(run, settings.model)
    left = replace(
        base, **counts, **known, model=model, batches=facts["batches"], key=key, files=files, joined_to=base.key
    )
    left.write(out.scratch(FILE))
    run.progress.clear()
    print(text)
