"""Return of service: after each healing, when the system answered again, and what is declared.

The figures are those of the result ``recovery`` (:mod:`checkers.judges.recovery`) and, where the
environment could see into the nodes, of the result ``leftovers`` (:mod:`harness.recovery`). The
bounds are in these results, since the database declares them: nothing here knows any.

For :mod:`reports.page` and :mod:`reports.overview`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from checkers.core.verdict import Result
from checkers.history import Fault
from checkers.judges.recovery import BEYOND, NOT_ASKED, OTHER_FAULT, WITHIN
from reports.run_directory import Run
from reports.wording import duration, one_line, seconds

#: How each class of a return is said.
SAID = {
    WITHIN: "in time",
    BEYOND: "BEYOND what is declared",
    OTHER_FAULT: "not judged: another fault was in force",
    NOT_ASKED: "not judged: nothing was asked for so long",
}
#: Times are read from results.json; no honest one is larger.
SECONDS_MAX = 1e9


@dataclass
class Return:
    """What followed one healing.

    Args:
        fault: the fault that was healed.
        took_s: how long until an answer, while operations were asked for; None for never.
        returned_ns: when that was; -1 for never.
        judged: a class of :data:`SAID`; "" if nothing is declared.
        nodes, groups: (name, seconds or None), the slowest first.
        answers: (node, ns) of each node's first answer.
    """

    fault: Fault
    took_s: float | None
    returned_ns: int
    judged: str
    nodes: list[tuple[str, float | None]] = field(default_factory=list)
    groups: list[tuple[str, float | None]] = field(default_factory=list)
    answers: list[tuple[str, int]] = field(default_factory=list)

    @property
    def beyond(self) -> bool:
        """Whether it took longer than declared."""
        return self.judged == BEYOND

    @property
    def took(self) -> str:
        """How long it took, in words."""
        return "never" if self.took_s is None else _span(self.took_s)

    @property
    def verdict(self) -> str:
        """How that compares with what is declared, in words."""
        return SAID.get(self.judged, "nothing is declared")


@dataclass
class Returns:
    """All healings of a run.

    Args:
        rows: in order of healing.
        bound_s: what the database declares; None for nothing.
        leftovers: what was measured of what the faults left, in a sentence; "" if nothing was.
        left: whether something was left beyond what is declared.
    """

    rows: list[Return]
    bound_s: float | None
    leftovers: str
    left: bool

    @property
    def bound(self) -> str:
        """The declared bound in words."""
        return "none" if self.bound_s is None else _span(self.bound_s)

    @property
    def beyond(self) -> int:
        """How many took longer than declared."""
        return sum(row.beyond for row in self.rows)

    @property
    def sentence(self) -> str:
        """The whole in one sentence."""
        many = len(self.rows)
        of = f"{many} healing" + ("s" if many != 1 else "")
        if self.bound_s is None:
            return f"After {of} the time to the first answer; the database declares no bound."
        if self.beyond:
            return f"{self.beyond} of {of}: no answer within the {self.bound} declared."
        within = sum(row.judged == WITHIN for row in self.rows)
        return f"{within} of {of}: an answer within the {self.bound} declared."


def returns(run: Run) -> Returns | None:
    """What followed each healing of a run; None if that was not measured."""
    results = {result.checker: result for result in _all(run.results)}
    measured = results.get("recovery")
    listed = measured.stats.get("recoveries") if measured is not None else None
    if measured is None or not isinstance(listed, list):
        return None
    by_id = {fault.id: fault for fault in run.faults}
    rows = [
        _row(row, by_id[row["fault"]])
        for row in listed
        if isinstance(row, dict) and isinstance(row.get("fault"), int) and row["fault"] in by_id
    ]
    rows.sort(key=lambda row: (row.fault.end_ns, row.fault.id))
    leftovers = results.get("leftovers")
    said = one_line(leftovers.reason, limit=300) if leftovers is not None else ""
    left = leftovers is not None and bool(leftovers.stats.get("left"))
    return Returns(rows, _number(measured.stats.get("bound_s")), said, left) if rows else None


def _all(results: Sequence[Result]) -> Iterator[Result]:
    for result in results:
        yield result
        yield from _all(result.parts)


def _row(row: Mapping[str, Any], fault: Fault) -> Return:
    returned_s = _number(row.get("returned_at_s"))
    took_s = _number(row.get("recovery_s"))
    if returned_s is None and took_s is not None:
        returned_s = fault.end_ns / 1e9 + took_s
    return Return(
        fault=fault,
        took_s=took_s,
        returned_ns=-1 if returned_s is None else round(returned_s * 1e9),
        judged=one_line(row.get("judged") or "", limit=20),
        nodes=_slowest_first(row.get("nodes")),
        groups=_slowest_first(row.get("groups")),
        answers=[
            (name, round(at_s * 1e9))
            for name, at_s in _slowest_first(row.get("nodes_at_s"))
            if at_s is not None
        ],
    )


def _slowest_first(found: Any) -> list[tuple[str, float | None]]:
    if not isinstance(found, dict):
        return []
    pairs = [(one_line(name, limit=24), _number(took)) for name, took in found.items()]
    return sorted(pairs, key=lambda pair: (pair[1] is not None, -(pair[1] or 0.0), pair[0]))


def _number(value: Any) -> float | None:
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if plain and 0 <= value < SECONDS_MAX else None


def _span(took_s: float) -> str:
    return duration(round(took_s * 1e9))


def slowest(pairs: Sequence[tuple[str, float | None]], never: str) -> str:
    """The slowest of some nodes or groups, in words; "" if there are none.

    Args:
        pairs: the slowest first.
        never: what to say of one that did not answer any more.
    """
    if not pairs:
        return ""
    name, took_s = pairs[0]
    return f"{name}: {never if took_s is None else _span(took_s)}"


def table(found: Returns) -> list[dict[str, Any]]:
    """The rows as texts, for the template."""
    return [
        {
            "id": row.fault.id,
            "kind": one_line(row.fault.f, limit=40),
            "healed": seconds(row.fault.end_ns),
            "took": row.took,
            "node": slowest(row.nodes, "not again"),
            "group": slowest(row.groups, "not seen again"),
            "verdict": row.verdict,
            "beyond": row.beyond,
            "in_time": row.judged == WITHIN,
        }
        for row in found.rows
    ]
