"""The page of a comparison: variants side by side, from ``comparison.json`` alone.

For each workload and choice of faults: a table of verdicts and figures with their intervals, the
latency distributions of all variants in one picture, and the throughput of every run. Below, the
fields in which the variants differ, and a link to the report of every run. The page is one file
that needs no network, made like :mod:`reports.page`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import msgspec

from checkers.core.regular_files import read_regular
from reports.page import render_template
from reports.svg.latency_curves import COLOURS, curves, strip
from reports.wording import count, one_line
from reports.writing import write_text

#: no honest comparison is larger
FILE_BYTES_MAX = 256 << 20
#: title and digits of each figure, by its name in the file
_FIGURES: dict[str, tuple[str, int]] = {
    "ok_per_s": ("ok/s", 0),
    "p50": ("p50, ms", 2),
    "p99": ("p99, ms", 1),
    "longest_gap": ("longest gap, s", 2),
    "recovery": ("recovery, s", 2),
    "messages": ("messages/commit", 1),
    "bytes": ("bytes/commit", 0),
    "syncs": ("syncs/commit", 2),
    "round_trips": ("trips/write", 2),
    "read_round_trips": ("trips/read", 2),
}


def render_comparison(where: Path) -> Path:
    """Write ``comparison.html`` beside ``comparison.json``.

    Args:
        where: the comparison's directory.

    Returns:
        the page's path.

    Raises:
        OSError: the file cannot be read, or the page not be written.
        ValueError: the file holds no comparison.
    """
    page = where / "comparison.html"
    write_text(page, comparison_page(load_comparison(where / "comparison.json")))
    return page


def load_comparison(path: Path) -> dict[str, Any]:
    """The content of a ``comparison.json``.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no comparison.
    """
    try:
        found = msgspec.json.decode(
            read_regular(path, limit=FILE_BYTES_MAX), type=dict[str, Any], strict=True
        )
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} holds no comparison: {error}") from None
    if found.get("format") != "comparison/1":
        raise ValueError(f"{path} has the format {found.get('format')!r}, not 'comparison/1'")
    return found


def comparison_page(found: Mapping[str, Any]) -> str:
    """The page as HTML; equal files give equal bytes."""
    names = [str(name) for name in found["variants"]]
    rows, runs = list(found["rows"]), list(found["runs"])
    cells = dict.fromkeys((row["workload"], tuple(row["nemesis"])) for row in rows)
    return render_template(
        "comparison.html.j2",
        found=found,
        variants=[(name, f"v{number % COLOURS}") for number, name in enumerate(names)],
        cells=[_cell(cell, names, rows, runs) for cell in cells],
        differences=found["differences"],
        summary=_summary(found),
    )


def _summary(found: Mapping[str, Any]) -> str:
    done, planned = int(found["done"]), int(found["planned"])
    first, last = found["seeds"]
    text = f"{count(done, 'run')} of {len(found['variants'])} variants, seeds {first} to {last}, "
    text += f"environment {one_line(found['env'], limit=40)}."
    return text if done == planned else f"{text} {planned - done} runs are missing."


def _cell(
    cell: tuple[str, tuple[str, ...]],
    names: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    runs: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    own = [row for row in rows if (row["workload"], tuple(row["nemesis"])) == cell]
    made = [run for run in runs if (run["workload"], tuple(run["nemesis"])) == cell]
    shown = [name for name in _FIGURES if any(row["figures"].get(name) for row in own)]
    by_name = {name: [run for run in made if run["variant"] == name] for name in names}
    return {
        "workload": one_line(cell[0], limit=60),
        "faults": one_line(", ".join(cell[1]) or "no faults", limit=120),
        "titles": [_FIGURES[name][0] for name in shown],
        "rows": [_row(row, shown) for row in own],
        "curves": curves(names, [_sum(run["latencies"] for run in by_name[n]) for n in names]),
        "strip": strip(names, [[float(run["ok_per_s"]) for run in by_name[n]] for n in names]),
        "runs": [_run(run) for run in sorted(made, key=lambda r: (r["seed"], r["variant"]))],
    }


def _row(row: Mapping[str, Any], shown: Sequence[str]) -> dict[str, Any]:
    low, high = row["violated_share"]
    figures = [
        (_text(row["figures"].get(name), _FIGURES[name][1]), _ratio(row["ratios"].get(name)))
        for name in shown
    ]
    violated, undecided = int(row["violated"]), int(row["undecided"]) + int(row["broken"])
    return {
        "variant": one_line(row["variant"], limit=60),
        "css": "invalid" if violated else "unknown" if undecided else "valid",
        "tried": int(row["tried"]),
        "violated": violated,
        "undecided": int(row["undecided"]),
        "broken": int(row["broken"]),
        "share": f"{low:.0%} to {high:.0%}",
        "figures": figures,
    }


def _text(figure: Sequence[float | None] | None, digits: int) -> tuple[str, str]:
    """A figure's median, and its interval."""
    if not figure or any(value is None for value in figure):
        return "–", ""
    middle, low, high = (f"{float(value or 0):.{digits}f}" for value in figure)
    return middle, f"{low} – {high}"


def _ratio(ratio: Sequence[float | None] | None) -> str:
    if not ratio or ratio[0] is None or abs(ratio[0] - 1) < 0.005:
        return ""
    return f"×{ratio[0]:.2f}"


def _sum(histograms: Any) -> list[int]:
    total: list[int] = []
    for bins in histograms:
        total += [0] * (len(bins) - len(total))
        for index, number in enumerate(bins):
            total[index] += int(number)
    return total


def _run(run: Mapping[str, Any]) -> dict[str, Any]:
    css = str(run["verdict"])
    return {
        "variant": one_line(run["variant"], limit=60),
        "seed": int(run["seed"]),
        "css": css if css in ("valid", "invalid", "unknown") else "unjudged",
        "verdict": one_line(css, limit=20),
        "sentence": one_line(run["sentence"], limit=300),
        "href": _href(str(run["run_dir"])),
    }


def _href(run_dir: str) -> str:
    """The run's report, relative to the page; "" unless it is below the comparison."""
    path = PurePosixPath(run_dir)
    if not run_dir or path.is_absolute() or ".." in path.parts:
        return ""
    return quote(str(path / "report.html"))
