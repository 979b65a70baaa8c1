"""How long a report takes and how large it is: `python bench/report.py [operations ...]`.

Makes a seeded run of each size (100,000 and 1,000,000 operations unless told), 50 workers, 2 % of
unknown outcomes, a fault every ten seconds and one finding, writes it as a run directory, and
measures `reports.render`: reading, building, bytes. Budgets: 100,000 operations in under 2 MB and
3 s without reading the history; no page over 8 MB. Exit code 1 if a budget is missed.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

import reports
from checkers.core.verdict import Because, Finding, Result, Verdict
from checkers.history import Fault, History, write_jsonl
from reports.page import PAGE_BYTES_MAX, page
from reports.run_directory import read_run

WORKERS = 50
BUDGET_OPS = 100_000
BUDGET_BYTES = 2 << 20
BUDGET_BUILD_S = 3.0


def history_of(count: int) -> History:
    """A history of ``count`` operations as columns, about 5,000 a second."""
    rng = np.random.default_rng(7)
    took = (rng.lognormal(14.5, 0.6, count)).astype(np.int64)
    unknown = rng.random(count) < 0.02
    took[unknown] = 1_000_000_000
    worker = np.arange(count) % WORKERS
    begin = np.empty(count, dtype=np.int64)
    for one in range(WORKERS):
        mine = worker == one
        pause = rng.exponential(6e6, int(mine.sum())).astype(np.int64)
        spent = took[mine] + pause
        begin[mine] = np.cumsum(spent) - took[mine]
    crashes = np.zeros(count, dtype=np.int64)
    for one in range(WORKERS):
        mine = np.flatnonzero(worker == one)
        crashes[mine] = np.concatenate([[0], np.cumsum(unknown[mine])[:-1]])
    process = worker + WORKERS * crashes
    f = rng.integers(0, 3, count)
    refused = rng.random(count) < 0.1
    order = np.lexsort((np.tile([1, 0], count), np.stack([begin, begin + took], 1).ravel()))
    types, processes, functions, keys, times, values = [], [], [], [], [], []
    names = ("read", "write", "cas")
    for half in order.tolist():
        op, done = divmod(half, 2)
        name = names[f[op]]
        asked = {"read": None, "write": op, "cas": [op - 3, op]}[name]
        kind = "invoke" if not done else "info" if unknown[op] else "ok"
        kind = "fail" if kind == "ok" and name == "cas" and refused[op] else kind
        types.append(kind)
        processes.append(int(process[op]))
        functions.append(name)
        keys.append(f"k{op % 40}")
        times.append(int(begin[op] + done * took[op]))
        values.append(op - 17 if kind == "ok" and name == "read" else asked)
    end_ns = max(times)
    faults = [
        Fault(n, ("partition", "kill", "pause")[n % 3], at, at + 3_000_000_000, None, ["n1"])
        for n, at in enumerate(range(5_000_000_000, end_ns - 4_000_000_000, 10_000_000_000))
    ]
    header = {"test": "bench", "seed": 7, "nodes": ["n1", "n2", "n3"]}
    return History.from_columns(
        types=types, processes=processes, functions=functions, keys=keys, times_ns=times,
        values=values, faults=faults, header=header,
    )  # fmt: skip


def write_run(path: Path, count: int) -> None:
    """A run directory with one finding in the middle."""
    history = history_of(count)
    write_jsonl(history, path / "history.jsonl")
    middle = history.invocations[len(history.invocations) // 2 :][:3].tolist()
    steps = (Because("step", target=middle[0], state="x = 1"), Because("stuck", target=middle[1]))
    finding = Finding("nonlinearizable", "not linearizable", "Two.", ops=tuple(middle),
                      because=steps)  # fmt: skip
    found = {"verdict": "invalid", "run": {"test": "bench"}, "faults": history.faults,
             "results": [Result("linearizable", Verdict.INVALID, findings=[finding])]}  # fmt: skip
    (path / "results.json").write_bytes(msgspec.json.encode(found))


def measure(count: int) -> bool:
    """Measure one size and print a line; whether the budgets are kept."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        write_run(path, count)
        started_s = time.perf_counter()
        run = read_run(path)
        read_s = time.perf_counter() - started_s
        html = page(run)
        build_s = time.perf_counter() - started_s - read_s
        del run
        started_s = time.perf_counter()
        size = reports.render(path).stat().st_size
        render_s = time.perf_counter() - started_s
        assert len(html.encode()) == size
    kept = size <= PAGE_BYTES_MAX
    if count <= BUDGET_OPS:
        kept = size <= BUDGET_BYTES and build_s <= BUDGET_BUILD_S
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{count:>9,} operations: read {read_s:5.2f} s, build {build_s:5.2f} s, "
        f"render all {render_s:5.2f} s, {size / 1e6:5.2f} MB, peak {peak_mb:,.0f} MB "
        f"{'' if kept else '  OVER BUDGET'}",
        flush=True,
    )
    return kept


if __name__ == "__main__":
    sizes = [int(text.replace(",", "").replace("_", "")) for text in sys.argv[1:]]
    results = [measure(size) for size in sizes or [100_000, 1_000_000]]
    sys.exit(0 if all(results) else 1)
