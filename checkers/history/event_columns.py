"""Views of a history's columns: a part of them, and a table for pandas.

Problem. A sub-history must number its events, processes, functions, keys and nodes anew, and every
pair must still point to the other half of its operation.

Solution. :func:`sliced` picks rows of all columns at once and compacts each table of codes.

Invariants. The rows picked hold whole operations and ascend. Codes of the result are given in order
of first appearance, as in every history.

Used by :class:`~checkers.history.history.History` alone, which offers the columns below.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from checkers.history.columns import Ints, compact
from checkers.history.op import TYPE_NAMES

if TYPE_CHECKING:
    import pandas as pd


class EventColumns(Protocol):
    """One entry per event, and the tables that codes refer to; see the arguments of History."""

    type: npt.NDArray[np.int8]
    process: Ints
    f: Ints
    key: Ints
    time_ns: Ints
    pair: Ints
    values: Sequence[Any]
    node: Ints
    processes: list[Any]
    functions: list[str]
    keys: list[Any]
    nodes: list[str]
    errors: dict[int, Any]


def sliced(columns: EventColumns, indices: Ints) -> dict[str, Any]:
    """The columns and tables of some events, as keyword arguments of a history.

    Args:
        columns: all events.
        indices: ascending event indices, int64 (n,), which keep whole operations.
    """
    fresh = np.full(len(columns.values) + 1, -1, dtype=np.int64)
    fresh[indices] = np.arange(len(indices))
    process, processes = compact(columns.process[indices], columns.processes)
    f, functions = compact(columns.f[indices], columns.functions)
    key, keys = compact(columns.key[indices], columns.keys)
    node, nodes = compact(columns.node[indices], columns.nodes)
    values, errors, origin = columns.values, columns.errors, indices.tolist()
    return {
        "type": columns.type[indices],
        "process": process,
        "f": f,
        "key": key,
        "time_ns": columns.time_ns[indices],
        "pair": fresh[columns.pair[indices]],
        "values": [values[index] for index in origin],
        "node": node,
        "processes": processes,
        "functions": functions,
        "keys": keys,
        "nodes": nodes,
        "errors": {new: errors[old] for new, old in enumerate(origin) if old in errors},
    }


def data_frame(columns: EventColumns) -> pd.DataFrame:
    """One row per event with names instead of codes. Imports pandas."""
    import pandas as pd

    def objects(items: Sequence[object]) -> pd.Series:
        return pd.Series(items, dtype=object)  # otherwise None would become not-a-number

    def names(codes: Ints, table: Sequence[object]) -> pd.Series:
        return objects([None if code < 0 else table[code] for code in codes.tolist()])

    return pd.DataFrame(
        {
            "time_ns": columns.time_ns,
            "process": names(columns.process, columns.processes),
            "type": [TYPE_NAMES[code] for code in columns.type.tolist()],
            "f": names(columns.f, columns.functions),
            "key": names(columns.key, columns.keys),
            "value": objects(columns.values),
            "node": names(columns.node, columns.nodes),
            "error": objects([columns.errors.get(index) for index in range(len(columns.values))]),
            "pair": columns.pair,
        }
    )
