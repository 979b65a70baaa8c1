"""How fast histories are read and written: ``python bench/history.py``.

Makes a million operations of a register (50 clients, 10 keys) once as our JSONL and once as Jepsen
EDN, loads each, and says operations a second of CPU time, the limits being 3 s and 30 s. With
``edn_format`` (PyPI) installed, a part of the same EDN goes through both readers and the ratio is
printed. Exit code 1 if a limit is missed.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from checkers.history import HistoryWriter, load, write_edn
from checkers.history import edn as our_edn

LIMITS_S = {"jsonl": 3.0, "edn": 30.0}
CLIENTS = 50

#: Lines of EDN given to the other reader, which reads some thousands a second.
COMPARED_LINES = 10_000


def write(path: str, ops: int) -> None:
    """A history of reads and writes, all clients invoking, then all completing."""
    with HistoryWriter(
        path, {"test": "register", "seed": 1, "nodes": ["n1", "n2", "n3"]}
    ) as writer:
        for start in range(0, ops, CLIENTS):
            for kind in ("invoke", "ok"):
                for process in range(min(CLIENTS, ops - start)):
                    f = "write" if process % 2 else "read"
                    value = start + process if process % 2 or kind == "ok" else None
                    writer.event(
                        kind,
                        process,
                        f,
                        time_ns=(start + process) * 1000,
                        key=f"k{process % 10}",
                        value=value,
                        node="n1" if kind == "invoke" else None,
                    )
            writer.flush()


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process, and what came of it."""
    began_s = time.process_time()
    found = work()
    return time.process_time() - began_s, found


def measure(name: str, path: str, ops: int) -> bool:
    """Load a file; print and judge the time."""
    spent_s, history = timed(lambda: load(path))
    assert history.op_count == ops, history
    limit_s = LIMITS_S[name] * ops / 1e6
    megabytes = os.path.getsize(path) / 1e6
    print(
        f"load {name:<6} {ops} ops, {megabytes:.0f} MB: {spent_s:.2f} s CPU, "
        f"{ops / spent_s:,.0f} ops/s (limit {limit_s:g} s)"
    )
    return spent_s <= limit_s


def compare(path: str) -> None:
    """Our reader against edn_format's, on the same lines."""
    try:
        import edn_format  # type: ignore[import-not-found]
    except ImportError:
        print("edn_format is not installed: no comparison")
        return
    with open(path, encoding="utf-8") as file:
        lines = [line for line, _ in zip(file, range(COMPARED_LINES))]
    theirs_s, _ = timed(lambda: [edn_format.loads(line) for line in lines])
    text = "".join(lines)
    ours_s, found = timed(lambda: our_edn.loads(text))
    assert len(found) == len(lines)
    count = len(lines)
    print(
        f"edn reader: ours {count / ours_s:,.0f} maps/s, edn_format {count / theirs_s:,.0f} "
        f"maps/s, ratio {theirs_s / ours_s:.0f}"
    )


def main() -> int:
    """Run it; 0 if the limits are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ops", type=int, default=1_000_000)
    ops = parser.parse_args().ops
    with tempfile.TemporaryDirectory() as folder:
        jsonl, edn = os.path.join(folder, "h.jsonl"), os.path.join(folder, "h.edn")
        spent_s, _ = timed(lambda: write(jsonl, ops))
        print(f"write jsonl  {2 * ops} records: {spent_s:.2f} s CPU, {2 * ops / spent_s:,.0f}/s")
        kept = measure("jsonl", jsonl, ops)
        spent_s, _ = timed(lambda: write_edn(load(jsonl), edn))
        print(f"write edn    {2 * ops} records: {spent_s:.2f} s CPU")
        kept = measure("edn", edn, ops) and kept
        compare(edn)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory  {peak_mb:.0f} MB")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
