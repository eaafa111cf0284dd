"""What becomes of memory that a process has used and needs no more."""

from __future__ import annotations

import ctypes

_TRIM, _MAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt
LARGE = 1 << 18  # bytes: what is smaller is not worth a call to the system


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
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not of the GNU C library, or not even Unix
        return
    mallopt(_MAP, large)
    mallopt(_TRIM, 4 * large)
