"""How several processes train one network: gradients and batch norms are those of the whole batch."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import nn

from scipion_udl.compute.distributed import ProcessGroup


def total_with_gradient(values: torch.Tensor, group: ProcessGroup) -> torch.Tensor:
    """The sum over the processes, through which gradients flow back.

    The gradient that a process gets is that of the sum of all processes' losses. So where all of them compute the same
    global loss from it, or each the mean of its equally large part, :func:`average_gradients` gives the gradient of
    that loss: what a single process would have had for the whole batch.

    Parameters
    ----------
    values : tensor
        Real; the same shape on all processes.
    group : ProcessGroup
        The processes, all of which call this.

    Returns
    -------
    tensor of that shape
        The sum; ``values`` itself where there is no other process.
    """
    return values if group.is_alone else _Total.apply(values, group)


def average_gradients(parameters: Iterable[nn.Parameter], group: ProcessGroup) -> None:
    """Put the mean over all processes in the place of every parameter's gradient; None counts as zero.

    Parameters
    ----------
    parameters : iterable of torch.nn.Parameter
        The same on all processes; gradients are changed in place.
    group : ProcessGroup
        The processes, all of which call this.
    """
    if group.is_alone:
        return
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    if not gradients:
        return
    mean = group.total(torch.cat([gradient.flatten() for gradient in gradients])) / group.size
    for parameter, part in zip(parameters, mean.split([p.numel() for p in parameters])):
        parameter.grad = part.view_as(parameter).clone()


def share_statistics(network: nn.Module, group: ProcessGroup) -> None:
    """Let the batch norms of a network, while it trains, take mean and variance of the rows of all processes together.

    Where every process puts its part of a batch through the network, values, running statistics and (see
    :func:`total_with_gradient`) gradients are then those of the whole batch. On CPU and GPU alike, which torch's own
    SyncBatchNorm is not.

    Parameters
    ----------
    network : torch.nn.Module
        Changed in place.
    group : ProcessGroup
        The processes; given a process alone, the norms are again what they were.
    """
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.__dict__.pop("forward", None)
            if group.size > 1:
                module.__dict__["forward"] = partial(_shared_norm, module, group)


def _shared_norm(norm: nn.modules.batchnorm._BatchNorm, group: ProcessGroup, values: torch.Tensor) -> torch.Tensor:
    """The batch norm of values (N, channels, ...), of which the other processes have other rows."""
    if not norm.training:
        return type(norm).forward(norm, values)
    others = [axis for axis in range(values.dim()) if axis != 1]
    shape = [1, -1] + [1] * (values.dim() - 2)
    count = float(group.total(torch.tensor(float(values.numel() // values.shape[1]), dtype=torch.float64)))
    mean = total_with_gradient(values.sum(others), group) / count
    moved = values - mean.view(shape)
    variance = total_with_gradient(moved.square().sum(others), group) / count
    seen, running_mean, running_var = norm.num_batches_tracked, norm.running_mean, norm.running_var
    if norm.track_running_stats and seen is not None and running_mean is not None and running_var is not None:
        with torch.no_grad():
            seen += 1
            rate = 1 / float(seen) if norm.momentum is None else norm.momentum
            running_mean.lerp_(mean.detach(), rate)
            running_var.lerp_(variance.detach() * (count / max(count - 1, 1)), rate)
    values = moved * (variance + norm.eps).rsqrt().view(shape)
    return values if norm.weight is None else values * norm.weight.view(shape) + norm.bias.view(shape)


class _Total(torch.autograd.Function):
    """The sum over the ranks; backwards, the sum of the ranks' gradients."""

    @staticmethod
    def forward(context: Any, values: torch.Tensor, ranks: ProcessGroup) -> torch.Tensor:
        context.ranks = ranks
        return ranks.total(values)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return context.ranks.total(gradient), None
