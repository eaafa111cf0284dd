"""udl - classify 2D (streaming): particles that keep coming, sorted into the classes that the first of them made."""

from __future__ import annotations

import os
import shlex

from pwem.objects import SetOfAverages, SetOfClasses2D, SetOfParticles
from pyworkflow.object import Set
from pyworkflow.protocol import Form

from scipion_udl.constants import MODEL, MODEL_PICTURE
from scipion_udl.convert.classes import add_sorted, fill_averages, read_classified, update_averages
from scipion_udl.protocols.protocol_align_2d import AVERAGES, AVERAGES_OUT, CLASSES_OUT, FRC
from scipion_udl.protocols.protocol_base import PARTICLES, REPORT, TRAINING
from scipion_udl.protocols.protocol_classify_2d import CLASSES_STAR, ProtUdlClassify2D
from scipion_udl.protocols.streaming import Batch, GrowingInput, write_json

ADDED = "added.json"  # in the folder of a batch whose particles are in the output
CLASSES_CSV = "classes.csv"


class ProtUdlClassify2DStreaming(GrowingInput, ProtUdlClassify2D):
    """Sorts particles into classes while they are still being picked and extracted: takes an input set that grows, and
    gives classes that grow with it.

    The first particles make the classes, as 'udl - classify 2D' does it. Those that come later are sorted into these
    and teach them further: averages, FRC and claims are of all particles so far. A view that none of them has shown
    before gets a class of its own once enough particles of a batch show it. A class keeps its number and its particles
    to the end; what happened to classes is told in the summary and in class_history.csv.

    The run ends when the input is complete. It can be stopped and continued at any time.
    """

    _label = "classify 2D (streaming)"
    _subcommand, _table = "classify", CLASSES_STAR
    _shown = (AVERAGES, "averages_weighted.mrcs", CLASSES_CSV, FRC, REPORT, MODEL, MODEL_PICTURE, TRAINING)

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineParams(self, form: Form) -> None:
        super()._defineParams(form)
        form.getParam("inputParticles").help.set(
            "Particles of any views, with junk among them. The set may still grow: the run takes up what comes, and "
            "ends when the set is complete. Disabled particles are left out."
        )

    def _defineClassesParam(self, form: Form) -> None:
        super()._defineClassesParam(form)
        self._defineBatchParams(
            form,
            2000,
            "and makes the classes of them; all others are sorted into these, or open new ones. More show rarer views "
            "and come later: 100 or so for each class are enough.",
        )

    def _defineReferenceParams(self, form: Form) -> None:
        """Not asked: the first particles make the classes."""

    def _defineAlignmentParam(self, form: Form) -> None:
        """Not asked: particles that come later are aligned to the classes of the first."""

    def _defineParallel(self, form: Form) -> None:
        self._defineStreamingSections(form)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _firstOptions(self) -> str:
        return self._classifyOptions() + self._modelOption()

    def _appendOptions(self, _first: Batch, before: Batch) -> str:
        """Later ones join the classes of those before them, which have the references of the first."""
        return shlex.join(self._option("append_to", before.folder))

    def _isInOutput(self, batch: Batch) -> bool:
        return os.path.exists(batch.path(ADDED))

    # -- outputs -------------------------------------------------------------------------------------------------------

    def _addBatch(self, particles: SetOfParticles, batch: Batch) -> None:
        """Add a batch to the classes; what is there of it from an attempt that was stopped stays."""
        results, numbers = read_classified(batch.path(CLASSES_STAR), batch.path(PARTICLES))
        facts = self._factsOfClasses(self._factsOfAll(batch))
        if batch.number == 1:
            output = self._createSetOfClasses2D(self.inputParticles)
        else:
            output = SetOfClasses2D(filename=getattr(self, CLASSES_OUT).getFileName())
            output.loadAllProperties()
        add_sorted(particles, output, results, numbers, facts, self._averageImages(facts))
        self._giveSet(CLASSES_OUT, output)
        write_json(batch.path(ADDED), {"particles": len(results)})

    def _giveNewest(self, facts: dict) -> None:
        """The averages of all particles so far."""
        classes = self._factsOfClasses(facts)
        images = self._averageImages(classes)
        if self.hasAttribute(AVERAGES_OUT):
            output = SetOfAverages(filename=getattr(self, AVERAGES_OUT).getFileName())
            output.loadAllProperties()
            update_averages(output, images, classes)
        else:
            output = self._createSetOfAverages()
            fill_averages(output, self._input(), images, classes)
        self._giveSet(AVERAGES_OUT, output)

    def _giveSet(self, name: str, output: SetOfClasses2D | SetOfAverages) -> None:
        """Give a set that will grow, or tell what has become of it."""
        is_new = not self.hasAttribute(name)
        self._updateOutputSet(name, output, Set.STREAM_OPEN)
        if is_new:
            self._defineSourceRelation(self.inputParticles, getattr(self, name))

    # -- information ---------------------------------------------------------------------------------------------------

    def _summary(self) -> list[str]:
        """With what happened to classes after the first batch."""
        told = []
        for one in self.readEngineSummary().get("class_events", ()):
            other = f" (class {one['other']})" if one["other"] else ""
            told.append(f"Batch {one['batch']}: class *{one['class']}* {one['event']}{other}, {one['reason']}.")
        return super()._summary() + told

    def _particlesToClassify(self) -> int:
        return self.firstBatch.get()

    def _warnings(self) -> list[str]:
        return self._classWarnings() if self.inputParticles.get() is not None else []

    def _methods(self) -> list[str]:
        found, facts = super()._methods(), self.readEngineSummary()
        if found and facts.get("batches", 1) > 1:
            opened = sum(one["event"] != "merged" for one in facts.get("class_events", ()))
            found.append(
                f"The first particles made the classes, those that came later (in {facts['batches'] - 1} batches) were "
                f"sorted into them and taught them further; {opened} were opened for what no class had shown."
            )
        return found
