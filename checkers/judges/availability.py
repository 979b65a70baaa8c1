"""How much of the time the system answered, and how soon after a fault it answered again.

Availability is a measurement, not a law: a consistent store may refuse during a partition. The
checkers here are VALID as long as they could measure, unless the caller sets a bound; they are
UNKNOWN where there is nothing to measure (no operations, no times, no fault that was healed).

Time is the history's own: nanoseconds since the start. An operation counts at the moment it
completed; one that never completed counts, as not answered, at its invocation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from checkers.core.budget import Budget
from checkers.core.checker import Checker, named
from checkers.core.verdict import Finding, Result, Verdict

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from checkers.history import Fault, History

    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

#: A pause in which no operation is under way is quiet if it is longer than this, and than so many
#: usual intervals between invocations.
QUIET_NS = 1_000_000_000
QUIET_INTERVALS = 10

#: More points than this make no curve easier to read.
BUCKETS_MAX = 200


def availability(*, at_least: float | None = None, name: str = "availability") -> Checker:
    """A checker of the share of operations answered ``ok``, during and outside faults.

    ``stats``: ``ok_share`` (all, ``outside_faults``, ``during_faults``), ``longest_gap_s`` with
    ``longest_gap_at_s`` (operations were asked for and none was answered ok for that long; a quiet
    phase, in which no client asked, does not count), ``duration_s``, and ``buckets``:
    ``bucket_s`` and lists ``t_s``, ``ok``, ``other``.

    Args:
        at_least: the share of ok operations outside faults below which the verdict is INVALID;
            None to measure only.
        name: the checker's name.
    """
    if at_least is not None and not 0.0 <= at_least <= 1.0:
        raise ValueError(f"at_least is {at_least!r}; it is a share between 0 and 1, not per cent")

    def measure(history: History, *, budget: Budget | None = None) -> Result:
        moments = _moments(history)
        if moments is None:
            reason = "there is nothing to measure: no operations, or none has a time"
            return Result(checker=name, verdict=Verdict.UNKNOWN, reason=reason)
        when, ok, begin, end = moments
        during = _inside(when, history.faults)
        shares = {
            "all": _share(ok),
            "outside_faults": _share(ok[~during]),
            "during_faults": _share(ok[during]),
        }
        gap_s, gap_at_s = (time_ns / 1e9 for time_ns in longest_gap(history)[:2])
        found: dict[str, object] = {
            "ok_share": shares,
            "longest_gap_s": gap_s,
            "longest_gap_at_s": gap_at_s,
            "duration_s": (end - begin) / 1e9,
            "buckets": _buckets(when, ok, begin, end),
        }
        steady = shares["outside_faults"]
        reason = f"{_percent(shares['all'])} of operations were answered ok"
        if history.faults:
            reason += f", {_percent(shares['during_faults'])} of those during faults"
        reason += f"; the longest gap without an answer was {gap_s:.3f} s at t={gap_at_s:.3f} s"
        result = Result(checker=name, verdict=Verdict.VALID, reason=reason, stats=found)
        if at_least is not None and steady is not None and steady < at_least:
            sentence = (
                f"Outside faults {_percent(steady)} of operations were answered ok, "
                f"less than the {_percent(at_least)} asked for."
            )
            result.verdict, result.reason = Verdict.INVALID, sentence
            result.findings.append(
                Finding(kind="unavailable", title="too few operations answered", sentence=sentence)
            )
        return result

    return named(name, measure)


def longest_gap(history: History, *, node: str | None = None) -> tuple[int, int, int]:
    """The longest time in which operations were asked for and none was answered ok.

    Args:
        history: with times.
        node: look at the operations that this node was asked; all of them if None.

    Returns:
        how long, and when it began and ended, in nanoseconds. A quiet phase within does not count,
        so that it may be shorter than from its begin to its end.
    """
    from checkers.history import OK

    invoked = history.invocations
    good = history.outcomes() == OK
    if node is not None:
        here = history.node[invoked] == list(history.nodes).index(node)
        invoked, good = invoked[here], good[here]
    answers = history.time_ns[history.pair[invoked[good]]]
    return _longest_gap(answers[answers >= 0], *_spans(history, invoked))


def recovery(*, within_s: float | None = None, name: str = "recovery") -> Checker:
    """A checker of the time from the end of each fault to the next ``ok`` answer.

    An answer counts if its operation was also invoked after the fault ended: one that was merely
    stuck does not show that the system serves again. ``stats``: ``recoveries``, a list of
    ``{fault, f, healed_at_s, recovery_s}`` (None where nothing was answered any more), and
    ``median_s``, ``worst_s``.

    Args:
        within_s: a longer recovery, or none, makes the verdict INVALID; None to measure only.
        name: the checker's name.
    """

    def measure(history: History, *, budget: Budget | None = None) -> Result:
        healed = [f for f in history.faults if f.end_ns >= 0 and f.outcome != "skipped"]
        moments = _moments(history)
        if not healed or moments is None:
            what = "no fault was healed during the run" if moments else "no operation has a time"
            reason = f"there is nothing to measure: {what}"
            return Result(checker=name, verdict=Verdict.UNKNOWN, reason=reason)
        rows = [_recovery(history, fault) for fault in healed]
        return _judge_recoveries(name, rows, within_s)

    return named(name, measure)


def _judge_recoveries(name: str, rows: list[dict[str, Any]], within_s: float | None) -> Result:
    times = sorted(row["recovery_s"] for row in rows if row["recovery_s"] is not None)
    lost = len(rows) - len(times)
    found = {
        "recoveries": rows,
        "median_s": times[len(times) // 2] if times else None,
        "worst_s": times[-1] if times else None,
        "never": lost,
    }
    worst = f"the slowest took {times[-1]:.3f} s" if times else "nothing was answered any more"
    reason = f"after {len(rows)} healed faults: {worst}"
    if lost and times:
        reason += f"; after {lost} nothing was answered any more"
    result = Result(checker=name, verdict=Verdict.VALID, reason=reason, stats=found)
    if within_s is None:
        return result
    for row in rows:
        took = row["recovery_s"]
        if took is None or took > within_s:
            how = "nothing was answered" if took is None else f"the first answer took {took:.3f} s"
            sentence = (
                f"After fault {row['fault']} ({row['f']}) was healed at "
                f"t={row['healed_at_s']:.3f} s, {how}; {within_s:g} s was allowed."
            )
            result.findings.append(
                Finding(kind="slow-recovery", title="recovery too slow", sentence=sentence)
            )
    if result.findings:
        result.verdict, result.reason = Verdict.INVALID, result.findings[0].sentence
    return result


def _recovery(history: History, fault: Fault) -> dict[str, object]:
    import numpy as np

    from checkers.history import OK

    invoked = history.invocations
    answered = invoked[history.outcomes() == OK]
    fresh = answered[history.time_ns[answered] >= fault.end_ns]
    done_ns = history.time_ns[history.pair[fresh]]
    took = (int(np.min(done_ns)) - fault.end_ns) / 1e9 if len(fresh) else None
    return {
        "fault": fault.id,
        "f": fault.f,
        "healed_at_s": fault.end_ns / 1e9,
        "recovery_s": took,
    }


def _moments(history: History) -> tuple[Ints, Bools, int, int] | None:
    """When each operation counts, whether it was answered ok, and begin and end of the run."""
    import numpy as np

    from checkers.history import OK

    timed = history.time_ns[history.time_ns >= 0]
    invoked = history.invocations
    if not len(invoked) or not len(timed):
        return None
    done = history.pair[invoked]
    when = np.where(done < 0, history.time_ns[invoked], history.time_ns[np.maximum(done, 0)])
    known = when >= 0
    return when[known], (history.outcomes() == OK)[known], int(timed.min()), int(timed.max())


def _inside(when: Ints, faults: list[Fault]) -> Bools:
    import numpy as np

    inside = np.zeros(len(when), dtype=bool)
    for fault in faults:
        if fault.outcome != "skipped":
            end = fault.end_ns if fault.end_ns >= 0 else np.iinfo(np.int64).max
            inside |= (when >= fault.begin_ns) & (when <= end)
    return inside


def _share(ok: Bools) -> float | None:
    return float(ok.mean()) if len(ok) else None


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"


def _spans(history: History, invoked: Ints) -> tuple[Ints, Ints]:
    """When the system was being asked by some operations: begins and ends of spans, ascending.

    A span is a time in which operations were under way or followed each other closely; a longer
    pause is quiet, and no client misses an answer in it. What follows closely is a second, or ten
    times what usually lies between two invocations where clients ask seldom.
    """
    import numpy as np

    begin = history.time_ns[invoked]
    done = history.pair[invoked]
    end = np.where(done < 0, begin, history.time_ns[np.maximum(done, 0)])
    known = (begin >= 0) & (end >= begin)
    order = np.argsort(begin[known], kind="stable")
    begin, end = begin[known][order], end[known][order]
    if not len(begin):
        return begin, end
    usual_ns = float(np.median(np.diff(begin))) if len(begin) > 1 else 0.0
    quiet_ns = max(QUIET_NS, int(QUIET_INTERVALS * usual_ns))
    reach = np.maximum.accumulate(end)
    opens = np.concatenate([[True], begin[1:] > reach[:-1] + quiet_ns])
    closes = np.concatenate([opens[1:], [True]])
    return begin[opens], reach[closes]


def _longest_gap(answers: Ints, begins: Ints, ends: Ints) -> tuple[int, int, int]:
    """Longest time without any ok answer, when it began and when it ended.

    Time between spans is cut out: it runs only while the system is being asked.
    """
    import numpy as np

    if not len(begins):
        return 0, 0, 0
    asked = np.concatenate([[0], np.cumsum(ends - begins)])  # asked time at the begin of each span
    answers = np.sort(answers)
    span = np.maximum(np.searchsorted(begins, answers, side="right") - 1, 0)
    inside = np.clip(answers - begins[span], 0, ends[span] - begins[span])
    edges = np.concatenate([[0], asked[span] + inside, [asked[-1]]])
    times = np.concatenate([[begins[0]], answers, [ends[-1]]])
    gaps = np.diff(edges)
    at = int(np.argmax(gaps))
    return int(gaps[at]), int(times[at]), int(times[at + 1])


def _buckets(when: Ints, ok: Bools, begin: int, end: int) -> dict[str, object]:
    import numpy as np

    count = min(BUCKETS_MAX, max(1, len(when) // 10))
    edges = np.linspace(begin, max(end, begin + 1), count + 1)
    return {
        "bucket_s": float(edges[1] - edges[0]) / 1e9,
        "t_s": [round(float(edge) / 1e9, 6) for edge in edges[:-1]],
        "ok": np.histogram(when[ok], edges)[0].tolist(),
        "other": np.histogram(when[~ok], edges)[0].tolist(),
    }
