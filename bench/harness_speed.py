"""What the harness itself costs: recorded operations per second, simulation speed, start-up time.

    python bench/harness_speed.py [--seconds 5]

Recorded operations are those of a client that does nothing, so the figure is the ceiling the
harness sets for any system under test: one core does generator, scheduling, worker, and both
records of each operation. CPU time is what counts; wall time depends on who else runs here.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from checkers.history import load
from harness.databases.in_memory import NoopClient
from harness.interpreter import asyncio_driver
from harness.interpreter.faults import FaultRunner
from harness.interpreter.interpreter import Interpreter
from harness.nemesis.base import Context
from harness.recorder import Recorder
from harness.runner import run
from harness.spec import TestSpec
from workloads import generator as gen

#: The bars the project sets itself.
OPS_PER_S_MIN = 20_000
HELP_S_MAX = 0.3
SIMULATED_30_S_MAX = 3.0


class _Clock:
    """As much of an environment as workers need."""

    name, nodes, abilities = "bench", ("n1",), frozenset[str]()

    def __init__(self) -> None:
        self._start_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        return time.monotonic_ns() - self._start_ns

    def node(self, name: str) -> str:
        return name


async def _record(run_dir: Path, generator: Any, concurrency: int) -> tuple[int, float, float]:
    env: Any = _Clock()
    recorder = Recorder(run_dir, {"test": "bench", "seed": 1, "started": "", "nodes": ["n1"]})
    context = Context(env=env, db=None, rng=None, nodes=env.nodes)  # type: ignore[arg-type]
    interpreter = Interpreter(
        runtime=asyncio_driver.AsyncioRuntime(env.now_ns),
        env=env,
        nodes=env.nodes,
        make_client=NoopClient,
        recorder=recorder,
        faults=FaultRunner(nemeses={}, context=context, recorder=recorder, now_ns=env.now_ns),
        context=gen.Context.start(concurrency, seed=1),
    )
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    await interpreter.phase(generator)
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    await interpreter.close()
    recorder.close()
    return recorder.counts["invoke"], cpu_s, wall_s


def recorded(generator: Any, *, concurrency: int) -> tuple[int, float, float]:
    """Operations recorded by a generator's run, CPU seconds and wall seconds."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        found = asyncio_driver.run(_record(Path(directory), generator, concurrency))
        assert load(Path(directory) / "history.jsonl").op_count == found[0]
        return found


def simulated() -> tuple[int, float]:
    """Operations and CPU seconds of 30 virtual seconds under four kinds of faults."""
    with tempfile.TemporaryDirectory(prefix="bench-") as store:
        spec = TestSpec(
            env="sim",
            nemesis=("partition", "kill", "pause", "clock"),
            seed=7,
            store=store,
            no_report=True,
            quiet=True,
        )
        began_s = time.process_time()
        outcome = run(spec, say=lambda line: None)
        took_s = time.process_time() - began_s
        return load(outcome.run_dir / "history.jsonl").op_count, took_s


def help_s(tries: int = 5) -> float:
    """Best wall time of ``harness --help``."""
    times = []
    for _ in range(tries):
        began_s = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "harness.cli", "--help"], check=True, capture_output=True
        )
        times.append(time.perf_counter() - began_s)
    return min(times)


def main() -> int:
    """Measure everything; the exit code is 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measurement")
    seconds = parser.parse_args().seconds
    reads_writes = gen.mix(gen.reads(10), gen.writes(10))
    with_cas = gen.mix(gen.reads(10), gen.writes(10), gen.cas(10))
    rows = [
        ("reads, writes", reads_writes, 10),
        ("reads, writes, cas", with_cas, 10),
        ("reads, writes; 100 workers", reads_writes, 100),
        ("reads, writes at 20 000/s", reads_writes.rate(20_000), 10),
    ]
    good = True
    for title, generator, concurrency in rows:
        ops, cpu_s, wall_s = recorded(generator.time_limit(seconds), concurrency=concurrency)
        print(f"{title:<28} {ops / cpu_s:>9,.0f} ops/CPU s  {ops / wall_s:>9,.0f} ops/s")
        good &= ops / cpu_s >= OPS_PER_S_MIN
    ops, took_s = simulated()
    print(f"{'30 virtual s, four faults':<28} {took_s:>9.2f} CPU s      {ops:>9,} operations")
    good &= took_s < SIMULATED_30_S_MAX
    best_s = help_s()
    print(f"{'harness --help':<28} {best_s:>9.3f} s")
    good &= best_s < HELP_S_MAX
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
