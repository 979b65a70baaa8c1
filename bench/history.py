"""How fast histories are read and written: ``python bench/history.py``.

Makes a million operations of a register (50 clients, 10 keys) once as our JSONL and once as Jepsen
EDN, loads each, and says operations a second of CPU time, the limits being 3 s and 30 s. Then the
same of 100,000 transactions that read long lists. With ``edn_format`` (PyPI) installed, it reads a
part of the same EDN, and the ratio is printed: of our general reader on that part, and of loading
the whole file. Exit code 1 if a limit is missed.

The first load of a large EDN file on a machine compiles for some seconds; that is done before, and
said.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from checkers.history import HistoryWriter, load, write_edn
from checkers.history import edn as our_edn
from checkers.history.importers import edn_scan

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


def measure(name: str, path: str, ops: int) -> tuple[bool, float]:
    """Load a file; print and judge the time; whether it is kept, and the seconds."""
    spent_s, history = timed(lambda: load(path))
    assert history.op_count == ops, history
    limit_s = LIMITS_S[name] * ops / 1e6
    megabytes = os.path.getsize(path) / 1e6
    print(
        f"load {name:<6} {ops} ops, {megabytes:.0f} MB: {spent_s:.2f} s CPU, "
        f"{ops / spent_s:,.0f} ops/s (limit {limit_s:g} s)"
    )
    return spent_s <= limit_s, spent_s


def write_transactions(path: str, count: int) -> int:
    """Appends to lists and reads of them, as EDN; returns how many lines."""
    rng, lists = random.Random(1), dict[int, list[str]]()
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count):
            asked, told = [], []
            for _ in range(rng.randint(1, 4)):
                key = number // 500 + rng.randrange(6)
                elements = lists.setdefault(key, [])
                if rng.random() < 0.5:
                    elements.append(str(len(elements) + 1))
                    told.append(f"[:append {key} {elements[-1]}]")
                    asked.append(told[-1])
                else:
                    asked.append(f"[:r {key} nil]")
                    told.append(f"[:r {key} [{' '.join(elements)}]]")
            for kind, micros in (("invoke", asked), ("ok", told)):
                value = " ".join(micros)
                file.write(
                    f"{{:type :{kind}, :process {number % 20}, :f :txn, :value [{value}], "
                    f":time {number}}}\n"
                )
    return 2 * count


def warm_up(path: str) -> None:
    """Compile what reads large files, or take it from the cache."""
    with open(path, encoding="utf-8") as file:
        line = file.readline()
    began_s = time.perf_counter()
    edn_scan.Scanner().scan(line)
    print(f"first use of the compiled reader: {time.perf_counter() - began_s:.1f} s")


def compare(path: str, maps: int, loaded_s: float) -> None:
    """Our readers against edn_format's, on the same lines."""
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
        f"maps/s, ratio {theirs_s / ours_s:.0f}; loading the whole file "
        f"{maps / loaded_s:,.0f} maps/s, ratio {maps / loaded_s * theirs_s / count:.0f}"
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
        kept, _ = measure("jsonl", jsonl, ops)
        spent_s, _ = timed(lambda: write_edn(load(jsonl), edn))
        print(f"write edn    {2 * ops} records: {spent_s:.2f} s CPU")
        warm_up(edn)
        fast, spent_s = measure("edn", edn, ops)
        kept = kept and fast
        compare(edn, 2 * ops, spent_s)
        lines = write_transactions(edn, ops // 10)
        megabytes = os.path.getsize(edn) / 1e6
        spent_s, history = timed(lambda: load(edn))
        assert history.op_count * 2 == lines
        print(
            f"load edn    {lines // 2} transactions, {megabytes:.0f} MB: {spent_s:.2f} s CPU, "
            f"{lines / spent_s:,.0f} maps/s, {megabytes / spent_s:.0f} MB/s"
        )
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory  {peak_mb:.0f} MB")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
