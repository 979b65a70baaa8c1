"""The assumptions of a database about clocks, and the faults of a run that went beyond them.

Some promises are conditional. A lease excludes others while clocks run at about the same rate; a
timestamp orders transactions while clocks are not far apart. Beyond the bound a sound system breaks
by design, and a violation is then no bug of it. A database says what it assumes with the ability
:class:`harness.databases.base.Assumes`; here a run's faults are held against that.

The verdict stays what the checkers say: INVALID is INVALID, since the promise was broken. But the
violation is labelled with the assumption that did not hold::

    assumption violated: clock rate 2 is beyond the bound 1.25

Only what ended after such a fault began is labelled so. The label is in results.json
(``assumptions``), in the sentence, on the terminal and in every report. Where nothing was found,
the assumption that did not hold is said in a note.

For :mod:`harness.verdict`. Clocks are the only assumptions there are: their faults say ``rate`` and
``offset_ns`` in their value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from harness.databases.base import Assumes, Assumptions

#: How a label begins.
LABEL = "assumption violated"


class Exceeded(msgspec.Struct, frozen=True):
    """A fault beyond what the database assumes.

    Args:
        fault: the fault's number in the run.
        begin_ns: when it began.
        what: ``clock rate`` or ``clock offset``.
        value, bound: what it was, and what is assumed; seconds, or a rate.
        sentence: both in words.
    """

    fault: int
    begin_ns: int
    what: str
    value: float
    bound: float
    sentence: str


def assumptions_of(db: object) -> Assumptions:
    """The assumptions of a database; none if it does not declare any."""
    return db.assumptions if isinstance(db, Assumes) else Assumptions()


def exceeded(assumed: Assumptions, faults: Sequence[Mapping[str, Any]]) -> list[Exceeded]:
    """The faults that went beyond what is assumed, as they began.

    Args:
        assumed: by the database.
        faults: as results.json has them; one that was skipped changed nothing.
    """
    found = []
    for fault in sorted(faults, key=lambda fault: (fault["begin_ns"], fault["id"])):
        if fault["outcome"] == "skipped":
            continue
        rate = max(_reported(fault, "rate", "rate"), key=lambda rate: abs(rate - 1), default=1.0)
        found += _beyond(fault, "clock rate", rate, assumed.rate_beyond(rate), "")
        offset_ns = max(_reported(fault, "offset_ns", "wanted_offset_ns"), key=abs, default=0)
        offset_s = offset_ns / 1e9
        found += _beyond(fault, "clock offset", offset_s, assumed.offset_beyond(offset_s), " s")
    return found


def _reported(fault: Mapping[str, Any], name: str, of_a_node: str) -> list[float]:
    """The clock faults by the fault's value, and as measured per node with all faults together."""
    value, clocks = fault.get("value"), fault.get("evidence", {}).get("clocks")
    values = [value.get(name)] if isinstance(value, Mapping) else []
    if isinstance(clocks, Mapping):
        values += [proof.get(of_a_node) for proof in clocks.values() if isinstance(proof, Mapping)]
    return [each for each in values if isinstance(each, (int, float))]


def _beyond(
    fault: Mapping[str, Any], what: str, value: float, bound: float | None, unit: str
) -> list[Exceeded]:
    if bound is None:
        return []
    said = f"{what} {value:g}{unit} is beyond the bound {bound:g}{unit}"
    return [Exceeded(fault["id"], fault["begin_ns"], what, value, bound, said)]


def label(found: Sequence[Exceeded]) -> str:
    """The label of a violation: the worst of each kind; "" if nothing was exceeded."""
    worst: dict[str, Exceeded] = {}
    for each in found:
        known = worst.setdefault(each.what, each)
        if abs(each.value - each.bound) > abs(known.value - known.bound):
            worst[each.what] = each
    beyond = "; ".join(each.sentence for each in worst.values())
    return f"{LABEL}: {beyond}" if beyond else ""


def excused(found: Sequence[Exceeded], ended_ns: int) -> list[Exceeded]:
    """Those that had begun when a violation ended; a time below 0 is not known."""
    return [each for each in found if ended_ns < 0 or each.begin_ns <= ended_ns]
