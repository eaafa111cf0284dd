"""Helpers of the forms: lengths and resolution chosen by eye on the particles, and a reference out of many.

The images are shown by pwem's own dialogs, which read and filter them by themselves: no GPU, no program of Xmipp.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any

import pwem.constants as emcts
from pwem.objects import Particle, SetOfAverages, SetOfClasses2D
from pwem.wizards.wizard import BandPassFilterDialog, EmWizard, ImagePreviewDialog, MaskPreviewDialog, PreviewDialog
from pyworkflow.gui import dialog
from pyworkflow.gui.tree import ListTreeProvider
from pyworkflow.gui.widgets import LabelSlider
from pyworkflow.viewer import DESKTOP_TKINTER

from scipion_udl import Plugin
from scipion_udl.constants import EVALUATED, FINEST_RING, WORKING_BOX, automatic_shift, proposed_classes
from scipion_udl.convert.particle_input import Particles, are_classes, info_of, parts
from scipion_udl.convert.particles import write_particles
from scipion_udl.convert.set_rows import ID, read_columns
from scipion_udl.engine_env import engine_diameter
from scipion_udl.errors import UdlError
from scipion_udl.protocols import (
    ProtUdlAlign2D,
    ProtUdlClassify2D,
    ProtUdlEvaluate,
    ProtUdlSelectClasses,
    ProtUdlTrain,
)
from scipion_udl.protocols.protocol_base import ProtUdlBase

if TYPE_CHECKING:  # Scipion's forms import the wizards
    from pyworkflow.gui.form import FormWindow

_MOST = 100  # images in a list
_LOOKED_AT = 500  # particles that tell the automatic diameter
_BLOB = 60.0  # angstrom: the coarsest that is offered


def images_to_show(particles: Particles) -> list[Particle]:
    """The first particles of a set; the representatives of classes, or their first particles where they have none."""
    if not particles.getSize():
        return []
    if not are_classes(particles):
        items = particles.iterItems(limit=_MOST)
    elif particles.hasRepresentatives():
        items = particles.iterRepresentatives()
    else:
        items = (item for part in parts(particles) for item in part.items.iterItems(limit=_MOST))
    found = []
    for item, _ in zip(items, range(_MOST)):
        own = item.clone()
        own.copyObjId(item)
        own.setSamplingRate(info_of(particles).getSamplingRate())
        found.append(own)
    return found


class _Wizard(EmWizard):
    """A wizard that shows the images of *Input particles*, or *Input classes*."""

    _environments = [DESKTOP_TKINTER]
    _targets: list = []

    def _getProvider(self, protocol: ProtUdlBase) -> ListTreeProvider | None:
        particles = protocol.inputParticles.get()
        images = images_to_show(particles) if particles is not None else []
        return ListTreeProvider(images) if images else None

    def _providerOf(self, form: FormWindow) -> ListTreeProvider | None:
        provider = self._getProvider(form.protocol)
        if provider is None:
            classes = isinstance(form.protocol, ProtUdlSelectClasses)
            label = "Input classes" if classes else "Input particles"
            dialog.showWarning("No particles", f"Choose *{label}* first.", form.root)
        return provider


def _explain(shown: PreviewDialog, text: str) -> None:
    """Replace what a dialog says at its top."""
    shown.expText.text.config(state="normal")
    shown.expText.text.delete("1.0", "end")
    shown.expText.updateExpText(text, width=75)


class _CircleDialog(MaskPreviewDialog):
    """A circle around the centre of the box; ``maskRadius``, pixels, is where it starts."""

    _name, _text = "", ""
    _step = 0.01  # pixels

    def _createPreview(self, frame: object) -> None:
        super()._createPreview(frame)
        _explain(self, self._text)
        self.preview.setLabel("Particle")

    def addRadiusBox(self, parent: object) -> None:
        """The slider of the radius, under its own name, in steps that tell the value it starts at."""
        start = self.iniRadius
        super().addRadiusBox(parent)
        self.radiusSlider.labelWidget.config(text=self._name)
        self.radiusSlider.slider.config(resolution=self._step, bigincrement=1)
        self.radiusSlider.slider.set(start)


class DiameterDialog(_CircleDialog):
    """The circle that holds the particle; ``told`` says what the automatic diameter is, "" if it was not asked for."""

    _name = "Particle diameter"

    def _createPreview(self, frame: object) -> None:
        self._text = "The circle should hold the particle and keep neighbours out. " + self.told
        super()._createPreview(frame)

    def showValues(self, var2set: Any, radiusSlider: LabelSlider) -> None:
        """The diameter in angstrom and in pixels."""
        pixels = 2 * self.getRadius(radiusSlider)
        var2set.set(f"{pixels * self.samplingRate:.0f} Å | {pixels:.0f} pix")


class UdlDiameterWizard(_Wizard):
    """Shows a circle on the particles and takes its diameter, in angstrom."""

    _targets = [
        (protocol, ["diameter"])
        for protocol in (ProtUdlAlign2D, ProtUdlClassify2D, ProtUdlEvaluate, ProtUdlSelectClasses, ProtUdlTrain)
    ]

    def show(self, form: FormWindow, *_params: object) -> None:
        """Open the dialog; its circle starts at the diameter of the form, or where a run would have it."""
        provider, protocol = self._providerOf(form), form.protocol
        if provider is None:
            return
        image = provider.getObjects()[0]
        box, size = image.getXDim(), image.getSamplingRate()
        diameter, told = protocol.diameter.get(), ""
        if not diameter or diameter < 0:
            diameter, told = automatic_diameter(protocol, box * size)
        shown = {"maskRadius": min(diameter / (2 * size), box / 2), "unit": emcts.UNIT_PIXEL, "told": told}
        chosen = DiameterDialog(form.root, provider, **shown)
        if chosen.resultYes():
            form.setVar("diameter", round(2 * chosen.getRadiusAngstroms(chosen.radiusSlider), 1))


def automatic_diameter(protocol: ProtUdlBase, box: float) -> tuple[float, str]:
    """The diameter, angstrom, that a run of the protocol would take by itself, and a sentence on it. box: angstrom."""
    if isinstance(protocol, ProtUdlEvaluate):
        return EVALUATED * box, f"Automatic (-1) is {EVALUATED * box:.0f} Å, a fixed share of the box."
    with tempfile.TemporaryDirectory() as folder:
        star, particles = os.path.join(folder, "particles.star"), protocol.inputParticles.get()
        ids = [item_id for part in parts(particles) for item_id in read_columns(part.items, ())[ID]]
        some = ids[:: -(-len(ids) // _LOOKED_AT)] if ids else None
        try:
            count = write_particles(particles, star, os.path.join(folder, "particles.mrcs"), ids=some, absolute=True)
            diameter, problem = engine_diameter(Plugin.getEngineProgram(), star)
        except (UdlError, OSError) as error:
            count, diameter, problem = 0, 0.0, str(error)
    if problem:
        return box, f"Automatic (-1) is not known here: {problem}"
    return diameter, f"Automatic (-1) is {diameter:.0f} Å, as {count} of the particles have it."


class ShiftDialog(_CircleDialog):
    """A circle around the centre of the box, as far as a particle's centre may lie from it; ``told`` says what the
    automatic shift is."""

    _name = "Largest shift"

    def _createPreview(self, frame: object) -> None:
        self._text = "The centre of a particle is looked for within the circle. " + self.told
        super()._createPreview(frame)


class UdlShiftWizard(_Wizard):
    """Shows the circle within which the centre of a particle must lie, and takes its radius, in pixels."""

    _targets = [(protocol, ["maxShift"]) for protocol in (ProtUdlAlign2D, ProtUdlClassify2D, ProtUdlSelectClasses)]

    def show(self, form: FormWindow, *_params: object) -> None:
        """Open the dialog; its circle starts at the shift of the form, or at the automatic one."""
        provider = self._providerOf(form)
        if provider is None:
            return
        shift, automatic = form.protocol.maxShift.get(), automatic_shift(provider.getObjects()[0].getXDim())
        if shift is None or shift < 0:
            shift = automatic
        told = f"Automatic (-1) is {automatic:.3g} px."
        chosen = ShiftDialog(form.root, provider, maskRadius=shift, unit=emcts.UNIT_PIXEL, told=told)
        if chosen.resultYes():
            form.setVar("maxShift", round(chosen.getRadius(chosen.radiusSlider), 1))


class ResolutionDialog(BandPassFilterDialog):
    """A particle as it is, and without what is finer than a resolution; ``finest``, angstrom, is where it starts;
    ``told`` says what the automatic limit is."""

    def _createPreview(self, frame: object) -> None:
        super()._createPreview(frame)
        _explain(self, f"Nothing finer than what the right image shows is compared. {self.told}")

    def addFreqSlider(self, _label: str, value: float, col: int) -> LabelSlider:
        """The slider of the resolution, angstrom, from two pixels to where a particle is a blob."""
        least = 2 * self.samplingRate
        slider = LabelSlider(
            self.freqFrame,
            "Finest (Å)",
            from_=max(_BLOB, 4 * least),
            to=least,
            step=0.5,
            length=300,
            value=value,
            callback=lambda *_: self.updateFilteredImage(),
        )
        slider.grid(row=0, column=col, padx=5, pady=5)
        return slider


class UdlResolutionWizard(_Wizard):
    """Shows a particle as it is and low-passed, and takes the resolution, in angstrom."""

    _targets = [(protocol, ["finest"]) for protocol in (ProtUdlAlign2D, ProtUdlClassify2D, ProtUdlSelectClasses)]

    def show(self, form: FormWindow, *_params: object) -> None:
        """Open the dialog; it starts at the resolution of the form, or at the finest that a run compares."""
        provider = self._providerOf(form)
        if provider is None:
            return
        image, finest = provider.getObjects()[0], form.protocol.finest.get()
        box, least = image.getXDim(), 2 * image.getSamplingRate()
        automatic = box * image.getSamplingRate() / round(FINEST_RING * min(box, WORKING_BOX))
        start = finest if finest and finest > 0 else automatic
        told = f"Automatic (-1) is {automatic:.3g} Å, all that the box holds."
        options = {"unit": emcts.UNIT_ANGSTROM, "mode": emcts.FILTER_LOW_PASS, "highFreq": start, "told": told}
        chosen = ResolutionDialog(form.root, provider, showLowFreq=False, showDecay=False, **options)
        if chosen.resultYes():
            form.setVar("finest", round(max(chosen.hfSlider.get(), least), 1))


class UdlClassesWizard(EmWizard):
    """Fills in the number of classes that suits the particles."""

    _environments = [DESKTOP_TKINTER]
    _targets = [(ProtUdlClassify2D, ["numberOfClasses"])]

    def show(self, form: FormWindow, *_params: object) -> None:
        """Fill it in, and say what it rests upon."""
        count = form.protocol._particlesToClassify() if form.protocol.inputParticles.get() is not None else 0
        if not count:
            dialog.showWarning("No particles", "Choose *Input particles* first.", form.root)
            return
        number = proposed_classes(count)
        form.setVar("numberOfClasses", number)
        text = f"{number} classes suit {count} particles: a hundred for each, and 50 classes at most."
        dialog.showInfo("Number of classes", text, form.root)


class ChoiceDialog(ImagePreviewDialog):
    """A list of images of which one is chosen: ``chosen``, the item."""

    def _createPreview(self, frame: object) -> None:
        super()._createPreview(frame)
        _explain(self, "Click on the average whose orientation the result is to take over.")

    def _itemSelected(self, obj: Particle) -> None:
        self.chosen = obj
        super()._itemSelected(obj)


class UdlReferenceWizard(_Wizard):
    """Shows the averages of a set, or the representatives of classes, and takes the number of one."""

    _targets = [(ProtUdlAlign2D, ["referenceItem"])]

    def show(self, form: FormWindow, *_params: object) -> None:
        """Open the dialog, where the reference is a set."""
        references = form.protocol.inputReference.get()
        if not isinstance(references, (SetOfAverages, SetOfClasses2D)):
            dialog.showWarning("One image", "*Reference image* is no set of averages or classes.", form.root)
            return
        images = images_to_show(references)
        if not images:
            dialog.showWarning("No images", "*Reference image* is an empty set: choose another.", form.root)
            return
        chosen = ChoiceDialog(form.root, ListTreeProvider(images))
        if chosen.resultYes():
            form.setVar("referenceItem", chosen.chosen.getObjId())
