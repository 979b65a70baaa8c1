"""Types of the columns that kernels work on, of their slices, and of the kernels' counters.

Shapes are documented at each column.
"""

from __future__ import annotations

from typing import TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

Int32s: TypeAlias = npt.NDArray[np.int32]
Int64s: TypeAlias = npt.NDArray[np.int64]
#: sets of up to 64 members, a bit each
Words: TypeAlias = npt.NDArray[np.uint64]
Flags: TypeAlias = npt.NDArray[np.bool_]

#: A number, whether made in Python or taken out of a column.
Int: TypeAlias = int | np.int32 | np.int64

#: Numbers that clients wrote: whole ones or not.
Numbers: TypeAlias = npt.NDArray[np.int64] | npt.NDArray[np.float64]

#: Text as it stands in a file, and a character of it.
Bytes: TypeAlias = npt.NDArray[np.uint8]
Byte: TypeAlias = int | np.uint8

Fields = TypeVar("Fields")


def record(fields: type[Fields]) -> Fields:
    """A record of int64 numbers, all zero, which kernels read and change by reference.

    Args:
        fields: a class whose annotations name the fields; no more of it is used.
    """
    kind = np.dtype((np.record, [(name, np.int64) for name in fields.__annotations__]))
    return cast(Fields, np.zeros(1, dtype=kind)[0])
