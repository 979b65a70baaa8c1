"""The first screen: the verdict, what decided it, the run's facts, and what was exercised.

A green verdict is worth what was exercised: a run without a fault that bit, or with hardly any
operation inside one, is shown amber as "VALID, weakly exercised", with the reasons. A run without
results has no verdict, and the banner says so.

For :mod:`reports.page`, :mod:`reports.markdown`, :mod:`reports.terminal` and :mod:`reports.junit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from checkers.core.verdict import Result, Verdict
from checkers.judges.stats import failures
from reports.operations import Operations, concurrency, inside_faults
from reports.palette import GLYPHS, WORDS
from reports.returns import returns
from reports.run_directory import Run
from reports.wording import count, duration, listing, one_line, show


@dataclass
class Banner:
    """The verdict as shown: class, glyph, heading and one sentence."""

    css: str
    glyph: str
    heading: str
    sentence: str
    reasons: list[str]


@dataclass
class CheckerRow:
    """One line of the list of checkers, indented by its depth in the composition."""

    name: str
    css: str
    glyph: str
    verdict: str
    engine: str
    took: str
    budget: str
    reason: str
    depth: int
    stats: list[tuple[str, str]]
    findings: int


def weak_reasons(run: Run) -> list[str]:
    """Why a VALID is only weakly exercised; empty if it is well exercised."""
    reasons = [one_line(reason) for reason in _strings(run.evidence.get("weak"))]
    if reasons or run.evidence:
        return reasons
    if run.faults and not any(fault.outcome == "installed" for fault in run.faults):
        return ["No fault was installed."]
    return []


def _strings(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def banner(run: Run) -> Banner:
    """The verdict of a run in words."""
    if run.verdict is None:
        said = "There is no verdict, because no checker's result was recorded."
        return Banner("unjudged", "–", "NOT JUDGED", said, [])
    weak = weak_reasons(run) if run.verdict is Verdict.VALID else []
    css = "weak" if weak else run.verdict.value
    heading = WORDS[css]
    finding = next((f for result in run.results for f in result.all_findings()), None)
    if run.verdict is Verdict.INVALID and finding is not None:
        heading = f"{heading} · {one_line(finding.title or finding.kind, limit=400)}"
    if run.verdict is Verdict.INVALID and run.evidence.get("assumption"):
        heading = f"{heading} · assumption violated"
    sentence = one_line(run.sentence, limit=700) or _default_sentence(run)
    return Banner(css, GLYPHS[css], heading, sentence, weak)


def _default_sentence(run: Run) -> str:
    if run.verdict is Verdict.VALID:
        checked = listing([result.checker for result in run.results]) or "no checker"
        return f"No violation found by {checked}."
    if run.verdict is Verdict.UNKNOWN:
        return "Nothing firmer can be said than that no violation was proved."
    return "A violation was found."


def checker_rows(run: Run) -> list[CheckerRow]:
    """The results with their parts, depth first."""
    rows: list[CheckerRow] = []
    for result in run.results:
        _add_rows(rows, result, 0)
    return rows


def _add_rows(rows: list[CheckerRow], result: Result, depth: int) -> None:
    css = result.verdict.value
    stats = [(one_line(k, limit=40), show(v, limit=200)) for k, v in result.stats.items()]
    rows.append(
        CheckerRow(
            name=one_line(result.checker, limit=60),
            css=css,
            glyph=GLYPHS[css],
            verdict=WORDS[css],
            engine=one_line(result.engine, limit=60),
            took=duration(result.elapsed_s * 1e9) if result.elapsed_s else "",
            budget=_budget_words(result.budget) if result.verdict is Verdict.UNKNOWN else "",
            reason=one_line(result.reason, limit=400),
            depth=depth,
            stats=stats,
            findings=len(result.all_findings()),
        )
    )
    for part in result.parts:
        _add_rows(rows, part, depth + 1)


def _budget_words(budget: Mapping[str, Any]) -> str:
    """``60 s, 4 GB``; limits that are not ours by name."""
    words = []
    for name, limit in budget.items():
        if name == "time_s" and isinstance(limit, (int, float)):
            words.append(duration(limit * 1e9))
        elif name == "memory_mb" and isinstance(limit, (int, float)):
            words.append(f"{limit / 1024:.3g} GB" if limit >= 1024 else f"{limit:.3g} MB")
        elif limit is not None:
            words.append(f"{show(limit)} {one_line(name)}")
    return ", ".join(words)


def facts(run: Run) -> list[tuple[str, str]]:
    """The run's facts as (name, text) pairs, in the order a reader asks for them."""
    found = run.facts
    pairs: list[tuple[str, Any]] = [
        ("test", found.get("test")),
        ("workload", None if found.get("workload") == found.get("test") else found.get("workload")),
        ("db", found.get("db")),
        ("variant", found.get("variant")),
        ("claimed", _claimed_words(found.get("claimed"), found.get("claimed_because"))),
        ("env", found.get("env")),
        ("nemesis", found.get("nemesis")),
        ("nodes", found.get("nodes")),
        ("operations", _ops_words(found.get("ops"))),
        ("concurrency", found.get("concurrency")),
        ("rate", _rate_words(found.get("rate"), run.evidence.get("rate"))),
        ("duration", duration(run.end_ns) if run.end_ns and not run.positions else None),
        ("interrupted", _interrupted_words(found.get("interrupted"))),
        ("seed", found.get("seed")),
        ("started", found.get("started")),
        ("commit", found.get("commit")),
        ("version", found.get("version")),
    ]
    return [(name, _fact(value)) for name, value in pairs if value not in (None, "", [], {})]


