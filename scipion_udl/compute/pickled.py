"""Whatever processes of one run tell each other, as bytes."""

from __future__ import annotations

import io
from typing import Any

import torch


def packed(content: Any) -> torch.Tensor:
    """Something as bytes.

    Parameters
    ----------
    content : Any
        What pickle and ``torch.save`` take.

    Returns
    -------
    (n,) uint8 tensor
        On the CPU.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)


def unpacked(content: torch.Tensor) -> Any:
    """What :func:`packed` made bytes of, in a process of this same run: so its pickles are to be trusted.

    Parameters
    ----------
    content : (n,) uint8 tensor
        The bytes.

    Returns
    -------
    Any
        The same; tensors on a GPU come out on this process's own.
    """
    return torch.load(io.BytesIO(content.numpy().tobytes()), map_location=_to_own_gpu, weights_only=False)


def _to_own_gpu(storage: Any, location: str) -> Any:
    """Where a tensor of the first rank goes: from its GPU to the one in use here, what was on the CPU stays there."""
    return storage.cuda(torch.cuda.current_device()) if location.startswith("cuda") else storage
