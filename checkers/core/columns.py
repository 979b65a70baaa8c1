"""Types of the columns that kernels work on, and of what is taken out of them.

Shapes are said where a column is declared.
"""

from __future__ import annotations

from typing import TypeAlias

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
