"""udl - align 2D (streaming): particles that keep coming, aligned as they come; the output set and average grow."""

from __future__ import annotations

import os
import shlex

import pyworkflow.utils as pwutils
from pwem.objects import Particle, SetOfParticles
from pyworkflow.object import Set
from pyworkflow.protocol import Form

from scipion_udl.constants import MODEL, MODEL_PICTURE
from scipion_udl.convert.particles import add_results, append_results, read_results, write_alignment
from scipion_udl.convert.set_rows import ID, read_columns
from scipion_udl.objects import UdlModel
from scipion_udl.protocols.forms.questions import MODEL_OUT, MODEL_TRAIN
from scipion_udl.protocols.protocol_align_2d import (
    ALIGNED,
    ALIGNED_XMD,
    AVERAGE,
    AVERAGE_BEFORE,
    AVERAGE_OUT,
    FRC,
    PARTICLES_OUT,
    ProtUdlAlign2D,
)
from scipion_udl.protocols.protocol_base import CONVERTED, FEWEST_TO_TRAIN, PARTICLES, REPORT, TRAINING
from scipion_udl.protocols.streaming import Batch, GrowingInput

# Of the newest averages, what is shown as the run's result.
_AVERAGES = (AVERAGE, AVERAGE_BEFORE, "average_weighted.mrcs", "half1.mrcs", "half2.mrcs")
# Questions of align 2D that a stream leaves at their defaults.
_NOT_ASKED = ("alignmentOfInput", "doMirror", "doRefine", "writeStack", "leaveOut", "scoreThreshold")


class ProtUdlAlign2DStreaming(GrowingInput, ProtUdlAlign2D):
    """Aligns particles while they are still being picked and extracted: takes an input set that grows, and gives an
    output set and an average that grow with it.

    The first particles are aligned with each other, as 'udl - align 2D' does it, with a network that is trained on
    them or given. Each particle that comes later is aligned by itself to the averages of these first ones, which stay
    as they are, so that its alignment does not depend on when it came or what came with it. The average is that of all
    particles so far.

    The run ends when the input is complete. It can be stopped and continued at any time.
    """

    _label = "align 2D (streaming)"
    _subcommand, _table = "align", ALIGNED
    _shown = (*_AVERAGES, FRC, REPORT, MODEL, MODEL_PICTURE, TRAINING)
    _possibleOutputs = {PARTICLES_OUT: SetOfParticles, AVERAGE_OUT: Particle, MODEL_OUT: UdlModel}

    # -- parameters ----------------------------------------------------------------------------------------------------

    def _defineAlignParams(self, form: Form) -> None:
        form.getParam("inputParticles").help.set(
            "Particles that show one view. The set may still grow: the run takes up what comes, and ends when the set "
            "is complete. Disabled particles are left out."
        )
        self._defineGpuParams(form)
        self._defineModelParams(form)
        self._defineBatchParams(
            form,
            1000,
            "trains on them and aligns them with each other; all others are aligned to their average. More make a "
            "better average and come later.",
        )
        self._defineQuestions(form)
        self._defineExpertParams(form)
        self._defineOutputParams(form)
        for name in _NOT_ASKED:
            form.getParam(name).condition.set("False")
        form.addSection(label="Training")
        self._defineTrainingParams(form, f"modelFrom == {MODEL_TRAIN}")
        self._defineSeedParam(form)
        self._defineStreamingSections(form)

    # -- steps ---------------------------------------------------------------------------------------------------------

    def _takeUp(self) -> None:
        pwutils.cleanPath(self._getExtraPath(ALIGNED_XMD))  # of all particles; there may be more by now
        self._there = self._idsOfOutput()
        super()._takeUp()

    def _isInOutput(self, batch: Batch) -> bool:
        return not self._there.isdisjoint(batch.ids)  # all were added at once, but those that had been disabled then

    def _idsOfOutput(self) -> set[int]:
        output = getattr(self, PARTICLES_OUT, None)
        if output is None or not os.path.exists(output.getFileName()):
            return set()
        return set(read_columns(output, ())[ID])

    def _prepareFirst(self) -> None:
        self._convertReference()

    def _firstOptions(self) -> str:
        options = f"{self._alignOptions()}{self._modelOption()}"
        return f"{self._trainingOptions()} {options}" if self.modelFrom.get() == MODEL_TRAIN else options

    def _appendOptions(self, first: Batch, before: Batch) -> str:
        """Later ones are aligned to the averages of the first, and add to those of all before them."""
        return shlex.join(self._option("append_to", first.folder) + self._option("pool", before.folder))

    def closeOutputStep(self, left: int) -> None:
        """The input is complete: so is the output. left: disabled items that came after the last batch."""
        with self._lock:  # for the viewer: one table of all particles
            output = getattr(self, PARTICLES_OUT)
            write_alignment(output, *(self._getExtraPath(name) for name in (PARTICLES, CONVERTED, ALIGNED_XMD)))
        super().closeOutputStep(left)

    # -- outputs -------------------------------------------------------------------------------------------------------

    def _addBatch(self, particles: SetOfParticles, batch: Batch) -> None:
        """Add an aligned batch to the output set."""
        results = read_results(batch.path(ALIGNED), batch.path(PARTICLES))
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

    def _giveNewest(self, facts: dict) -> None:
        """The average of all particles so far."""
        average = self._averageImage(AVERAGE, facts)
        if self.hasAttribute(AVERAGE_OUT):
            getattr(self, AVERAGE_OUT).copy(average, copyId=False)
            self._store(getattr(self, AVERAGE_OUT))
        else:
            self._defineOutputs(**{AVERAGE_OUT: average})
            self._defineSourceRelation(self.inputParticles, average)

    # -- information ---------------------------------------------------------------------------------------------------

    def _warnings(self) -> list[str]:
        if self.modelFrom.get() != MODEL_TRAIN or self.firstBatch.get() >= FEWEST_TO_TRAIN:
            return []
        return [
            f"*Particles to begin with* is {self.firstBatch.get()}, and training needs about {FEWEST_TO_TRAIN}: "
            "particles will be aligned without a network, which takes longer."
        ]

    def _methods(self) -> list[str]:
        found, facts = super()._methods(), self.readEngineSummary()
        if found and facts.get("batches", 1) > 1:
            found.append(
                f"The first particles were aligned with each other, those that came later (in {facts['batches'] - 1} "
                "batches) by themselves to the half averages of the first."
            )
        return found
