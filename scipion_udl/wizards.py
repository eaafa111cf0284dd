"""Helpers of the forms: lengths and resolution chosen by eye on the particles, and a reference out of many.

The images are shown by pwem's own dialogs, which read and filter them by themselves: no GPU, no program of Xmipp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pwem.constants as emcts
from pwem.objects import Particle, SetOfAverages, SetOfClasses2D
from pwem.wizards import ParticleMaskRadiusWizard
from pwem.wizards.wizard import BandPassFilterDialog, EmWizard, ImagePreviewDialog, MaskPreviewDialog, PreviewDialog
from pyworkflow.gui import dialog
from pyworkflow.gui.tree import ListTreeProvider
from pyworkflow.gui.widgets import LabelSlider
from pyworkflow.viewer import DESKTOP_TKINTER

from scipion_udl.particle_input import Particles, are_classes, info_of, parts
from scipion_udl.protocols import ProtUdlAlign2D, ProtUdlClassify2D, ProtUdlEvaluate, ProtUdlTrain
from scipion_udl.protocols.protocol_base import AUTOMATIC, ProtUdlBase

if TYPE_CHECKING:  # Scipion's forms import the wizards
    from pyworkflow.gui.form import FormWindow

_MOST = 100  # images in a list
_FIRST_LOOK = 15.0  # angstrom: where the working resolution starts when it is automatic
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
    """A wizard that shows the images of *Input particles*."""

    _environments = [DESKTOP_TKINTER]
    _targets: list = []

    def _getProvider(self, protocol: ProtUdlBase) -> ListTreeProvider | None:
        particles = protocol.inputParticles.get()
        images = images_to_show(particles) if particles is not None else []
        return ListTreeProvider(images) if images else None

    def _providerOf(self, form: FormWindow) -> ListTreeProvider | None:
        provider = self._getProvider(form.protocol)
        if provider is None:
            dialog.showWarning("No particles", "Choose *Input particles* first.", form.root)
        return provider


def _explain(shown: PreviewDialog, text: str) -> None:
    """Replace what a dialog says at its top."""
    shown.expText.text.config(state="normal")
    shown.expText.text.delete("1.0", "end")
    shown.expText.updateExpText(text, width=75)


class UdlMaskRadiusWizard(_Wizard, ParticleMaskRadiusWizard):
    """Shows a circle on the particles and takes its radius, in pixels."""

    _targets = [(protocol, ["maskRadius"]) for protocol in (ProtUdlAlign2D, ProtUdlEvaluate, ProtUdlTrain)]

    def show(self, form: FormWindow, *_params: object) -> None:
        """Open the dialog; its circle starts at the radius of the form, or fills the box where that is automatic."""
        radius = form.protocol.maskRadius.get()
        super().show(form, radius if radius and radius > 0 else AUTOMATIC, "maskRadius", units=emcts.UNIT_PIXEL)


class ShiftDialog(MaskPreviewDialog):
    """A circle around the centre of the box, as far as a particle's centre may lie from it."""

    def _createPreview(self, frame: object) -> None:
        super()._createPreview(frame)
        _explain(self, "The centre of a particle is looked for within the circle: use the slider or the mouse wheel.")
        self.preview.setLabel("Particle")

    def addRadiusBox(self, parent: object) -> None:
        """The slider of the radius, under its own name."""
        super().addRadiusBox(parent)
        self.radiusSlider.labelWidget.config(text="Largest shift")


class UdlShiftWizard(_Wizard):
    """Shows the circle within which the centre of a particle must lie, and takes its radius, in pixels."""

    _targets = [(protocol, ["maxShift"]) for protocol in (ProtUdlAlign2D, ProtUdlClassify2D)]

    def show(self, form: FormWindow, *_params: object) -> None:
        """Open the dialog; its circle starts at the shift of the form, or at a tenth of the box."""
        provider = self._providerOf(form)
        if provider is None:
            return
        shift = form.protocol.maxShift.get()
        if shift is None or shift < 1:
            shift = max(1, provider.getObjects()[0].getXDim() // 10)
        chosen = ShiftDialog(form.root, provider, maskRadius=shift, unit=emcts.UNIT_PIXEL)
        if chosen.resultYes():
            form.setVar("maxShift", int(chosen.getRadius(chosen.radiusSlider)))


class ResolutionDialog(BandPassFilterDialog):
    """A particle as it is, and without what is finer than a resolution; ``finest``, angstrom, is where it starts."""

    def _createPreview(self, frame: object) -> None:
        super()._createPreview(frame)
        _explain(self, "Nothing finer than what the right image shows is compared. Click on an image of the list.")

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

    _targets = [(protocol, ["finest"]) for protocol in (ProtUdlAlign2D, ProtUdlClassify2D)]

    def show(self, form: FormWindow, *_params: object) -> None:
        """Open the dialog; it starts at the resolution of the form, or where the shape of a particle is seen."""
        provider = self._providerOf(form)
        if provider is None:
            return
        finest, least = form.protocol.finest.get(), 2 * provider.getObjects()[0].getSamplingRate()
        start = finest if finest and finest > 0 else max(_FIRST_LOOK, 2 * least)
        options = {"unit": emcts.UNIT_ANGSTROM, "mode": emcts.FILTER_LOW_PASS, "highFreq": start}
        chosen = ResolutionDialog(form.root, provider, showLowFreq=False, showDecay=False, **options)
        if chosen.resultYes():
            form.setVar("finest", round(max(chosen.hfSlider.get(), least), 1))


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
