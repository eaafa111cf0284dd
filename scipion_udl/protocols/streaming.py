"""What the protocols share that take a set of particles while it grows: the watch over the input, and its batches."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import time
from dataclasses import dataclass

import pyworkflow.protocol as pwprot
import pyworkflow.utils as pwutils
from pwem.objects import EMSet, SetOfParticles
from pyworkflow.protocol import STEPS_PARALLEL, Form

from scipion_udl.convert.particles import write_particles
from scipion_udl.convert.set_rows import read_growth
from scipion_udl.errors import UdlError
from scipion_udl.io.output import durable
from scipion_udl.messages import Message, entries, message
from scipion_udl.protocols.asking import ask
from scipion_udl.protocols.forms.questions import MODEL_OUT, MODEL_TRAIN, ParticleQuestions
from scipion_udl.protocols.protocol_base import CONVERTED, INPUT, PARTICLES, PROGRESS, SUMMARY, told_in
from scipion_udl.settings.option import Question
from scipion_udl.values import Whole

BATCH = "batch.json"
STREAM = "stream.json"  # what is known of the input's end
FEWEST = 64  # to begin with
MOST = 10000  # particles of a batch: so many are shown at once where a run has to catch up
PATIENCE = 20  # looks at an input that cannot be read, before the run gives up
_KEPT = (BATCH, PARTICLES, CONVERTED, SUMMARY)  # of a batch whose averages others have taken up

_FIRST_BATCH = Question("firstBatch", "Particles to begin with", kind="whole", limits=Whole(least=FEWEST))
_BATCH_SIZE = Question(
    "batchSize",
    "Particles at a time",
    "After the first ones the run waits for so many before it goes on; at the end it takes what is left. "
    "Fewer show the newest averages sooner; each time costs some seconds, whatever the number.",
    kind="whole",
    default=500,
    limits=Whole(),
)


def _of_a_batch(warning: str) -> str:
    """A warning of one batch, whose particles may be too few for a claim that all together have."""
    if isinstance(warning, Message) and warning.code == "too_few_for_training":
        return Message("batch_too_few", warning.values)
    return warning


@dataclass
class Batch:
    """Particles that are worked on at one time: number from 1, its folder, ids of its items, and of the disabled ones
    that came with them."""

    number: int
    folder: str
    ids: list[int]
    disabled: list[int]

    def path(self, name: str) -> str:
        """A file in its folder."""
        return os.path.join(self.folder, name)

    def isDone(self) -> bool:
        """Whether the engine is done with it: what it writes last is there."""
        return os.path.exists(self.path(SUMMARY))

    def write(self) -> None:
        """Leave it on the disk, complete or not at all."""
        pwutils.makePath(self.folder)
        write_json(self.path(BATCH), {"number": self.number, "ids": self.ids, "disabled": self.disabled})

    @classmethod
    def read(cls, folder: str) -> Batch:
        """One that was written."""
        with open(os.path.join(folder, BATCH), encoding="utf-8") as file:
            return cls(folder=folder, **json.load(file))


def write_json(path: str, content: dict) -> None:
    """Write a file of JSON, complete or not at all."""
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        json.dump(content, file)
    durable.replace(f"{path}.part", path)


class GrowingInput(ParticleQuestions, pwprot.ProtStreamingBase):
    """Watches an input set that grows, cuts it into batches, and has the engine work on them.

    The first particles are worked on with each other; all that come later are joined to what came of them. A protocol
    says what the engine is asked for, takes up each batch into its output, and gives what is known of all so far.
    """

    _label: str | None = None
    stepsExecutionMode = STEPS_PARALLEL
    # What a protocol says: the engine's subcommand, the table that it writes of a batch, what else of its files is
    # shown as the run's result, and the numbers in its summary that add up over the batches.
    _subcommand, _table = "", ""
    _shown: tuple[str, ...] = ()
    _adding = ("particles", "ambiguous", "outliers")

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._batches: list[Batch] = []
        self._known: set[int] = set()
        self._done = 0  # batches whose particles are in the output

    # -- what a protocol says ------------------------------------------------------------------------------------------

    def _firstOptions(self) -> str:
        """The options of the engine for the first particles, on which all others depend."""
        raise NotImplementedError

    def _appendOptions(self, first: Batch, before: Batch) -> str:
        """The options of the engine for later ones; first: the first batch, before: the one before."""
        raise NotImplementedError

    def _prepareFirst(self) -> None:
        """What is to be done before the engine begins: nothing, unless a protocol says otherwise."""

    def _isInOutput(self, batch: Batch) -> bool:
        """Whether the particles of a batch are in the output."""
        raise NotImplementedError

    def _addBatch(self, particles: SetOfParticles, batch: Batch) -> None:
        """Take a batch up into the output; particles: the input as it is now."""
        raise NotImplementedError

    def _giveNewest(self, facts: dict) -> None:
        """Give what came of all particles so far, beside the output set; facts: the summary of all."""
        raise NotImplementedError

    # -- parameters ----------------------------------------------------------------------------------------------------

    @staticmethod
    def _defineBatchParams(form: Form, first: int, use: str) -> None:
        """The questions on batches; first: default of the first one; use: what becomes of it and of the others."""
        help_ = f"The run waits for so many, {use} Where the input is complete with fewer, the run takes these."
        ask(form, _FIRST_BATCH, default=first, help=help_)
        ask(form, _BATCH_SIZE)

    def _defineStreamingSections(self, form: Form) -> None:
        """The sections at the end of a form: how the input is watched, and threads."""
        self._defineStreamingParams(form)
        form.getParam("streamingBatchSize").condition.set("False")  # *Particles at a time* says it
        form.addParallelSection(threads=3, mpi=0, binThreads=4)

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
                    raise UdlError(message("stream_unreadable", reason=error)) from None
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
                f"The input was complete with {len(enabled)} particles, fewer than the {wanted} to begin with: the "
                "run began with these."
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
        step = self.firstStep if batch.number == 1 else self.joinStep
        self._insertFunctionStep(step, batch.number, len(batch.ids), prerequisites=[])

    def _remember(self, batch: Batch) -> None:
        self._batches.append(batch)
        self._known.update(batch.ids)
        self._known.update(batch.disabled)

    def _insertEnd(self, left: int) -> None:
        """The last step; left: disabled items at the end of the input. Raises UdlError where nothing came."""
        if not self._batches:
            raise UdlError(message("stream_without_particles"))
        self._insertFunctionStep(self.closeOutputStep, left, prerequisites=[], needsGPU=False)

    def _takeUp(self) -> None:
        """Go on where an earlier attempt of this run was stopped: with the batches that it has cut."""
        number = 1
        while os.path.exists(self._getExtraPath(f"batch_{number:04d}", BATCH)):
            self._remember(Batch.read(self._getExtraPath(f"batch_{number:04d}")))
            number += 1
        for batch in self._batches:
            if self._isInOutput(batch):
                self._done = batch.number
            else:
                self._insertBatch(batch)  # the last one: the next is cut when it is done
        if self._done:
            self._showNewest(self._batches[self._done - 1])
            first = self._readJson(f"{self._subcommand}.options.json")
            if first and first[0] != self._firstOptions():
                self._note(
                    "Answers of the form were changed after the first particles were done, and have no effect on this "
                    "run: to have all particles done by them, restart it."
                )

    def firstStep(self, number: int, _count: int) -> None:
        """Have the engine work on the first particles; what was interrupted goes on."""
        batch = self._batches[number - 1]
        if not batch.isDone():
            self._prepareFirst()
            options = self._firstOptions()
            again = self._wasAsked(self._subcommand, options, (batch.ids,))
            self._runBatch(batch, f"{options} {self._begins(again)}")
        self._addToOutputs(batch)

    def joinStep(self, number: int, _count: int) -> None:
        """Have the engine join particles that have come to what came of the first ones."""
        batch, first, before = (self._batches[k] for k in (number - 1, 0, number - 2))
        if not batch.isDone():
            seed = shlex.join(self._words("seed"))
            self._runBatch(batch, f"{self._appendOptions(first, before)} {seed} {self._begins(interrupted=False)}")
        self._addToOutputs(batch)

    def _runBatch(self, batch: Batch, options: str) -> None:
        star = batch.path(PARTICLES)
        write_particles(self._input(), star, batch.path(CONVERTED), ids=batch.ids)
        self._runOn(self._subcommand, star, batch.folder, options, self.getBinThreads())

    def closeOutputStep(self, left: int) -> None:
        """The input is complete: so is the output. left: disabled items that came after the last batch."""
        with self._lock:
            counts = self.readInput()
            counts["disabled"] = left + sum(len(batch.disabled) for batch in self._batches)
            write_json(self._getExtraPath(INPUT), counts)
            self._closeOutputSet()
        done = sum(len(batch.ids) for batch in self._batches)
        self.info(f"The input is complete: {done} particles in {len(self._batches)} batches")

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
            self._note(f"The run that the particles come from {how}: the particles until then were taken.")
        return True

    def _note(self, sentence: str) -> None:
        """A sentence for log and summary."""
        notes = self._readJson(STREAM).get("notes", [])
        if sentence not in notes:
            self.info(sentence)
            write_json(self._getExtraPath(STREAM), {"notes": [*notes, sentence]})

    # -- outputs -------------------------------------------------------------------------------------------------------

    def _addToOutputs(self, batch: Batch) -> None:
        """Take up a batch that the engine is done with into the outputs, and show what is newest."""
        with self._lock:
            self._addBatch(self._input(), batch)
            self._showNewest(batch)
            self._done = batch.number
        self.info(f"{len(batch.ids)} particles done, {len(self._known)} items of the input in all")

    def _showNewest(self, batch: Batch) -> None:
        """What came of all particles so far as the run's results, and what may go of the batch before."""
        for name in self._shown:
            if os.path.exists(batch.path(name)):
                pwutils.copyFile(batch.path(name), self._getExtraPath(f"{name}.part"))
                durable.replace(self._getExtraPath(f"{name}.part"), self._getExtraPath(name))
        facts = self._factsOfAll(batch)
        write_json(self._getExtraPath(SUMMARY), facts)
        disabled = sum(len(one.disabled) for one in self._batches[: batch.number])
        write_json(self._getExtraPath(INPUT), {"particles": facts["particles"], "disabled": disabled})
        self._giveNewest(facts)
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
        told = [one for found in summaries for one in told_in(found, "warning")]
        facts = {**last, "training": first.get("training"), "model": first.get("model"), "batches": len(summaries)}
        if last.get("resolution"):  # which is of all, while a warning is of the batch that it came with
            told = [_of_a_batch(one) for one in told]
        facts["warnings"] = told = list(dict.fromkeys(told))
        facts.pop("messages", None)
        notes = told_in(last, "note")
        known = [[one for one in some if isinstance(one, Message)] for some in (told, notes)]
        if known == [told, notes]:  # batches of an earlier version have sentences alone
            facts["messages"] = entries(*known)
        for name in self._adding:
            facts[name] = sum(found.get(name) or 0 for found in summaries)
        return facts

    def _tidy(self, batch: Batch) -> None:
        """Remove the averages and the report of a batch: newer ones hold its particles."""
        for name in os.listdir(batch.folder):
            if name not in (*_KEPT, self._table) and os.path.isfile(batch.path(name)):
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

    def _summary(self) -> list[str]:
        facts, lines = self.readEngineSummary(), []
        if facts.get("batches"):
            times = "at one time" if facts["batches"] == 1 else f"at {facts['batches']} times"
            lines.append(f"*{facts['particles']}* particles have come {times}; {self._stateOfInput()}.")
        return [*lines, *self._readJson(STREAM).get("notes", []), *super()._summary()]

    def _stateOfInput(self) -> str:
        """Whether more may come; Scipion closes the output of a run that is stopped, so that does not tell it."""
        if self.isAborted() or self.isFailed():
            return "the run was stopped, and *Continue* takes up what has come since"
        grows = any(isinstance(output, EMSet) and output.isStreamOpen() for _, output in self.iterOutputAttributes())
        return "the input still grows" if grows else "the input is complete"
