"""Functions compiled to machine code, with numba.

Inner loops over millions of rows are written in the small part of Python that numba compiles.
Compiling takes seconds, so the machine code is kept on disk, next to the module, and found there by
the next process; where there is no place to keep it (an installation that nobody may write to, and
no home directory) it is compiled anew in every process, which is slow and right.

Importing this module imports numba, which takes half a second. Only modules of compiled functions
("kernels") import it, and they are themselves imported inside the functions that have decided that
the work is large enough to pay for that: never by ``import checkers``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function at its first call, once for every combination of argument types.

    It runs without the interpreter's lock: what it is given must not change meanwhile.

    Args:
        function: in the part of Python that numba compiles; compiled functions may call each other.
    """
    made: Any
    try:
        made = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no directory to keep it in
        made = numba.njit(nogil=True)(function)
    found: F = made
    return found
