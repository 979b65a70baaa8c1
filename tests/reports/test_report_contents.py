"""What a report says: pictures, words and numbers, each against the history it came from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import canned
import pytest

import reports
from checkers.core.verdict import Because, Finding, Result, Verdict
from checkers.history import Event, Fault, History, Op
from checkers.isolation import list_append, rw_register
from reports import findings, overview
from reports.embed import unpack
from reports.findings import cards, numbered
from reports.operations import concurrency, inside_faults, operations, timed
from reports.page import full_page, page
from reports.palette import fault_slots
from reports.performance import bucket_width, performance
from reports.returns import returns
from reports.run_directory import read_run
from reports.svg import cycle, sequence
from reports.svg.axis import BrokenAxis
from reports.table import op_table
from reports.wording import clip, duration, fault_value, op_label, plain, show

MS = canned.MS
STYLES = fault_slots(["partition", "kill", "pause", "clock"])


def page_of(name: str, tmp_path: Path) -> str:
    return reports.render(canned.RUNS[name](tmp_path / "register" / name)).read_text("utf-8")


def test_the_failed_run_shows_verdict_window_states_and_replay(tmp_path: Path) -> None:
    html = page_of("stale_read", tmp_path)
    first = html[html.index('id="summary"') : html.index('id="findings"')]
    assert "INVALID · not linearizable" in first
    assert "process 97 read 1" in first and "harness replay" in first
    assert 'class="window"' in first, "the picture is on the first screen, as static SVG"
    states = re.findall(r'class="state-label">([^<]*)', first)
    assert states == ["x = 1", "x = 2"]
    assert "process 97 read x = 1, but x is 2" in first
    assert 'id="strip"' in first and 'class="tick-finding"' in first
    assert 'id="f1"' in html


def test_points_lie_inside_their_operations_and_in_order(tmp_path: Path) -> None:
    html = page_of("stale_read", tmp_path)
    window = html[html.index('class="window"') :]
    window = window[: window.index("</svg>")]
    points = [float(x) for x in re.findall(r'class="drop" x1="([\d.]+)"', window)]
    bars = re.findall(r'class="op op-ok" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', window)
    assert len(points) == 2 and points == sorted(points)
    for x, (left, width) in zip(points, bars):
        assert float(left) <= x <= float(left) + float(width)
    assert "op-info" in window and "Z" in window, "an unknown outcome has a ragged edge"
    assert window.count('class="stuck"') == 2


def test_arrows_of_a_phantom_leave_the_predicate_reads_and_no_tag_covers_another() -> None:
    matching = {"value": ["=", 1]}
    events = []
    for process, key in enumerate("xy"):
        value = [["w", key, 1], ["rp", matching, None]]
        events.append(Event(process, process, process, "invoke", "txn", value=value))
    for process, key in enumerate("xy"):
        value = [["w", key, 1], ["rp", matching, {key: 1}]]
        events.append(Event(process + 2, 1000 + process, process, "ok", "txn", value=value))
    history = History.from_events(events)
    (finding,) = rw_register()(history).findings
    assert finding.kind == "G2"
    ops = [history.op(index) for index in finding.ops]
    drawn = cycle.draw(cycle.Cycle(ops, finding.because, {0: "T1", 1: "T2"}))
    for svg in pictures(drawn):
        chips = rects(svg, "chip telling")
        starts = [float(x) for x in re.findall(r'<path class="edge[^"]*" d="M([\d.]+)', svg)]
        middles = [x + width / 2 for x, _, width, _ in chips]
        assert sorted(starts) == pytest.approx(sorted([middles[1], middles[3]]), abs=0.2)
        assert no_label_covers_anything(svg)


def pictures(drawn: str) -> list[str]:
    """The pictures of a cycle, one for each width."""
    found = drawn.split("<svg ")[1:]
    assert len(found) == len(cycle.WIDTHS_PX)
    return found


def rects(svg: str, css: str) -> list[tuple[float, ...]]:
    """x, y, width and height of the rectangles whose class begins so."""
    pattern = (
        rf'<rect class="{css}[^"]*" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"'
    )
    return [tuple(map(float, found)) for found in re.findall(pattern, svg)]


def uprights(svg: str) -> list[tuple[float, float, float]]:
    """The upright parts of arrows: x, and between which y."""
    found = []
    for path in re.findall(r'<path class="edge[^"]*" d="([^"]+)"', svg):
        x = y = 0.0
        for letter, first, second in re.findall(r"([MVH])([\d.]+)(?: ([\d.]+))?", path):
            if letter == "M":
                x, y = float(first), float(second)
            elif letter == "H":
                x = float(first)
            else:
                found.append((x, *sorted((y, float(first)))))
                y = float(first)
    return found


def no_label_covers_anything(svg: str) -> bool:
    """Whether the labels of arrows lie apart from micro-operations, each other and other arrows."""
    tags, chips = rects(svg, "edge-tag"), rects(svg, "chip")
    for n, (x, y, width, height) in enumerate(tags):
        for ox, oy, owidth, oheight in [*chips, *tags[:n]]:
            if x < ox + owidth and ox < x + width and y < oy + oheight and oy < y + height:
                return False
        for ux, top, bottom in uprights(svg):
            if x < ux < x + width and top < y + height and y < bottom:
                return False
    return True


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_labels_of_long_cycles_cover_nothing(count: int) -> None:
    """Every transaction read what the next one appended, and the last one what the first did."""
    events = []
    for n in range(count):
        value = [["append", f"k{n}", n], ["append", f"long-name-of-a-key-{n}", n], ["r", "z", None],
                 ["r", f"k{(n + 1) % count}", None]]  # fmt: skip
        events.append(Event(n, n, n, "invoke", "txn", value=value))
    for n in range(count):
        value = [["append", f"k{n}", n], ["append", f"long-name-of-a-key-{n}", n], ["r", "z", []],
                 ["r", f"k{(n + 1) % count}", [(n + 1) % count]]]  # fmt: skip
        events.append(Event(count + n, 1000 + n, n, "ok", "txn", value=value))
    history = History.from_events(events)
    finding = list_append()(history).all_findings()[0]
    assert finding.kind == "G1c" and len(finding.because) == count
    ops = [history.op(index) for index in finding.ops]
    names = {told["invoke"]: told["name"] for told in finding.detail["transactions"]}
    for svg in pictures(cycle.draw(cycle.Cycle(ops, finding.because, names))):
        order = re.findall(r'class="txn-name">(T\d+)<', svg)
        assert order == [f"T{n + 1}" for n in range(count)], "lanes are in the cycle's order"
        assert len(rects(svg, "edge-tag")) == count
        assert no_label_covers_anything(svg)


def test_a_cycle_has_an_arc_for_each_step_and_the_proving_transaction(tmp_path: Path) -> None:
    html = page_of("read_skew", tmp_path)
    card = html[html.index('id="f1"') :]
    for picture in pictures(card[: card.index("</div>")]):
        assert set(re.findall(r'class="arc" data-step="(\d)"', picture)) == {"1", "2"}
        # the transaction that proves the order is drawn, and named as what it is
        assert len(rects(picture, "txn")) == 3
        assert picture.count('class="lane proof"') == 1 and "proves only" in picture
    assert 'edge-rw"' in card and 'stroke-dasharray="2 3"' in card
    assert "T3 read x as [1 2], so 1 came before 2" in card, "the proof can be opened"
    assert "snapshot-isolation" in card


def test_names_of_transactions_are_the_checkers(tmp_path: Path) -> None:
    run = read_run(canned.read_skew(tmp_path / "t" / "r"))
    card = cards(run, STYLES)[0]
    assert [row.name for row in card.rows] == ["T1", "T2", "T3"]
    finding = run.results[0].findings[0]
    told = [{"name": "Tx", "invoke": finding.ops[0]}, {"name": "Ty", "invoke": finding.ops[1]}]
    finding.detail["transactions"] = told
    assert [row.name for row in cards(run, STYLES)[0].rows] == ["Tx", "Ty", "T3"]


def test_life_lines_and_holders(tmp_path: Path) -> None:
    html = page_of("lost_elements", tmp_path)
    assert "absent since" in html and "first seen" in html and "element 7" in html
    html = page_of("two_holders", tmp_path)
    assert 'class="overlap"' in html and "2 holders" in html


def test_a_valid_run_says_what_was_exercised_and_a_weak_one_is_amber(tmp_path: Path) -> None:
    html = page_of("valid", tmp_path)
    assert 'class="banner valid"' in html and "What was exercised" in html
    assert "dropped_messages 412" in html
    html = page_of("weak", tmp_path)
    assert 'class="banner weak"' in html and "VALID, weakly exercised" in html
    assert "No fault was injected." in html


@pytest.mark.parametrize("name", ["not_judged", "torn"])
def test_a_run_without_results_has_no_verdict(name: str, tmp_path: Path) -> None:
    html = page_of(name, tmp_path)
    assert "NOT JUDGED" in html and "Not everything is here" in html
    assert 'class="banner valid"' not in html and "Traceback" not in html


def test_an_empty_directory_and_a_missing_one(tmp_path: Path) -> None:
    html = reports.render(tmp_path).read_text("utf-8")
    for name in ("results.json", "history.jsonl", "spec.json"):
        assert f"{name} is missing" in html
    with pytest.raises(NotADirectoryError, match="nothing-here"):
        reports.render(tmp_path / "nothing-here")


@pytest.mark.parametrize(
    "text",
    ["[]", "null", "7", '{"verdict":7}', '{"verdict":"valid","results":[1,{"checker":3}]}',
     '{"verdict":"invalid","results":{},"faults":[{}],"run":[],"evidence":3,"sentence":[1]}',
     '{"verdict":"valid","run":{"ops":{"ok":"x"},"nodes":"n1","duration_ns":"long"}}', "\x00", ""],
)  # fmt: skip
@pytest.mark.parametrize("name", ["results.json", "spec.json", "history.jsonl", "faults.jsonl"])
def test_damaged_files_never_raise(name: str, text: str, tmp_path: Path) -> None:
    run = canned.stale_read(tmp_path / "t" / "r")
    (run / name).write_text(text)
    assert "</html>" in reports.render(run).read_text("utf-8")
    assert reports.terminal_summary(run)


def test_findings_of_parts_come_too_and_far_ones_are_listed(tmp_path: Path) -> None:
    recorder = canned.Recorder()
    recorder.op(0, "write", 1, 2, asked=1, answered=1)
    history = recorder.history()
    many = [Finding("lost", "lost", f"Element {n} is lost.", ops=(0,)) for n in range(30)]
    inner = Result("set", Verdict.INVALID, findings=many)
    outer = Result("all", Verdict.INVALID, parts=[inner])
    run = read_run(canned.write_run(tmp_path / "t" / "r", history, [outer]))
    assert len(numbered(run)) == 30
    assert len(cards(run, STYLES)) == findings.CARDS_MAX
    html = reports.render(tmp_path / "t" / "r").read_text("utf-8")
    assert 'id="f30"' in html and "Element 29 is lost." in html


def test_a_witness_that_the_history_does_not_hold(tmp_path: Path) -> None:
    recorder = canned.Recorder()
    recorder.op(0, "write", 1, 2, asked=1, answered=1)
    because = (Because("step", target=1), Because("stuck", target=10**9), Because("ww"))
    finding = Finding("x", "x", "x", ops=(-5, 1, 99), because=because, detail={"attempted": 10**12})
    results = [Result("c", Verdict.INVALID, findings=[finding])]
    run = canned.write_run(tmp_path / "t" / "r", recorder.history(), results)
    assert "There is no picture" in reports.render(run).read_text("utf-8")


def test_render_history_alone(tmp_path: Path) -> None:
    recorder = canned.Recorder()
    recorder.op(0, "write", 1, 2, asked=1, answered=1)
    result = Result("linearizable", Verdict.VALID, reason="One operation.")
    out = reports.render_history(recorder.history(), result, tmp_path / "page.html", replay="again")
    html = out.read_text("utf-8")
    assert "linearizable: One operation." in html and "again" in html
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"], "no other file is left"


def test_an_empty_history(tmp_path: Path) -> None:
    out = reports.render_history(History.from_events([]), [], tmp_path / "page.html")
    assert "NOT JUDGED" in out.read_text("utf-8")


# Numbers ------------------------------------------------------------------------------------------


def small_history() -> History:
    recorder = canned.Recorder()
    for n in range(10):
        recorder.op(n % 2, "read", 10 * n, 10 * n + n + 1, answered=1, node="n1")
    recorder.op(7, "write", 5, None, asked=1, type="info")
    return recorder.history()


def test_quantiles_and_in_flight_against_the_definition() -> None:
    history = small_history()
    ops = operations(history)
    measured = performance(history, ops, [], 100 * MS)
    ok = sorted(op.complete_ns - op.invoke_ns for op in history.ops() if op.type == "ok")
    assert measured.overall[0][:2] == ("read", 10)
    assert measured.overall[0][2] == [duration(ok[4]), duration(ok[9]), duration(ok[9]),
                                      duration(ok[9])]  # fmt: skip
    assert sum(measured.completed["ok"]) == 10 and sum(measured.completed["info"]) == 1
    width = measured.width_ns
    for bucket, mean in enumerate(measured.in_flight):
        low, high = bucket * width, (bucket + 1) * width
        spent = sum(
            max(0, min(high, 100 * MS if op.complete_ns < 0 else op.complete_ns)
                - max(low, op.invoke_ns))
            for op in history.ops()
        )  # fmt: skip
        assert mean == pytest.approx(spent / width, abs=0.006)


def test_the_longest_gap_is_found_with_its_fault() -> None:
    recorder = canned.Recorder()
    recorder.op(0, "read", 0, 10, answered=1, node="n1")
    recorder.op(0, "read", 5000, 5010, answered=1, node="n1")
    faults = [Fault(1, "kill", 20 * MS, 4000 * MS, None, ["n1"])]
    history = recorder.history(faults=faults)
    measured = performance(history, operations(history), faults, 5010 * MS)
    assert measured.gaps[0] == ("all nodes", "0.010 s", "5 s", "kill")


@pytest.mark.parametrize("end_ns", [0, 1, 999, 10**6, 31 * 10**9, 3600 * 10**9, 10**15])
def test_buckets_are_round_and_never_too_many(end_ns: int) -> None:
    width = bucket_width(end_ns)
    assert str(width).rstrip("0") in ("1", "2", "5")
    assert end_ns // width + 1 <= 121 or end_ns > 5 * 10**12 * 120


def test_lanes_hold_successors_and_never_overlap() -> None:
    recorder = canned.Recorder()
    canned.traffic(recorder, 9, seconds=20)
    history = recorder.history()
    ops = operations(history)
    assert len(history.processes) > len(ops.lane_names) >= 6
    last: dict[int, int] = {}
    for row in range(len(ops)):
        lane = ops.lane_of_process[int(ops.process[row])]
        assert int(ops.invoke[row]) > last.get(lane, -1)
        last[lane] = int(history.pair[ops.invoke[row]])


def test_concurrency_and_operations_in_faults_against_brute_force() -> None:
    recorder = canned.Recorder()
    canned.traffic(recorder, 10, seconds=3)
    history = recorder.history()
    ops = operations(history)
    spans = [(op.invoke_ns, op.complete_ns) for op in history.ops() if op.complete_ns >= 0]
    most = max(sum(a <= t <= b for a, b in spans) for t, _ in spans)
    assert concurrency(ops) == most
    fault = Fault(1, "kill", 1000 * MS, 1500 * MS)
    hit = sum(a <= fault.end_ns and b >= fault.begin_ns for a, b in spans)
    assert inside_faults(ops, [fault], 3000 * MS) == hit
    assert inside_faults(ops, [Fault(1, "kill", 0, -1, outcome="skipped")], 3000 * MS) == 0


def test_a_history_without_times_gets_positions() -> None:
    recorder = canned.Recorder()
    recorder.op(0, "write", 1, 2, asked=1, answered=1)
    history, real = timed(recorder.history(timed=False))
    assert not real and history.time_ns.tolist() == [0, 1000]
    assert timed(history) == (history, True)


# Words --------------------------------------------------------------------------------------------


def test_the_op_table_shows_overlap() -> None:
    recorder = canned.Recorder()
    recorder.op(0, "write", 1, 4, asked=1, answered=1)
    recorder.op(1, "read", 2, 3, answered=0)
    recorder.op(2, "cas", 5, None, asked=[1, 2], type="info")
    assert op_table(list(recorder.history().ops()), marked=[1]) == "\n".join([
        "+----------+-----------+-----------+------------+",
        "| time (s) | process 0 | process 1 | process 2  |",
        "+----------+-----------+-----------+------------+",
        "| 0.001000 | [ write 1 |           |            |",
        "| 0.002000 |   |       | [ read    |            |",
        "| 0.003000 |   |       | ] -> 0 << |            |",
        "| 0.004000 | ] ok      |           |            |",
        "| 0.005000 |           |           | [ cas 1->2 |",
        "| never    |           |           | ? unknown  |",
        "+----------+-----------+-----------+------------+",
    ])  # fmt: skip


def test_values_and_labels() -> None:
    assert [show(v) for v in (None, 1, "a b", "a", [1, None], {"a": 1}, True, 1.5)] == [
        "nil", "1", '"a b"', "a", "[1 nil]", '{"a":1}', "true", "1.5",
    ]  # fmt: skip
    cas = Op(1, "cas", "x", [1, 2], [1, 2], "fail", 0, 1, 0, 1)
    assert op_label(cas) == "cas 1→2 ✗"
    assert op_label(Op(1, "read", "x", None, None, "ok", 0, 1, 0, 1)) == "read → nil"
    txn = Op(1, "txn", None, [["r", "x", None]], [["r", "x", [1]]], "ok", 0, 1, 0, 1)
    assert op_label(txn) == "txn r x → [1]"
    assert fault_value([["n1"], ["n2", "n3"]]) == "{n1} | {n2, n3}"
    assert clip("abcdef", 3) == "ab…"


def test_text_is_made_plain() -> None:
    assert plain("a\x1b[31m\u202eb\x00\ud800") == "a\\x1b[31m\\u202eb\\x00\\ud800"


@pytest.mark.parametrize(
    ("span", "words"),
    [(0, "0 ns"), (999, "999 ns"), (1500, "1.5 µs"), (12_345_678, "12.3 ms"), (10**9, "1 s"),
     (999_700_000, "1 s"), (119_400_000_000, "119 s"), (125 * 10**9, "2 min 5 s"),
     (7_200 * 10**9, "120 min"), (-1, "unknown")],
)  # fmt: skip
def test_durations(span: int, words: str) -> None:
    assert duration(span) == words


def test_kinds_of_fault_look_different() -> None:
    styles = fault_slots(["partition", "kill", "pause", "clock", "packets", "disk", "membership"])
    assert len({style.hatch for style in styles.values()}) == 7


def test_the_axis_keeps_order_and_marks_what_it_cuts() -> None:
    axis = BrokenAxis([0, 1000, 2000, 10**9], left_px=0, width_px=600)
    xs = [axis.x(t) for t in (0, 1000, 2000, 10**9)]
    assert xs == sorted(xs) and xs[-1] <= 601
    assert [gap.span_ns for gap in axis.breaks] == [10**9 - 2000]
    even = BrokenAxis([0, 10, 20, 30], left_px=0, width_px=300)
    assert even.breaks == [] and even.x(15) == pytest.approx(150)
    wide = BrokenAxis([0, 10, 20], left_px=0, width_px=100, spans=[(0, 10, 400)])
    assert wide.x(10) == pytest.approx(400) and wide.x(20) > 400


def test_sentences_come_from_the_most_telling_leaf() -> None:
    inner = Result("search", Verdict.UNKNOWN, reason="Budget spent.")
    fine = Result("stats", Verdict.VALID, reason="All well.")
    from reports.run_directory import sentence_of

    assert sentence_of([Result("all", Verdict.UNKNOWN, parts=[fine, inner])]) == (
        "search: Budget spent."
    )


def test_a_valid_run_whose_faults_never_bit_is_weak_without_evidence() -> None:
    from reports.run_directory import of_history

    fault = Fault(1, "kill", 0, 1, outcome="skipped")
    event = [Event(0, 0, 1, "invoke", "read"), Event(1, 1, 1, "ok", "read")]
    history = History.from_events(event, faults=[fault])
    run = of_history(history, [Result("c", Verdict.VALID)], name="x")
    assert overview.banner(run).css == "weak"


def test_what_led_to_a_broken_invariant_is_drawn(tmp_path: Path) -> None:
    html = page_of("broken_invariant", tmp_path)
    picture = html[html.index('class="sequence"') :].split("</svg>")[0]
    for words in ("down crashed", "1.2 s later", "clients", "deliver AppendEntries g3 after 8"):
        assert f">{words}" in picture, words
    assert "AppendEntries g3 after 0" not in picture  # the picture has the latest, the text has all
    assert "AppendEntries g3 after 0" in html
    assert picture.count("stuck-mark") == 2  # the crash and the violation


def test_a_story_that_is_none_is_passed_over(tmp_path: Path) -> None:
    for story in (None, 7, "words", [7], [{"time_ns": "x"}], [{}]):
        assert sequence.story_of({"story": story}) == []


def test_lanes_are_the_workers() -> None:
    """A worker goes on as its process plus the number of workers; others keep their own lanes."""

    def lanes(rows: list[tuple[int, str]], **header: object) -> list[list[int]]:
        events = [
            Event(n, n, process, type, "read", key="x") for n, (process, type) in enumerate(rows)
        ]
        history = History.from_events(events, header=dict(header))
        ops = operations(history)
        found: dict[int, list[int]] = {}
        for code, process in enumerate(history.processes):
            found.setdefault(ops.lane_of_process[code], []).append(int(process))
        return [sorted(found[lane]) for lane in sorted(found)]

    # Worker 1 gives up first, then worker 0: greedy packing would swap their lanes.
    rows = [(0, "invoke"), (1, "invoke"), (1, "info"), (0, "info"), (2, "invoke"), (3, "invoke")]
    assert lanes(rows, concurrency=2) == [[0, 2], [1, 3]]
    assert lanes(rows) == [[0, 2], [1, 3]], "the processes bear it out themselves"
    apart = [(0, "invoke"), (0, "ok"), (7, "invoke"), (7, "ok"), (0, "invoke"), (0, "ok")]
    assert lanes(apart) == [[0], [7]], "process 7 is no successor of process 0, which goes on"
    assert lanes(apart, concurrency=7) == [[0], [7]], "a header that cannot be is not believed"


def test_a_history_without_times_has_no_plots_and_no_rates(tmp_path: Path) -> None:
    events = [Event(0, -1, 0, "invoke", "read", key="x"), Event(1, -1, 0, "ok", "read", key="x")]
    history = History.from_events(events)
    path = tmp_path / "page.html"
    reports.render_history(history, [Result("register", Verdict.VALID)], path)
    html = path.read_text("utf-8")
    assert "there is nothing to measure" in html
    for plot in ('<canvas id="latency"', '<canvas id="rate"', 'id="strip"', "Longest time without"):
        assert plot not in html, plot


def test_the_full_page_shortens_nothing(tmp_path: Path) -> None:
    run = read_run(canned.read_skew(tmp_path / "t" / "r"))
    long = "k" * 5000
    events = [
        Event(0, 0, 0, "invoke", "write", key=long, value=long),
        Event(1, 1000, 0, "info", "write", key=long, value=long, error=long),
    ]
    run.history = History.from_events(events)
    assert len(full_page(run)) - len(page(run)) < 5000, "it is deflated"
    full, brief = (embedded_texts(make(run)) for make in (full_page, page))
    assert long in full["keys"] and long in full["values"] and long in full["errors"]
    assert long not in brief["keys"] + brief["values"] + brief["errors"]


def embedded_texts(html: str) -> dict[str, list[str]]:
    """The tables of texts that a page carries."""
    data = json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script>', html)[1])  # type: ignore[index]
    raw = unpack(data["blob"])
    return json.loads(raw[sum(size for _, size in data["columns"]) :])


# Return of service --------------------------------------------------------------------------------


def test_what_a_database_declares_is_beside_what_was_measured(tmp_path: Path) -> None:
    good, late = page_of("valid", tmp_path / "a"), page_of("slow_return", tmp_path / "b")
    assert "3 of 3 healings: an answer within the 20 s declared." in good
    assert '<p class="alarm">' not in good.split('id="return-of-service"')[1]
    assert "1 of 2 healings: no answer within the 3 s declared." in late
    assert "✕ BEYOND what is declared" in late and 'class="return-late"' in late
    assert "still: group g-n1 has intents of n2.1f.7 at n3" in late
    assert "1 BEYOND the 3 s declared" in late, "the first screen says so too"


def test_without_a_declared_bound_the_time_is_shown_and_not_judged(tmp_path: Path) -> None:
    run = read_run(canned.slow_return(tmp_path / "register" / "r"))
    stats = run.results[0].stats
    for name in ("bound_s", "beyond"):
        stats.pop(name)
    for row in stats["recoveries"]:
        del row["judged"]
    found = returns(run)
    assert found is not None and found.bound == "none" and not found.beyond
    assert {row.verdict for row in found.rows} == {"nothing is declared"}


@pytest.mark.parametrize(
    "recoveries",
    [None, 7, [], [7], [{"fault": []}], [{"fault": 99}], [{"fault": 1, "recovery_s": "x"}],
     [{"fault": 1, "nodes": 5, "groups": {"<b>": float("nan")}, "returned_at_s": -1}]],
)  # fmt: skip
def test_a_damaged_measurement_of_returns_breaks_no_page(recoveries: Any, tmp_path: Path) -> None:
    run = read_run(canned.slow_return(tmp_path / "register" / "r"))
    run.results[0].stats["recoveries"] = recoveries
    found = returns(run)
    assert found is None or found.rows[0].took == "never"
    assert "Return of service" in page(run) or found is None
