"""How much of the time the system answered.

Availability is a measurement, not a law: a consistent store may refuse during a partition. The
checker is VALID as long as it could measure, unless the caller sets a bound; it is UNKNOWN where
there is nothing to measure (no operations, no times). How soon after a fault the system answered
again is the checker of :mod:`checkers.judges.recovery`.

Time is the history's own: nanoseconds since the start. An operation counts at the moment it
completed; one that never completed counts, as not answered, at its invocation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    return _longest_gap(answers[answers >= 0], *asked_spans(history, invoked))


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


def asked_spans(history: History, invoked: Ints) -> tuple[Ints, Ints]:
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
