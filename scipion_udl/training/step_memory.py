"""What a step of training does where memory is short: the same batch, less of it at a time, and the same gradients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from scipion_udl.compute.memory import Result, name_of, until_it_fits
from scipion_udl.errors import UdlError
from scipion_udl.messages import Message, message
from scipion_udl.training.objectives import Objective


class StepMemory:
    """How the steps of a training are brought to fit into the memory of ``device``.

    Where it is not enough, a batch goes through the network in parts. Batch norm wants all of a batch together: then
    what a step on a GPU keeps for its gradients waits in the memory of the machine. warn: told of either.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        batch: int,
        device: torch.device,
        warn: Callable[[Message], None],
    ) -> None:
        self._objective, self._batch, self._device, self._warn = objective, batch, device, warn
        self._modules = [*network.modules(), *objective.extra.modules()]
        self._aside = False

    def keeping(self) -> AbstractContextManager:
        """What the loss is to be computed in.

        Returns
        -------
        context manager
            What is kept for the gradients in it waits in the memory of the machine, where that has become necessary.
        """
        return torch.autograd.graph.save_on_cpu() if self._aside else nullcontext()

    def run(self, work: Callable[[], Result], generator: torch.Generator) -> Result:
        """Do a piece of work; where memory is not enough, again as it was begun, but with less at a time. All processes
        of the group call this.

        Parameters
        ----------
        work : callable
            Without arguments; it may draw from ``generator``.
        generator : torch.Generator
            Put back to where it was before the work is done again.

        Returns
        -------
        Result
            What ``work`` returns.

        Raises
        ------
        UdlError
            Where less is not possible.
        """
        drawn, norms = generator.get_state(), [module for module in self._modules if _is_norm(module)]
        known = [{name: value.clone() for name, value in norm.state_dict().items()} for norm in norms]

        def lower() -> None:
            generator.set_state(drawn)
            for norm, state in zip(norms, known):
                norm.load_state_dict(state)
            self._want_less(bool(norms))

        return until_it_fits(self._objective.group, work, lower)

    def _want_less(self, normed: bool) -> None:
        if not normed and self._objective.parts < self._batch:
            self._objective.parts *= 2
            self._warn(message("step_in_parts", parts=self._objective.parts))
        elif normed and self._device.type != "cpu" and not self._aside:
            self._aside = True
            self._warn(message("step_in_host_memory"))
        else:
            raise UdlError(message("memory_too_small_to_train", device=name_of(self._device)))


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm)
