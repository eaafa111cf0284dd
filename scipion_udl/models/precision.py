"""Mixed precision: convolutions of a training in bfloat16 on a GPU, everything else, and all inference, in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import nn

DEVICES = ("cuda",)  # kinds of device whose bfloat16 is faster than their float32


def low_precision(network: nn.Module, device: torch.device) -> AbstractContextManager:
    """While a network trains on a GPU: its convolutions and products in bfloat16, whose range is that of float32, so
    that no loss needs scaling. An angle has more digits than bfloat16 holds: what makes angles stays outside.

    Parameters
    ----------
    network : torch.nn.Module
        The network.
    device : torch.device
        Where it trains.

    Returns
    -------
    context manager
        Without effect on the CPU, and where nothing is trained.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=network.training and device.type in DEVICES)
