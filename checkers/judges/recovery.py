"""How soon after a fault the system answers again: as a whole, at each node, from each group.

For each fault that took effect and was healed (a restart is the healing of a kill), the time from
its end to the next ``ok`` answer. After a fault of which there is no proof that it bit, a prompt
answer says nothing, so such a fault is not counted. An answer counts only if its operation was also
invoked after the fault ended: one that was merely stuck does not show that the system serves again.
Time in which no client asked for anything does not count, as between the main phase and the final
one. The same is measured for each node that was asked, and for each owner that outputs name as
``group`` (see :mod:`checkers.judges.ownership`).

A database may declare a bound. It holds where nothing else keeps the system from answering, so each
return is put in one of these classes:

- ``within``: the answer came in time;
- ``beyond``: longer than the bound operations were asked for, no fault was in force, and none was
  answered ok;
- ``other-fault``: late or never, but another fault was in force when this one was healed, or began
  before the bound was over;
- ``not-asked``: the run ended, or asked for nothing, before the bound was over.

This is a measurement: VALID whatever it measures, unless the caller sets ``within_s``.
Time is the history's own: nanoseconds since the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from checkers.core.budget import Budget
from checkers.core.checker import Checker, named
from checkers.core.verdict import Finding, Result, Verdict
from checkers.judges.availability import asked_spans

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from checkers.history import Fault, History

    Ints = npt.NDArray[np.int64]

WITHIN, BEYOND, OTHER_FAULT, NOT_ASKED = "within", "beyond", "other-fault", "not-asked"


def recovery(
    *, within_s: float | None = None, declared_s: float | None = None, name: str = "recovery"
) -> Checker:
    """A checker of the time from the end of each fault to the next ``ok`` answer.

    ``stats``: ``recoveries``, a list of ``{fault, f, healed_at_s, returned_at_s, recovery_s, nodes,
    nodes_at_s, groups}``, in which seconds are None where nothing was answered any more;
    ``median_s``, ``worst_s``, ``never``. With a declared bound also ``bound_s``, ``beyond`` (how
    many) and, in each row, ``judged``: one of the classes in the module's text.

    Args:
        within_s: a longer recovery, or none, makes the verdict INVALID; None to measure only.
        declared_s: what the database declares; beyond it a row is marked, and the verdict stays.
        name: the checker's name.
    """

    def measure(history: History, *, budget: Budget | None = None) -> Result:
        ended = [fault for fault in history.faults if fault.end_ns >= 0 and _acted(fault)]
        healed = [fault for fault in ended if fault.bit]
        answers = _Answers(history)
        if not healed or not answers.known:
            what = "no fault was healed during the run" if answers.known else "no operation"
            what += "" if answers.known else " has a time"
            if answers.known and ended:
                what = f"no fault is known to have taken effect, of {len(ended)} that were healed"
            reason = f"there is nothing to measure: {what}"
            return Result(checker=name, verdict=Verdict.UNKNOWN, reason=reason)
        rows = [answers.row(fault) for fault in healed]
        if declared_s is not None:
            for row, fault in zip(rows, healed, strict=True):
                row["judged"] = answers.judged(fault, row["recovery_s"], declared_s)
        return _result(name, rows, within_s, declared_s)

    return named(name, measure)


def _acted(fault: Fault) -> bool:
    return fault.outcome != "skipped"


def _end_ns(fault: Fault) -> int:
    return fault.end_ns if fault.end_ns >= 0 else 1 << 62


class _Answers:
    """When operations were asked for, and answered ok."""

    def __init__(self, history: History) -> None:
        from checkers.history import OK

        invoked = history.invocations
        self._history = history
        self._faults = [fault for fault in history.faults if _acted(fault)]
        self._asked_ns = history.time_ns[invoked]
        self.known = bool(len(invoked)) and bool((self._asked_ns >= 0).any())
        good = history.outcomes() == OK
        self._ok = invoked[good]
        self._ok_asked_ns = self._asked_ns[good]
        self._ok_ns = history.time_ns[history.pair[self._ok]]
        self._groups = _groups(history, self._ok)
        self._begins, self._ends = asked_spans(history, invoked)

    def row(self, fault: Fault) -> dict[str, Any]:
        """The returns after a fault, in seconds."""
        fresh = self._ok_asked_ns >= fault.end_ns
        returned_ns = self._ok_ns[fresh]
        return {
            "fault": fault.id,
            "f": fault.f,
            "healed_at_s": fault.end_ns / 1e9,
            "returned_at_s": int(returned_ns.min()) / 1e9 if len(returned_ns) else None,
            "recovery_s": self._first(fresh, fault.end_ns),
            "nodes": self._nodes(fresh, fault.end_ns),
            "nodes_at_s": self._nodes_at_s(fresh),
            "groups": {
                group: self._first(fresh & mask, fault.end_ns)
                for group, mask in self._groups.items()
            },
        }

    def _first(self, which: Any, since_ns: int) -> float | None:
        times = self._ok_ns[which]
        return self._asked_s(since_ns, int(times.min())) if len(times) else None

    def _asked_s(self, since_ns: int, until_ns: int) -> float:
        """How long clients asked for something in a stretch of time."""
        ends = self._ends.clip(since_ns, until_ns)
        return int((ends - self._begins.clip(since_ns, until_ns)).sum()) / 1e9

    def _nodes(self, fresh: Any, since_ns: int) -> dict[str, float | None]:
        """Per node that was asked since; None for one that answered nothing."""
        history = self._history
        invoked = history.invocations
        asked = {*history.node[invoked[self._asked_ns >= since_ns]].tolist()}
        answering = history.node[self._ok]
        return {
            history.nodes[code]: self._first(fresh & (answering == code), since_ns)
            for code in sorted(asked)
            if code >= 0
        }

    def _nodes_at_s(self, fresh: Any) -> dict[str, float]:
        """Per node that answered since, the moment of its first answer."""
        times, codes = self._ok_ns[fresh], self._history.node[self._ok][fresh]
        found = sorted({*codes.tolist()} - {-1})
        return {self._history.nodes[code]: int(times[codes == code].min()) / 1e9 for code in found}

    def judged(self, fault: Fault, took_s: float | None, bound_s: float) -> str:
        """The class of a return, given what the database declares."""
        if took_s is not None and took_s <= bound_s:
            return WITHIN
        later = [each.begin_ns for each in self._faults if each.begin_ns >= fault.end_ns]
        until_ns = min([*later, int(self._history.time_ns.max())])
        if any(each.begin_ns < fault.end_ns < _end_ns(each) for each in self._faults):
            return OTHER_FAULT
        if self._asked_s(fault.end_ns, until_ns) > bound_s:
            return BEYOND
        return OTHER_FAULT if later else NOT_ASKED


def _groups(history: History, ok: Ints) -> dict[str, Any]:
    """Per group that outputs name, which of the ok operations it answered."""
    import numpy as np

    found: dict[str, list[int]] = {}
    for place, done in enumerate(history.pair[ok].tolist()):
        value = history.values[done]
        group = value.get("group") if isinstance(value, dict) else None
        if isinstance(group, str):
            found.setdefault(group, []).append(place)
    masks = {}
    for group in sorted(found):
        masks[group] = np.zeros(len(ok), dtype=bool)
        masks[group][found[group]] = True
    return masks


def _result(
    name: str, rows: list[dict[str, Any]], within_s: float | None, declared_s: float | None
) -> Result:
    times = sorted(row["recovery_s"] for row in rows if row["recovery_s"] is not None)
    lost = len(rows) - len(times)
    found = {
        "recoveries": rows,
        "median_s": times[len(times) // 2] if times else None,
        "worst_s": times[-1] if times else None,
        "never": lost,
    }
    worst = f"the slowest took {times[-1]:.3f} s" if times else "nothing was answered any more"
    reason = f"after {len(rows)} healed fault{'s' if len(rows) != 1 else ''}: {worst}"
    if lost and times:
        reason += f"; after {lost} nothing was answered any more"
    if declared_s is not None:
        found |= {"bound_s": declared_s, "beyond": _count(rows, BEYOND)}
        reason += _declared_words(rows, declared_s)
    result = Result(checker=name, verdict=Verdict.VALID, reason=reason, stats=found)
    if within_s is not None:
        result.findings = _too_slow(rows, within_s)
    if result.findings:
        result.verdict, result.reason = Verdict.INVALID, result.findings[0].sentence
    return result


def _count(rows: Sequence[dict[str, Any]], judged: str) -> int:
    return sum(row.get("judged") == judged for row in rows)


def _declared_words(rows: Sequence[dict[str, Any]], bound_s: float) -> str:
    """How the returns compare with what is declared, as the end of a sentence."""
    beyond, open_ = _count(rows, BEYOND), len(rows) - _count(rows, WITHIN)
    if beyond:
        return f"; {beyond} BEYOND the declared bound of {bound_s:g} s"
    if open_:
        why = "another fault was in force, or nothing was asked"
        return f"; {bound_s:g} s are declared, and {open_} could not be judged: {why}"
    return f"; {bound_s:g} s are declared"


def _too_slow(rows: Sequence[dict[str, Any]], within_s: float) -> list[Finding]:
    findings = []
    for row in rows:
        took = row["recovery_s"]
        if took is None or took > within_s:
            how = "nothing was answered" if took is None else f"the first answer took {took:.3f} s"
            sentence = (
                f"After fault {row['fault']} ({row['f']}) was healed at "
                f"t={row['healed_at_s']:.3f} s, {how}; {within_s:g} s was allowed."
            )
            title = "recovery too slow"
            findings.append(Finding(kind="slow-recovery", title=title, sentence=sentence))
    return findings