def _claimed_words(models: Any, because: Any) -> Any:
    """The consistency models that were claimed, and by whom."""
    names = ", ".join(str(each) for each in models) if isinstance(models, list) else ""
    return f"{names} ({because})" if names and because else names


def _interrupted_words(by: Any) -> Any:
    return "by the user" if by is True else f"by the user, {by}" if by else None


def _rate_words(asked: Any, evidence: Any) -> Any:
    """The rate asked for, and what came of it where that is known."""
    measured = evidence if isinstance(evidence, dict) else {}
    asked, reached = measured.get("asked", asked), measured.get("reached")
    if not isinstance(reached, (int, float)) or not isinstance(asked, (int, float)):
        return asked
    return f"asked {asked:,g}/s, got {reached:,.0f}/s"


def _fact(value: Any) -> str:
    if isinstance(value, list):
        return listing(value, limit=9)
    return one_line(value, limit=120) if isinstance(value, str) else show(value, limit=120)


def _ops_words(ops: Any) -> str:
    if not isinstance(ops, dict):
        return ""
    total = sum(number for number in ops.values() if isinstance(number, int))
    parts = [f"{ops[name]:,} {name}" for name in ("ok", "fail", "info")
             if isinstance(ops.get(name), int)]  # fmt: skip
    return f"{total:,} ({', '.join(parts)})"


def exercised(run: Run, ops: Operations | None) -> list[tuple[str, str, str]]:
    """The load and faults of the run, as (name, figure, remark)."""
    evidence = run.evidence
    pairs: list[tuple[str, str, str]] = []
    injected = [fault for fault in run.faults if fault.outcome != "skipped"]
    kinds = listing(list(dict.fromkeys(fault.f for fault in injected)))
    total = len(injected)
    bit = evidence.get("faults_bit")
    pairs.append(("faults", show(total), kinds))
    if bit is not None:
        pairs.append(("proved to bite", show(bit), f"of {show(total)}"))
    if evidence.get("leader_changes") is not None:
        pairs.append(("leader changes", show(evidence["leader_changes"]), ""))
    if ops is not None and len(ops) and run.history is not None:
        hit = evidence.get("ops_in_faults")
        hit = inside_faults(ops, run.faults, run.end_ns) if not isinstance(hit, int) else hit
        pairs.append(("operations in faults", f"{hit:,}", f"{hit / len(ops):.0%} of all"))
        pairs.append(("keys", f"{max(1, len(run.history.keys)):,}", ""))
        pairs.append(("most open at once", f"{concurrency(ops):,}", "operations"))
        unknown = int((ops.outcome == 3).sum())
        pairs.append(("unknown outcomes", f"{unknown:,}", f"{unknown / len(ops):.1%} of all"))
    pairs += _returned(run)
    share, inside = evidence.get("answered"), evidence.get("answered_in_faults")
    if isinstance(share, float):
        during = f"{inside:.1%} of those during faults" if isinstance(inside, float) else ""
        pairs.append(("answered", f"{share:.1%}", during))
    noticed = _strings(evidence.get("would_notice"))
    if noticed:
        pairs.append(("would have noticed", f"{len(noticed)}", listing(noticed, limit=12)))
    return pairs


def _returned(run: Run) -> list[tuple[str, str, str]]:
    """How soon the system answered after the healings of a run."""
    found = returns(run)
    if found is None:
        return []
    worst = max(found.rows, key=lambda row: (row.took_s is None, row.took_s or 0.0))
    declared = "no bound declared" if found.bound_s is None else f"{found.bound} declared"
    if found.beyond:
        declared = f"{found.beyond} BEYOND the {found.bound} declared"
    return [("answers after healing", worst.took, f"at worst; {declared}")]


#: Kinds of failure shown of a run; the rest is counted.
FAILURES_MAX = 12


def failure_rows(run: Run, limit: int = FAILURES_MAX) -> list[tuple[str, str, str, str]]:
    """Operations that failed or stayed unknown: how many, which, the outcome and the error."""
    if run.history is None:
        return []
    found = failures(run.history)
    rows = [
        (f"{each.count:,}", one_line(each.f, limit=40), each.outcome,
         one_line(each.error, limit=160) or "no error was given")
        for each in found[:limit]
    ]  # fmt: skip
    rest = sum(each.count for each in found[limit:])
    if rest:
        rows.append((f"{rest:,}", "", "", f"{count(len(found) - limit, 'more kind')} of failure"))
    return rows


def evidence_words(evidence: Mapping[str, Any]) -> str:
    """A fault's evidence in one line, or that there is none.

    Evidence is nested by node or link; a reader wants the sums: ``dropped 45, bytes_lost 120``.
    """
    if evidence.get("bit") is False:
        return "none: it may not have bitten"
    totals: dict[str, Any] = {}
    _add_leaves(totals, {name: value for name, value in evidence.items() if name != "bit"}, "")
    words = [f"{one_line(name, limit=40)} {show(value)}" for name, value in totals.items()]
    return ", ".join(words[:6]) or "none"


def _add_leaves(totals: dict[str, Any], value: Any, name: str) -> None:
    """Numbers added up by name, yeses counted, other things by their last value."""
    if isinstance(value, dict):
        for inner, item in value.items():
            _add_leaves(totals, item, str(inner))
    elif isinstance(value, (bool, int, float)):
        if value and isinstance(totals.get(name, 0), (int, float)):
            totals[name] = totals.get(name, 0) + value
    elif value not in (None, "", [], ()):
        totals[name] = value
