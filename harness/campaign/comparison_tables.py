"""The tables of a comparison, one per cell, and conditions that it must meet.

``comparison.json`` holds everything a reader or a later comparison needs: the plan, a row for each
variant of each cell, and every run. ``comparison.csv`` is a line per run, for pandas and others.

A condition compares a figure of each variant with a number or with the baseline's:

    p99 > 1.2 * baseline       longest_gap > 5       ok_per_s < 0.9 * baseline       violated > 0

The baseline is the first variant, another named with ``--baseline``, or the variant of the same
name in a stored comparison. Comparisons with the baseline use medians of the runs' figures.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict

import msgspec

from harness.campaign.comparison import Comparison, RunRecord, finite
from harness.campaign.statistics import median_interval, paired_ratio, wilson
from harness.errors import UsageError, nearest
from harness.spec import TestSpec

if TYPE_CHECKING:
    import pandas as pd


class Figure(NamedTuple):
    """A column of the tables.

    Args:
        name: as conditions and JSON call it.
        title: as tables call it.
        of: the figure of a run; None where it has none.
    """

    name: str
    title: str
    of: Callable[[RunRecord], float | None]


FIGURES: tuple[Figure, ...] = (
    Figure("ok_per_s", "ok/s", lambda r: r.ok_per_s),
    Figure("p50", "p50 ms", lambda r: r.p50_ms),
    Figure("p99", "p99 ms", lambda r: r.p99_ms),
    Figure("longest_gap", "gap s", lambda r: r.longest_gap_s),
    Figure("recovery", "recover s", lambda r: r.recovery_s),
)
#: Costs per commit as the nodes of the reference cluster report them.
COSTS: tuple[Figure, ...] = (
    Figure("messages", "messages", lambda r: r.costs.get("messages")),
    Figure("bytes", "bytes", lambda r: r.costs.get("bytes")),
    Figure("syncs", "syncs", lambda r: r.costs.get("syncs")),
    Figure("round_trips", "trips/write", lambda r: r.trips.get("round_trips")),
    Figure("read_round_trips", "trips/read", lambda r: r.trips.get("read_round_trips")),
)
_COUNTS = ("tried", "violated", "undecided", "broken")


class StoredRow(TypedDict):
    """What conditions read of a row of a stored comparison."""

    workload: str
    nemesis: list[str]
    variant: str
    tried: int
    violated: int
    undecided: int
    broken: int
    figures: dict[str, list[float | None]]


class _Stored(msgspec.Struct):
    """What is read of a stored comparison."""

    format: Literal["comparison/1"]
    rows: list[StoredRow]


def stored_rows(data: bytes) -> list[StoredRow]:
    """The rows of a ``comparison.json``, which may be a stranger's.

    Raises:
        msgspec.DecodeError: it is none.
        UnicodeDecodeError: it is no text.
    """
    return msgspec.json.decode(data, type=_Stored).rows


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """A row for each variant of each cell, JSON-ready.

    A figure is ``[median, low, high]`` over the runs that have it; ``ratios`` are those to the
    first variant, paired by seed.
    """
    found = []
    for cell in comparison.plan.cells:
        base = comparison.of(cell, comparison.plan.variants[0].name)
        for variant in comparison.plan.variants:
            records = comparison.of(cell, variant.name)
            found.append(
                {
                    "workload": cell.workload,
                    "nemesis": list(cell.nemesis),
                    "variant": variant.name,
                    **_verdicts(records),
                    **_figures(records, base),
                }
            )
    return found


def _verdicts(records: Sequence[RunRecord]) -> dict[str, Any]:
    def count(*words: str) -> int:
        return sum(record.verdict in words for record in records)

    tried = len(records)
    low, high = wilson(count("invalid"), tried)
    return {
        "tried": tried,
        "violated": count("invalid"),
        "undecided": count("unknown"),
        "broken": count("broken"),
        "violated_share": [low, high],
    }


def _figures(records: Sequence[RunRecord], base: Sequence[RunRecord]) -> dict[str, Any]:
    by_seed = {record.seed: record for record in base}
    figures: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    for figure in (*FIGURES, *COSTS):
        pairs = [(figure.of(r), r.seed) for r in records if r.verdict != "broken"]
        values = [value for value, _ in pairs if value is not None]
        if not values and figure in COSTS:
            continue
        figures[figure.name] = [finite(value) for value in median_interval(values)]
        both = [
            (value, other)
            for value, seed in pairs
            if value is not None
            and seed in by_seed
            and (other := figure.of(by_seed[seed])) is not None
        ]
        ratio = paired_ratio([v for v, _ in both], [b for _, b in both])
        ratios[figure.name] = [finite(value) for value in ratio]
    return {"figures": figures, "ratios": ratios}


def document(comparison: Comparison, failed: Sequence[str] = ()) -> dict[str, Any]:
    """``comparison.json``: the plan, the rows, the runs, and the conditions that were met."""
    plan = comparison.plan
    return {
        "format": plan.format,
        "verdict": comparison.verdict.value,
        "done": len(comparison.records),
        "planned": len(plan.seeds) * len(plan.cells) * len(plan.variants),
        "seeds": [plan.seeds[0], plan.seeds[-1]],
        "env": plan.base.env,
        "variants": [v.name for v in plan.variants],
        "differences": differences(comparison),
        "rows": rows(comparison),
        "failed": list(failed),
        "runs": [msgspec.to_builtins(record) for record in comparison.records.values()],
    }


def differences(comparison: Comparison) -> list[dict[str, Any]]:
    """The fields in which the variants' specs differ: ``{field, values}``, a value per variant."""
    plan = comparison.plan
    specs = [
        msgspec.to_builtins(plan.spec(plan.seeds[0], plan.cells[0], variant, store=""))
        for variant in plan.variants
    ]
    found = []
    for field in TestSpec.__struct_fields__:
        values = [spec[field] for spec in specs]
        if field not in ("name", "store") and any(value != values[0] for value in values):
            found.append({"field": field, "values": [_plainly(value) for value in values]})
    return found


