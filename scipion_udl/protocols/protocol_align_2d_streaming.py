"""udl - align 2D (streaming): particles that keep coming, aligned as they come; the output set and average grow."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import time
from dataclasses import dataclass

import pyworkflow.protocol as pwprot
import pyworkflow.utils as pwutils
from pwem.objects import Particle, SetOfParticles
from pyworkflow.object import Set
from pyworkflow.protocol import STEPS_PARALLEL, Form, params

from scipion_udl.constants import MODEL_PICTURE
from scipion_udl.convert import add_results, append_results, read_results, write_alignment, write_particles
from scipion_udl.errors import UdlError
from scipion_udl.io import durable
from scipion_udl.objects import UdlModel
from scipion_udl.protocols.align_2d_form import MODEL_TRAIN
from scipion_udl.protocols.protocol_align_2d import (
    ALIGNED,
    ALIGNED_XMD,
    AVERAGE,
    AVERAGE_BEFORE,
    AVERAGE_OUT,
    FRC,
    MODEL_OUT,
    PARTICLES_OUT,
    REPORT,
    ProtUdlAlign2D,
)
from scipion_udl.protocols.protocol_base import (
    CONVERTED,
    FEWEST_TO_TRAIN,
    INPUT,
    MODEL,
    PARTICLES,
    PROGRESS,
    SUMMARY,
    TRAINING,
)
from scipion_udl.set_rows import ID, read_columns, read_growth

BATCH = "batch.json"
STREAM = "stream.json"  # what is known of the input's end
# Of the newest averages, what is shown as the run's result.
_AVERAGES = (AVERAGE, AVERAGE_BEFORE, "average_weighted.mrcs", "half1.mrcs", "half2.mrcs")
_SHOWN = (*_AVERAGES, FRC, REPORT, MODEL, MODEL_PICTURE, TRAINING)
_KEPT = (BATCH, PARTICLES, CONVERTED, ALIGNED, SUMMARY)  # of a batch whose averages others have taken up
FEWEST = 64  # to begin with
MOST = 10000  # particles of a batch: so many are shown at once where a run has to catch up
PATIENCE = 20  # looks at an input that cannot be read, before the run gives up
# Questions of align 2D that a stream leaves at their defaults.
_NOT_ASKED = ("alignmentOfInput", "doMirror", "doRefine", "writeStack", "leaveOut", "scoreThreshold")


@dataclass
class Batch:
    """Particles that are aligned at one time: number from 1, its folder, ids of its items, and of the disabled ones
    that came with them."""

    number: int
    folder: str
    ids: list[int]
    disabled: list[int]

    def path(self, name: str) -> str:
        """A file in its folder."""
        return os.path.join(self.folder, name)

    def isAligned(self) -> bool:
        """Whether the engine is done with it: what it writes last is there."""
        return os.path.exists(self.path(SUMMARY))

    def write(self) -> None:
        """Leave it on the disk, complete or not at all."""
        pwutils.makePath(self.folder)
        _write_json(self.path(BATCH), {"number": self.number, "ids": self.ids, "disabled": self.disabled})

    @classmethod
    def read(cls, folder: str) -> Batch:
        """One that was written."""
        with open(os.path.join(folder, BATCH), encoding="utf-8") as file:
            return cls(folder=folder, **json.load(file))


def _write_json(path: str, content: dict) -> None:
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        json.dump(content, file)
    durable.replace(f"{path}.part", path)


class ProtUdlAlign2DStreaming(ProtUdlAlign2D, pwprot.ProtStreamingBase):
    """Aligns particles while they are still being picked and extracted: takes an input set that grows, and gives an
    output set and an average that grow with it.

    The first particles are aligned with each other, as 'udl - align 2D' does it, with a network that is trained on
    them or given. Each particle that comes later is aligned by itself to the averages of these first ones, which stay
    as they are, so that its alignment does not depend on when it came or what came with it. The average is that of all
    particles so far.

    The run ends when the input is complete. It can be stopped and continued at any time.
    """

    _label = "align 2D (streaming)"
    stepsExecutionMode = STEPS_PARALLEL
    _possibleOutputs = {PARTICLES_OUT: SetOfParticles, AVERAGE_OUT: Particle, MODEL_OUT: UdlModel}

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._batches: list[Batch] = []
        self._known: set[int] = set()
        self._done = 0  # batches whose particles are in the output

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineAlignParams(self, form: Form) -> None:
        form.getParam("inputParticles").help.set(
            "Particles that show one view. The set may still grow: the run takes up what comes, and ends when the set "
            "is complete. Disabled particles are left out."
        )
        self._defineGpuParams(form)
        self._defineModelParams(form)
        self._defineBatchParams(form)
        self._defineQuestions(form)
        self._defineMaskParam(form)
        self._defineExpertParams(form)
        self._defineOutputParams(form)
        for name in _NOT_ASKED:
            form.getParam(name).condition.set("False")
        form.addSection(label="Training")
        self._defineTrainingParams(form, f"modelFrom == {MODEL_TRAIN}")
        self._defineSeedParam(form)
        self._defineStreamingParams(form)
        form.getParam("streamingBatchSize").condition.set("False")  # *Particles at a time* says it
        form.addParallelSection(threads=3, mpi=0, binThreads=4)

    @staticmethod
    def _defineBatchParams(form: Form) -> None:
        form.addParam(
            "firstBatch",
            params.IntParam,
            default=1000,
            validators=[params.GE(FEWEST, f"must be {FEWEST} or more")],
            label="Particles to begin with",
            help="The run waits for so many, trains on them and aligns them with each other; all others are aligned to "
            "their average. More make a better average and come later. Where the input is complete with fewer, the run "
            "takes these.",
        )
        form.addParam(
            "batchSize",
            params.IntParam,
            default=500,
            validators=[params.GE(1, "must be 1 or more")],
            label="Particles at a time",
            help="After the first ones the run waits for so many before it aligns them; at the end it takes what is "
            "left. Fewer show the newest average sooner; each time costs some seconds, whatever the number.",
        )

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _insertAllSteps(self) -> None:
        pwprot.ProtStreamingBase._insertAllSteps(self)

    def stepsGeneratorStep(self) -> None:
        """Look at the input again and again, and insert a step for every batch, until the input is complete.

        Raises UdlError where it is complete without a particle, or cannot be read any more.
        """
        self._takeUp()
        pause, trouble = max(1, self._getStreamingSleepOnWait()), 0
        while not any(step.isFailed() for step in self._steps):
            if self._done < len(self._batches):  # the next takes all that comes meanwhile
                time.sleep(1)
                continue
            try:
                closed = self._isInputOver()
                new = read_growth(self.inputParticles.get().getFileName(), self._known)
                trouble = 0
            except sqlite3.Error as error:
                trouble += 1
                if trouble > PATIENCE:
                    raise UdlError(f"The input set cannot be read any more: {error}") from None
                time.sleep(pause)
                continue
            closed = closed or new.closed
            if self._cutBatch(new.items, closed):
                continue
            if closed:
                self._insertEnd(len(new.items))
                return
            time.sleep(pause)

    def _cutBatch(self, new: list[tuple[int, bool]], closed: bool) -> bool:
        """Make a batch of new items, (id, enabled) each, where they are enough, and insert its step."""
        enabled = [item_id for item_id, is_enabled in new if is_enabled]
        wanted = self.batchSize.get() if self._batches else self.firstBatch.get()
        if not enabled or (len(enabled) < wanted and not closed):
            return False
        if not self._batches and len(enabled) < wanted:
            self._note(
                f"The input was complete with {len(enabled)} particles, fewer than the {wanted} to begin with: they "
                "were aligned with each other."
            )
        ids = enabled[: MOST if self._batches else wanted]
        disabled = [item_id for item_id, is_enabled in new if not is_enabled and item_id < ids[-1]]
        number = len(self._batches) + 1
        batch = Batch(number, self._getExtraPath(f"batch_{number:04d}"), ids, disabled)
        batch.write()
        self._remember(batch)
        self._insertBatch(batch)
        return True

    def _insertBatch(self, batch: Batch) -> None:
        step = self.alignFirstStep if batch.number == 1 else self.joinStep
        self._insertFunctionStep(step, batch.number, len(batch.ids), prerequisites=[])

    def _remember(self, batch: Batch) -> None:
        self._batches.append(batch)
        self._known.update(batch.ids)
        self._known.update(batch.disabled)

    def _insertEnd(self, left: int) -> None:
        """The last step; left: disabled items at the end of the input. Raises UdlError where nothing came."""
        if not self._batches:
            raise UdlError(
                "The input set is complete and has no enabled particle: there is nothing to align. Look at the run "
                "that it comes from"
            )
        self._insertFunctionStep(self.closeOutputStep, left, prerequisites=[], needsGPU=False)

    def _takeUp(self) -> None:
        """Go on where an earlier attempt of this run was stopped: with the batches that it has cut."""
        pwutils.cleanPath(self._getExtraPath(ALIGNED_XMD))  # of all particles; there may be more by now
        number = 1
        while os.path.exists(self._getExtraPath(f"batch_{number:04d}", BATCH)):
            self._remember(Batch.read(self._getExtraPath(f"batch_{number:04d}")))
            number += 1
        there = self._idsOfOutput()
        for batch in self._batches:
            if not there.isdisjoint(batch.ids):  # all were added at once, but those that had been disabled meanwhile
                self._done = batch.number
            else:
                self._insertBatch(batch)  # the last one: the next is cut when it is done
        if self._done:
            self._showNewest(self._batches[self._done - 1])
            first = self._readJson("align.options.json")
            if first and first[0] != self._firstOptions():
                self._note(
                    "Answers of the form were changed after the first particles were aligned, and have no effect on "
                    "this run: to align all particles by them, restart it."
                )

    def _idsOfOutput(self) -> set[int]:
        output = getattr(self, PARTICLES_OUT, None)
        if output is None or not os.path.exists(output.getFileName()):
            return set()
        return set(read_columns(output, ())[ID])

    def alignFirstStep(self, number: int, _count: int) -> None:
        """Train on the first particles, unless a model was given, and align them with each other."""
        batch = self._batches[number - 1]
        if not batch.isAligned():
            self._convertReference()
            options = self._firstOptions()
            again = self._wasAsked("align", options, (batch.ids,))
            self._alignBatch(batch, f"{options} {'--continue' if again else '--overwrite'}")
        self._addToOutputs(batch)

    def _firstOptions(self) -> str:
        """The options of the engine that the first particles are aligned with, and with them all others."""
        options = f"{self._alignOptions()}{self._modelOption()}"
        return f"{self._trainingOptions()} {options}" if self.modelFrom.get() == MODEL_TRAIN else options

    def joinStep(self, number: int, _count: int) -> None:
        """Align particles that have come to the averages of the first ones."""
        batch, first, before = (self._batches[k] for k in (number - 1, 0, number - 2))
        if not batch.isAligned():
            runs = f"--join {shlex.quote(first.folder)} --pool {shlex.quote(before.folder)}"
            self._alignBatch(batch, f"{runs} --seed {self.seed.get()} --overwrite")
        self._addToOutputs(batch)

    def _alignBatch(self, batch: Batch, options: str) -> None:
        star = batch.path(PARTICLES)
        write_particles(self._input(), star, batch.path(CONVERTED), ids=batch.ids)
        words = f"align {shlex.quote(star)} -o {shlex.quote(batch.folder)} {options} --threads {self.getBinThreads()}"
        self._runCommand(words, batch.path(SUMMARY))

    def closeOutputStep(self, left: int) -> None:
        """The input is complete: so is the output. left: disabled items that came after the last batch."""
        with self._lock:
            output, counts = getattr(self, PARTICLES_OUT), self.readInput()
            counts["disabled"] = left + sum(len(batch.disabled) for batch in self._batches)
            _write_json(self._getExtraPath(INPUT), counts)
            # For the viewer: one table of all particles.
            write_alignment(output, *(self._getExtraPath(name) for name in (PARTICLES, CONVERTED, ALIGNED_XMD)))
            self._closeOutputSet()
        self.info(f"The input is complete: {output.getSize()} particles in {len(self._batches)} batches")

    # -- the input -----------------------------------------------------------------------------------------------------

    def _input(self) -> SetOfParticles:
        """The input set as it is on the disk now."""
        particles = SetOfParticles(filename=self.inputParticles.get().getFileName())
        particles.loadAllProperties()
        particles.close()
        return particles

    def _isInputOver(self) -> bool:
        """Whether the run that fills the input has ended, so that nothing will come whatever the set says."""
        source = self.inputParticles.getObjValue()
        if not isinstance(source, pwprot.Protocol):
            return False
        if source.getProject() is None:
            source.setProject(self.getProject())
        source = pwprot.getUpdatedProtocol(source) if os.path.exists(source.getDbPath()) else source
        if source.isActive():
            return False
        if source.isFailed() or source.isAborted():
            how = "failed" if source.isFailed() else "was stopped"
            self._note(f"The run that the particles come from {how}: the particles until then were aligned.")
        return True

    def _note(self, sentence: str) -> None:
        """A sentence for log and summary."""
        notes = self._readJson(STREAM).get("notes", [])
        if sentence not in notes:
            self.info(sentence)
            _write_json(self._getExtraPath(STREAM), {"notes": [*notes, sentence]})

    # -- outputs -------------------------------------------------------------------------------------------------------

    def _addToOutputs(self, batch: Batch) -> None:
        """Add an aligned batch to the output set, and show the newest average."""
        results = read_results(batch.path(ALIGNED), batch.path(PARTICLES))
        with self._lock:
            particles = self._input()
            if batch.number == 1:
                output = self._createSetOfParticles()
                output.copyInfo(particles)
                add_results(particles, output, results)
            else:
                output = SetOfParticles(filename=getattr(self, PARTICLES_OUT).getFileName())
                output.loadAllProperties()
                append_results(particles, output, results)
            is_new = not self.hasAttribute(PARTICLES_OUT)
            self._updateOutputSet(PARTICLES_OUT, output, Set.STREAM_OPEN)
            if is_new:
                self._defineTransformRelation(self.inputParticles, getattr(self, PARTICLES_OUT))
            self._showNewest(batch)
            self._done = batch.number
        self.info(f"{len(batch.ids)} particles aligned, {len(self._known)} items of the input done")

    def _showNewest(self, batch: Batch) -> None:
        """The averages of all particles so far as the run's results, and what may go of the batch before."""
        for name in _SHOWN:
            if os.path.exists(batch.path(name)):
                pwutils.copyFile(batch.path(name), self._getExtraPath(f"{name}.part"))
                durable.replace(self._getExtraPath(f"{name}.part"), self._getExtraPath(name))
        facts = self._factsOfAll(batch)
        _write_json(self._getExtraPath(SUMMARY), facts)
        disabled = sum(len(one.disabled) for one in self._batches[: batch.number])
        _write_json(self._getExtraPath(INPUT), {"particles": facts["particles"], "disabled": disabled})
        average = self._averageImage(1, AVERAGE, facts)
        if self.hasAttribute(AVERAGE_OUT):
            getattr(self, AVERAGE_OUT).copy(average, copyId=False)
            self._store(getattr(self, AVERAGE_OUT))
        else:
            self._defineOutputs(**{AVERAGE_OUT: average})
            self._defineSourceRelation(self.inputParticles, average)
        if self.modelFrom.get() == MODEL_TRAIN and self.getModelFile() and not self.hasAttribute(MODEL_OUT):
            self._giveModel()
        if batch.number > 2:
            self._tidy(self._batches[batch.number - 2])

    def _factsOfAll(self, batch: Batch) -> dict:
        """The summary of the newest averages, with what adds up over the batches."""
        summaries = []
        for one in self._batches[: batch.number]:
            with open(one.path(SUMMARY), encoding="utf-8") as file:
                summaries.append(json.load(file))
        first, last = summaries[0], summaries[-1]
        told = [sentence for found in summaries for sentence in found.get("warnings", [])]
        facts = {**last, "training": first.get("training"), "model": first.get("model"), "batches": len(summaries)}
        if last.get("resolution"):  # which is of all, while a warning is of the batch that it came with
            told = [sentence.replace(", and no resolution is claimed", "") for sentence in told]
        facts["warnings"] = list(dict.fromkeys(told))
        for name in ("particles", "ambiguous", "outliers"):
            facts[name] = sum(found.get(name) or 0 for found in summaries)
        return facts

    @staticmethod
    def _tidy(batch: Batch) -> None:
        """Remove the averages and the report of a batch: newer ones hold its particles."""
        for name in os.listdir(batch.folder):
            if name not in _KEPT and os.path.isfile(batch.path(name)):
                os.remove(batch.path(name))

    # -- information ---------------------------------------------------------------------------------------------------

    def _readJson(self, name: str) -> dict:
        """A file of the run; how far the engine is stands in the folder of the batch that it works on."""
        if name == PROGRESS:
            number = 1
            while os.path.exists(self._getExtraPath(f"batch_{number + 1:04d}", BATCH)):
                number += 1
            name = os.path.join(f"batch_{number:04d}", PROGRESS)
        return super()._readJson(name)

    def _validate(self) -> list[str]:
        if self.inputParticles.get() is None:  # Scipion says so itself
            return []
        errors = self._validateEngine()
        self._validateThreads(errors)
        if self.inputParticles.get().getXDim():  # a set that has no particle yet tells nothing of them
            errors += self._validateForm()
        return errors

    def _warnings(self) -> list[str]:
        if self.modelFrom.get() != MODEL_TRAIN or self.firstBatch.get() >= FEWEST_TO_TRAIN:
            return []
        return [
            f"*Particles to begin with* is {self.firstBatch.get()}, and training needs about {FEWEST_TO_TRAIN}: "
            "particles will be aligned without a network, which takes longer."
        ]

    def _summary(self) -> list[str]:
        facts, lines = self.readEngineSummary(), []
        if facts.get("batches"):
            times = "at one time" if facts["batches"] == 1 else f"at {facts['batches']} times"
            lines.append(f"*{facts['particles']}* particles have come {times}; {self._stateOfInput()}.")
        lines += self._readJson(STREAM).get("notes", [])
        return lines + super()._summary()

    def _stateOfInput(self) -> str:
        """Whether more may come; Scipion closes the output of a run that is stopped, so that does not tell it."""
        if self.isAborted() or self.isFailed():
            return "the run was stopped, and *Continue* takes up what has come since"
        output = getattr(self, PARTICLES_OUT, None)
        return "the input still grows" if output is not None and output.isStreamOpen() else "the input is complete"

    def _methods(self) -> list[str]:
        found, facts = super()._methods(), self.readEngineSummary()
        if found and facts.get("batches", 1) > 1:
            found.append(
                f"The first particles were aligned with each other, those that came later (in {facts['batches'] - 1} "
                "batches) by themselves to the half averages of the first."
            )
        return found
