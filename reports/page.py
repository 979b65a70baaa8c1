"""The page: view models put into the templates, one file with everything inside.

The file needs no network and may not use any: its content security policy allows exactly the style
sheet and the script that are in it, by their hashes, and nothing else. Every text goes through
Jinja's autoescape or :mod:`reports.svg.element`; data for the script is JSON in a script element
of type ``application/json`` with ``<``, ``>`` and ``&`` written as escapes, and the script itself
writes text with ``textContent`` only. Equal inputs give equal bytes.

For :mod:`reports.writing`.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from reports import findings, nodes, overview, returns
from reports.embed import OPS_MAX, Embedded, embed
from reports.operations import Operations, operations
from reports.palette import EDGES, FaultStyle, fault_slots
from reports.performance import QUANTILES, Performance, performance
from reports.run_directory import Run
from reports.svg import bands, cycle, strip
from reports.svg import returns as returns_picture
from reports.svg.element import Markup
from reports.wording import count, duration, fault_value, one_line, plain, seconds

HERE = Path(__file__).parent
SCRIPTS = ("core.js", "chrome.js", "plot.js", "timeline.js", "charts.js", "table.js", "main.js")
#: No report file is larger.
PAGE_BYTES_MAX = 8 << 20
#: Operations embedded are halved until the page fits, but not below this.
OPS_MIN = 1000
SPEC_CHARS_MAX = 60_000
FAULT_ROWS_MAX = 2000


def full_page(run: Run) -> str:
    """The page with every operation in it and no value shortened; what ``serve`` offers."""
    return page(run, ops_max=1 << 40, bytes_max=None, whole=True)


def page(
    run: Run,
    *,
    ops_max: int = OPS_MAX,
    bytes_max: int | None = PAGE_BYTES_MAX,
    whole: bool = False,
) -> str:
    """The whole page as HTML.

    Args:
        run: what to report; its history gets times if it has none.
        ops_max: most operations embedded one by one.
        bytes_max: the page's limit; fewer operations are embedded until it is kept. None for none.
        whole: do not shorten values, errors and keys.
    """
    context = _context(run)
    while True:
        embedded = _embed(run, context, ops_max, whole)
        html = _render("report.html.j2", data=_data(run, context, embedded), **context,
                       shown=embedded)  # fmt: skip
        if bytes_max is None or len(html.encode("utf-8", "replace")) <= bytes_max:
            return html
        if ops_max <= OPS_MIN:
            return html
        ops_max //= 2


def _context(run: Run) -> dict[str, Any]:
    """Everything but the embedded operations: made once."""
    ops: Operations | None = None
    measured: Performance | None = None
    if run.history is not None:
        ops = operations(run.history)
        measured = performance(run.history, ops, run.faults, run.end_ns)
    styles = fault_slots([fault.f for fault in run.faults])
    read = _nodes(run)
    found = findings.cards(run, styles, nodes.leads(read))
    for card in found:
        card.logs = [(node.name, node.around[card.anchor]) for node in read
                     if card.anchor in node.around]  # fmt: skip
    every = findings.numbered(run)
    found_returns = returns.returns(run)
    return {
        "run": run,
        "name": one_line(run.name, limit=120),
        "banner": overview.banner(run),
        "checkers": overview.checker_rows(run),
        "facts": overview.facts(run),
        "exercised": overview.exercised(run, ops),
        "failures": overview.failure_rows(run),
        "cards": found,
        "further": [(a, c, one_line(f.sentence or f.title)) for a, c, f in every[len(found) :]],
        "ops": ops,
        "performance": measured,
        "rows": _bucket_rows(measured),
        "strip": _strip(run, measured, styles, found),
        "faults": [_fault_row(f, styles) for f in run.faults[:FAULT_ROWS_MAX]],
        "returns": found_returns,
        "returned": [] if found_returns is None else returns.table(found_returns),
        "returns_picture": _returns_picture(run, found_returns, styles),
        "faults_cut": max(0, len(run.faults) - FAULT_ROWS_MAX),
        "drawn": {
            one_line(f.f, limit=40): styles[f.f] for f in run.faults if f.outcome != "skipped"
        },
        "nodes": read,
        "files": _files(run),
        "spec": _spec(run),
        "missing": [one_line(said, limit=500) for said in run.missing],
        "replay": one_line(run.replay, limit=2000),
        "real_times": not run.positions,
        "definitions": Markup(bands.definitions() + cycle.arrowheads()),
        "edges": EDGES,
        "quantiles": ["p50", "p95", "p99", "most"],
        "duration": count(len(run.history or ()), "event")
        if run.positions
        else duration(run.end_ns),
    }


def _returns_picture(
    run: Run, found: returns.Returns | None, styles: dict[str, FaultStyle]
) -> Markup:
    if found is None or run.positions:
        return Markup("")
    return returns_picture.draw(found, styles=styles, end_ns=run.end_ns)


def _strip(
    run: Run,
    measured: Performance | None,
    styles: dict[str, FaultStyle],
    found: Sequence[findings.Card],
) -> Markup:
    if measured is None or run.positions:
        return Markup("")  # without times there is no rate
    ticks = [(card.anchor, card.at_ns) for card in found if card.at_ns >= 0]
    return strip.draw(
        measured.completed, width_ns=measured.width_ns, end_ns=run.end_ns, faults=run.faults,
        styles=styles, ticks=ticks, positions=run.positions,
    )  # fmt: skip


def _bucket_rows(measured: Performance | None) -> list[list[str]]:
    """The performance curves as a table, several buckets joined so that it stays readable."""
    if measured is None:
        return []
    rows = []
    join = max(1, measured.buckets // 30)
    for first in range(0, measured.buckets, join):
        part = slice(first, first + join)
        done = [str(sum(measured.completed[name][part])) for name in ("ok", "fail", "info")]
        worst = [max(curve[part]) for curve in measured.quantiles]
        flying = measured.in_flight[part]
        rows.append(
            [
                seconds(first * measured.width_ns, digits=2),
                *done,
                f"{sum(flying) / len(flying):.1f}",
                *(duration(value) if value >= 0 else "–" for value in worst),
            ]
        )
    return rows


def _fault_row(fault: Any, styles: dict[str, FaultStyle]) -> dict[str, Any]:
    ended = fault.end_ns >= 0
    return {
        "id": fault.id,
        "kind": one_line(fault.f, limit=40),
        "slot": styles[fault.f].slot,
        "begin": seconds(fault.begin_ns),
        "end": seconds(fault.end_ns) if ended else "no end recorded",
        "took": duration(fault.end_ns - fault.begin_ns) if ended else "",
        "ended": ended,
        "nodes": ", ".join(one_line(node, limit=30) for node in fault.nodes),
        "value": fault_value(fault.value),
        "outcome": one_line(fault.outcome, limit=40),
        "evidence": overview.evidence_words(fault.evidence),
        "label": bands.fault_label(fault),
        "words": bands.fault_words(fault),
    }


def _nodes(run: Run) -> list[nodes.Node]:
    if run.path is None:
        return []
    names = run.facts.get("nodes")
    listed = names if isinstance(names, list) else []
    return nodes.read_nodes(run.path, listed, run.facts.get("started"), findings.spans(run))


def _files(run: Run) -> list[str]:
    names = ("history.jsonl", "results.json", "spec.json", "faults.jsonl", "harness.log",
             "summary.md", "junit.xml", "environment.json")  # fmt: skip
    if run.path is None:
        return []
    return [name for name in names if (run.path / name).is_file() or name.endswith(("md", "xml"))]


def _spec(run: Run) -> str:
    if run.spec is None:
        return ""
    text = msgspec.json.format(msgspec.json.encode(run.spec, order="deterministic"), indent=2)
    return plain(text.decode("utf-8"))[:SPEC_CHARS_MAX]


def _embed(run: Run, context: dict[str, Any], ops_max: int, whole: bool) -> Embedded:
    ops = context["ops"]
    if ops is None or run.history is None:
        return Embedded({"total": 0, "count": 0}, 0, True)
    found: list[findings.Card] = context["cards"]
    return embed(
        run.history, ops,
        spans=[(card.begin_ns, card.end_ns) for card in found],
        must=[index for card in found for index in card.ops],
        end_ns=run.end_ns, limit=ops_max, whole=whole,
    )  # fmt: skip


def _data(run: Run, context: dict[str, Any], embedded: Embedded) -> str:
    """The page's data as JSON that cannot end its script element."""
    measured: Performance | None = context["performance"]
    data = dict(embedded.data)
    data["realTimes"] = context["real_times"]
    data["faults"] = [
        {"kind": row["kind"], "slot": row["slot"], "words": row["words"], "label": row["label"],
         "begin": fault.begin_ns // 1000, "end": fault.end_ns // 1000 if row["ended"] else None,
         "nodes": [one_line(node, limit=30) for node in fault.nodes], "outcome": row["outcome"]}
        for row, fault in zip(context["faults"], run.faults)
    ]  # fmt: skip
    data["findings"] = [
        {"anchor": card.anchor, "title": card.title, "begin": card.begin_ns // 1000,
         "end": card.end_ns // 1000, "at": card.at_ns // 1000, "ops": card.ops}
        for card in context["cards"] if card.begin_ns >= 0
    ]  # fmt: skip
    data["nodes"] = [
        {
            "name": node.name,
            "events": [dict(e, t=e["t"] // 1000) for e in node.events if e["t"] >= 0],
        }
        for node in context["nodes"]
    ]
    if measured is not None:
        data["performance"] = {
            "width": measured.width_ns / 1000,
            "completed": measured.completed,
            "quantiles": [[round(v / 1000) if v >= 0 else -1 for v in curve]
                          for curve in measured.quantiles],
            "names": [f"p{quantile * 100:.0f}" for quantile in QUANTILES],
            "inFlight": measured.in_flight,
        }  # fmt: skip
    return script_json(data)


def script_json(data: Any) -> str:
    """JSON for a script element: no ``<``, ``>``, ``&`` and no line separators in it."""
    text = msgspec.json.encode(data).decode("utf-8")
    for char, code in (("<", "3c"), (">", "3e"), ("&", "26")):
        text = text.replace(char, f"\\u00{code}")
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@functools.cache
def assets() -> tuple[str, str]:
    """The style sheet and the script."""
    style = (HERE / "assets" / "report.css").read_text("utf-8")
    parts = [(HERE / "assets" / name).read_text("utf-8") for name in SCRIPTS]
    return style, '(() => {\n"use strict";\n' + "".join(parts) + "})();\n"


def policy(style: str, script: str) -> str:
    """The content security policy that allows these two and nothing else."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
        for text in (style, script)
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'; "
        "base-uri 'none'; form-action 'none'"
    )


@functools.cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = count
    environment.filters["span"] = duration
    environment.filters["when"] = nodes.when
    return environment


def _render(template: str, **context: Any) -> str:
    from markupsafe import Markup as Safe

    style, script = assets()
    html: str = (
        _environment()
        .get_template(template)
        .render(
            style=Safe(style),
            script=Safe(script),
            policy=policy(style, script),
            safe=Safe,
            **context,
        )
    )
    return html


def render_template(template: str, **context: Any) -> str:
    """Render another template of this package with the same style sheet and policy."""
    return _render(template, **context)