def _plainly(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={item}" for name, item in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value)) or "-"
    return str(value)


def frame(comparison: Comparison) -> pd.DataFrame:
    """A line per run, as pandas has it; without the histograms."""
    import pandas as pd

    lines = []
    for record in comparison.records.values():
        line = msgspec.to_builtins(record)
        del line["latencies"]
        costs, trips = line.pop("costs"), line.pop("trips")
        line["nemesis"] = ",".join(line["nemesis"])
        spent = {f"{name}_per_commit": value for name, value in costs.items()}
        lines.append({**line, **spent, **trips})
    columns = ["workload", "nemesis", "variant", "seed"]
    return pd.DataFrame(lines).sort_values(columns, ignore_index=True) if lines else pd.DataFrame()


# Conditions ---------------------------------------------------------------------------------------

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip
_CONDITION = re.compile(
    r"\s*(\w+)\s*(>=|<=|>|<)\s*(?:([0-9.]+)\s*(?:\*\s*(baseline))?|(baseline))\s*"
)


class Condition(NamedTuple):
    """``FIGURE OPERATOR FACTOR [* baseline]``."""

    text: str
    figure: str
    operator: str
    factor: float
    relative: bool


def parse_condition(text: str) -> Condition:
    """A condition from its text.

    Raises:
        UsageError: it is none.
    """
    found = _CONDITION.fullmatch(text)
    known = [*(figure.name for figure in (*FIGURES, *COSTS)), *_COUNTS]
    if found is None:
        raise UsageError(
            f"--fail-if is {text!r}; it should be as in 'p99 > 1.2 * baseline' or 'longest_gap > 5'"
        )
    if found[1] not in known:
        raise nearest("--fail-if figure", found[1], known)
    try:
        factor = float(found[3] or 1)
    except ValueError:
        raise UsageError(f"--fail-if is {text!r}; {found[3]!r} is no number") from None
    return Condition(text.strip(), found[1], found[2], factor, bool(found[4] or found[5]))


def met(
    condition: Condition, table: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Sentences about the rows that meet a condition.

    Args:
        condition: what to look for.
        table: rows as :func:`rows` makes them.
        baseline: rows to compare with; a row is compared with that of its own cell, and of its own
            variant if the baseline has several.
    """
    said = []
    for row in table:
        value, limit = _sides(condition, row, baseline)
        if value is None or limit is None or not _OPERATORS[condition.operator](value, limit):
            continue
        allowed = "allows up to" if condition.operator.startswith(">") else "asks for at least"
        said.append(
            f"{_place(row)}: {condition.figure} is {value:g}, and {condition.text!r} {allowed} "
            f"{limit:g}"
        )
    return said


def unjudged(
    condition: Condition, table: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Sentences about the rows of which a condition says nothing, for want of a figure.

    Args:
        condition, table, baseline: as for :func:`met`.
    """
    said = []
    for row in table:
        value, limit = _sides(condition, row, baseline)
        if value is None:
            said.append(f"{_place(row)}: there is no {condition.figure}")
        elif limit is None and _baseline(row, baseline) is not row:
            said.append(f"{_place(row)}: the baseline has no {condition.figure} of it")
    return said


def _place(row: Mapping[str, Any]) -> str:
    return f"{row['variant']}, {row['workload']} under {','.join(row['nemesis']) or 'no faults'}"


def _sides(
    condition: Condition, row: Mapping[str, Any], baseline: Sequence[Mapping[str, Any]]
) -> tuple[float | None, float | None]:
    """A row's figure and its limit; None what is not there. The baseline itself has no limit."""
    value = _figure(row, condition.figure)
    if not condition.relative:
        return value, condition.factor
    base = _baseline(row, baseline)
    other = None if base is None or base is row else _figure(base, condition.figure)
    return value, None if other is None else condition.factor * other


def without_baseline(
    table: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]
) -> list[str]:
    """The rows, by name, that a baseline has nothing to compare with.

    Args:
        table: rows; their workload, nemesis and variant count.
        baseline: rows of a stored comparison.
    """
    return [_place(row) for row in table if _baseline(row, baseline) is None]


def _figure(row: Mapping[str, Any], name: str) -> float | None:
    if name in _COUNTS:
        return float(row[name])
    found = row["figures"].get(name)
    return None if not found or found[0] is None else float(found[0])


def _baseline(
    row: Mapping[str, Any], baseline: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any] | None:
    same = [
        other
        for other in baseline
        if other["workload"] == row["workload"] and other["nemesis"] == row["nemesis"]
    ]
    own = [other for other in same if other["variant"] == row["variant"]]
    if len({other["variant"] for other in same}) > 1:
        return own[0] if own else None
    return same[0] if same else None
