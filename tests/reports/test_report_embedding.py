"""The columns in the page: what is packed is what is unpacked, within the limits.

The reader here is written from the description in ``reports.embed`` and shares no code with the
writer; the browser's reader is tested against the same pages in ``test_report_browser``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import canned
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import reports
from checkers.history import History
from reports.embed import OPS_MAX, embed, unpack, varints, zigzag
from reports.operations import operations
from reports.page import OPS_MIN, page, script_json
from reports.run_directory import of_history


def read_varints(raw: bytes) -> list[int]:
    """Base-128, least significant seven bits first."""
    numbers, value, shift = [], 0, 0
    for byte in raw:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            numbers.append(value)
            value, shift = 0, 0
    assert shift == 0, "the last number is cut"
    return numbers


def unzigzag(number: int) -> int:
    return -(number + 1) // 2 if number % 2 else number // 2


def rows_of(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The operations of a page's data, as dicts."""
    raw, at, columns = unpack(data["blob"]), 0, {}
    for name, size in data["columns"]:
        columns[name] = read_varints(raw[at : at + size])
        assert len(columns[name]) == data["count"]
        at += size
    tables = json.loads(raw[at:])
    rows, index, t = [], 0, 0
    for n in range(data["count"]):
        index += unzigzag(columns["index"][n])
        t += unzigzag(columns["t"][n])
        asked = columns["input"][n]
        rows.append({
            "index": index, "t": t, "d": columns["d"][n] - 1,
            "process": tables["processes"][columns["process"][n]],
            "f": tables["functions"][columns["f"][n]],
            "key": tables["keys"][columns["key"][n] - 1] if columns["key"][n] else None,
            "asked": tables["values"][asked],
            "answered": tables["values"][asked + unzigzag(columns["output"][n])],
            "outcome": columns["outcome"][n],
        })  # fmt: skip
    return rows


@given(st.lists(st.integers(0, 2**62), max_size=50))
def test_varints_against_the_definition(numbers: list[int]) -> None:
    assert read_varints(varints(np.array(numbers, dtype=np.int64))) == numbers


@given(st.lists(st.integers(-(2**40), 2**40), max_size=50))
def test_zigzag_returns(numbers: list[int]) -> None:
    packed = zigzag(np.array(numbers, dtype=np.int64))
    assert [unzigzag(int(n)) for n in packed] == numbers
    assert all(n >= 0 for n in packed.tolist())


def history(seed: int, seconds: float) -> History:
    recorder = canned.Recorder()
    canned.traffic(recorder, seed, seconds=seconds)
    recorder.op(50, "write", 1, None, asked="open", type="info", key=None)
    return recorder.history(faults=canned.some_faults())


def test_a_small_run_is_embedded_whole() -> None:
    made = history(11, 5)
    ops = operations(made)
    embedded = embed(made, ops, spans=[], must=[], end_ns=6 * 10**9)
    assert embedded.complete and embedded.data["density"] is None
    rows = rows_of(embedded.data)
    codes = {"ok": 1, "fail": 2, "info": 3}
    for row, op in zip(rows, made.ops(), strict=True):
        assert row["index"] == op.invoke and row["t"] == op.invoke_ns // 1000
        assert row["process"] == str(op.process) and row["f"] == op.f and row["key"] == op.key
        assert row["outcome"] == codes[op.type]
        if op.complete >= 0:
            assert row["d"] == op.complete_ns // 1000 - op.invoke_ns // 1000
        else:
            assert row["d"] == -1
        if op.type == "ok" and op.f == "read":
            assert row["asked"] == "nil" and row["answered"] == str(op.output)


def test_a_large_run_keeps_its_findings_whole_and_hides_no_failure() -> None:
    made = history(12, 30)
    ops = operations(made)
    must = [int(made.invocations[0]), int(made.invocations[-1])]
    span = (9_500_000_000, 9_600_000_000)
    embedded = embed(made, ops, spans=[span], must=must, end_ns=31 * 10**9, limit=1500)
    assert not embedded.complete and embedded.shown <= 1500 < len(ops)
    rows = rows_of(embedded.data)
    assert {row["index"] for row in rows} >= set(must)
    [[low, high]] = embedded.data["windows"]
    assert low * 1000 <= span[0] and span[1] <= high * 1000
    inside = {
        op.invoke for op in made.ops()
        if op.invoke_ns // 1000 <= high and op.complete_ns // 1000 >= low and op.complete >= 0
    }  # fmt: skip
    assert inside <= {row["index"] for row in rows}, "a window is complete or it is no window"
    density = embedded.data["density"]
    worst = np.frombuffer(unpack(density["blob"]), np.uint8).reshape(-1, density["slices"])
    for op in made.ops():
        if op.complete < 0:
            continue
        lane = ops.lane_of_process[made.processes.index(op.process)]
        first = op.invoke_ns * density["slices"] // (31 * 10**9 + 1)
        code = {"ok": 1, "fail": 2, "info": 3}[op.type]
        assert worst[lane, first] >= code, "a slice shows at least the worst outcome in it"


def test_the_page_keeps_its_limit_by_embedding_fewer(tmp_path: Path) -> None:
    run = of_history(history(13, 30), [], name="x")
    whole = page(run)
    small = page(run, bytes_max=len(whole) - 1)
    assert len(small.encode()) < len(whole.encode())
    found = re.search(r'id="data">(.*?)</script>', small, re.S)
    assert found is not None
    data = json.loads(found.group(1))
    assert not data["complete"] and data["count"] <= OPS_MAX
    assert "all near the findings, and a sample elsewhere" in small
    assert len(page(run, bytes_max=1)) > OPS_MIN, "below the least there is still a page"


def test_json_cannot_end_its_script_element() -> None:
    text = script_json({"a": "</script><!--&\u2028\u2029", "</b>": 1})
    assert not set(text) & set("<>&\u2028\u2029")
    assert json.loads(text) == {"a": "</script><!--&\u2028\u2029", "</b>": 1}


def test_time_and_memory_stay_small_for_a_hundred_thousand(tmp_path: Path) -> None:
    count = 100_000
    at = np.arange(2 * count) * 1000
    made = History.from_columns(
        types=["invoke", "ok"] * count,
        processes=[n // 2 % 50 for n in range(2 * count)],
        functions=["write"] * (2 * count),
        keys=[f"k{n // 2 % 100}" for n in range(2 * count)],
        times_ns=at.tolist(),
        values=[n // 2 for n in range(2 * count)],
    )
    out = reports.render_history(made, [], tmp_path / "page.html")
    assert out.stat().st_size < 2 << 20
