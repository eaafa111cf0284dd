"""What becomes of memory that a process has used and needs no more."""

from __future__ import annotations

import ctypes

_TRIM, _MAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt
LARGE = 1 << 18  # bytes: what is smaller is not worth a call to the system
KEPT = 1 << 28  # bytes that are free at the end of the heap before any go back to the system


def give_back_arrays(large: int = LARGE) -> None:
    """Have large arrays lie in pages of their own from now on, which the system gets back once they are freed. Each
    costs time for that.

    glibc by itself begins so, but raises what it takes for large, up to 32 MB, with all that is freed. Columns that
    grow side by side then leave holes in the heap: of a table of millions of rows they came to nearly its own size.
    Other C libraries are left as they are.

    Parameters
    ----------
    large : int, optional
        Bytes from which on an array is a large one.
    """
    _set(large, 4 * large)


def keep_arrays(kept: int = KEPT) -> None:
    """Have the memory of arrays that are freed be kept for those that come next.

    Passes over particles make and free the same large arrays for each chunk. By itself glibc asks the system for each
    that is larger than 32 MB, which clears every page anew: a third of the time of boxes of 384 pixels. Other C
    libraries are left as they are.

    Parameters
    ----------
    kept : int, optional
        Bytes that may lie free.
    """
    _set((1 << 31) - 1, kept)


def _set(mapped: int, kept: int) -> None:
    """From how many bytes on an array lies in pages of its own, and how many may lie free behind the others."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not of the GNU C library, or not even Unix
        return
    mallopt(_MAP, mapped)
    mallopt(_TRIM, kept)
