"""What a small file costs, from the start of the process to the verdict: processor and wall time.

    python bench/start.py [--runs 9]

Twenty operations of each of some models, judged by ``harness check`` in processes of their own, the
medians and the least. The processor time is that of user and system together, which is what counts
where other things run; for comparison, a Python that does nothing and one that imports numpy.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from checkers.history import Event, History, write_edn

#: The bar the project sets itself, in seconds.
WALL_S_MAX = 0.25

#: model -> a change and a question, each as (f, value, result); N is a number, S all so far
MODELS = {
    "register": (("write", "N", "N"), ("read", None, "N")),
    "list-append": (
        ("txn", [["append", 1, "N"]], [["append", 1, "N"]]),
        ("txn", [["r", 1, None]], [["r", 1, "S"]]),
    ),
    "rw-register": (
        ("txn", [["w", 1, "N"]], [["w", 1, "N"]]),
        ("txn", [["r", 1, None]], [["r", 1, "N"]]),
    ),
    "set-full": (("add", "N", "N"), ("read", None, "S")),
    "fifo-queue": (("enqueue", "N", "N"), ("dequeue", None, "N")),
}


def history(model: str, ops: int = 20) -> History:
    """Operations of a model, one after another."""

    def filled(value: object, number: int) -> object:
        if isinstance(value, list):
            return [filled(item, number) for item in value]
        return {"N": number, "S": list(range(1, number + 1))}.get(str(value), value)

    events: list[Event] = []
    for at in range(ops):
        f, value, result = MODELS[model][at % 2]
        for kind, said in (("invoke", value), ("ok", result)):
            index, told = len(events), filled(said, at // 2 + 1)
            events.append(Event(index, index, at % 3, kind, f, value=told))
    return History.from_events(events)


def cost(command: list[str], runs: int) -> str:
    """Medians and minima of a command's processor and wall time."""
    spent: list[tuple[float, float]] = []
    for _ in range(runs):
        before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(command, capture_output=True, check=True)
        wall_s, after = time.monotonic() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
        used_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        spent.append((used_s, wall_s))
    used, wall = zip(*spent)
    return (
        f"processor {statistics.median(used):.3f} s (least {min(used):.3f}), "
        f"wall {statistics.median(wall):.3f} s (least {min(wall):.3f}; at most {WALL_S_MAX})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    print(f"{'nothing':12}", cost([sys.executable, "-c", "pass"], runs))
    print(f"{'numpy':12}", cost([sys.executable, "-c", "import numpy"], runs))
    check = [sys.executable, "-m", "harness.cli", "check", "-m"]
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            path = Path(folder, f"{model}.edn")
            write_edn(history(model), path)
            print(f"{model:12}", cost([*check, model, str(path)], runs), flush=True)


if __name__ == "__main__":
    main()
