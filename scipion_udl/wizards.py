"""Helpers of the forms: the mask radius, chosen by eye on the particles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pwem.constants as emcts
from pwem.wizards import ParticleMaskRadiusWizard

from scipion_udl.protocols import ProtUdlAlign2D, ProtUdlEvaluate, ProtUdlTrain
from scipion_udl.protocols.protocol_base import AUTOMATIC

if TYPE_CHECKING:  # Scipion's forms import the wizards
    from pyworkflow.gui import ListTreeProvider
    from pyworkflow.gui.form import FormWindow

_PARAMETER = "maskRadius"


class UdlMaskRadiusWizard(ParticleMaskRadiusWizard):
    """Shows a circle on the particles and takes its radius, in pixels."""

    _targets = [(protocol, [_PARAMETER]) for protocol in (ProtUdlAlign2D, ProtUdlEvaluate, ProtUdlTrain)]

    def _getProvider(self, protocol: ProtUdlAlign2D | ProtUdlEvaluate | ProtUdlTrain) -> ListTreeProvider | None:
        return self._getListProvider(protocol.inputParticles)

    def show(self, form: FormWindow, *_params: object) -> None:
        """Open the dialog; its circle starts at the radius of the form, or fills the box where that is automatic."""
        radius = form.protocol.maskRadius.get()
        super().show(form, radius if radius and radius > 0 else AUTOMATIC, _PARAMETER, units=emcts.UNIT_PIXEL)
