"""Simulation: how fast, how sound, how sharp.

    python bench/simulation.py speed          events and virtual seconds a second on one core
    python bench/simulation.py seeds 200      that many seeds of the random profile; exit code 1 on
                                              any violation or liveness failure
    python bench/simulation.py ablations 100  in how many of so many seeds each ablation is found

The figures to beat are FoundationDB's 10:1 of simulated to real time and a 260-line prototype's 120
times real time per core; ours are of the real cores, storage and client sessions, invariants after
every event and the linearizability checker included.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

from checkers.core.verdict import Verdict
from cluster.ablations.registry import all_ablations
from cluster.simulation.world import MS, SECOND, World
from cluster.wire import Command
from harness.campaign.explore import SeedOutcome, explore, job_of
from harness.campaign.patterns import check_client_history


def speed(virtual_s: int = 30, clients: int = 10, think_ns: int = 20 * MS) -> None:
    """A fault-free run of three nodes and ten clients with default timings, then the checker."""
    for checked in (False, True):
        world = World(seed=1, check_invariants=checked)
        calls = [_Loop(world, f"c{number}", think_ns) for number in range(clients)]
        began_s = time.process_time()
        events = world.run_for(virtual_s * SECOND)
        run_s = time.process_time() - began_s
        ops = sum(loop.count for loop in calls)
        print(
            f"invariants {'on ' if checked else 'off'}: {virtual_s} virtual seconds, {events} "
            f"events, {ops} operations in {run_s:.2f} s: {events / run_s:,.0f} events/s, "
            f"{virtual_s / run_s:.0f} times real time"
        )
    from cluster.simulation.sessions import client_events

    history = client_events(world)
    check_client_history(history[:4])  # imports
    began_s = time.process_time()
    result = check_client_history(history)
    print(f"checker: {result.verdict.name} in {time.process_time() - began_s:.2f} s")


class _Loop:
    """A client: write, think, read, think."""

    def __init__(self, world: World, name: str, think_ns: int) -> None:
        self.count = 0
        self._world, self._think_ns = world, think_ns
        self._number = int(name[1:])
        self._session = world.session(name)
        self._random = world.rng("bench", name)
        world.at(self._number * MS, self._next)

    def _next(self) -> None:
        self.count += 1
        key = f"k{self._random.randrange(5)}"
        if self.count % 2:
            command = Command("put", key, (self._number * 1_000_000 + self.count,))
        else:
            command = Command("get", key)
        self._session.submit(command, done=self._done)

    def _done(self, outcome: object) -> None:
        self._world.at(self._think_ns, self._next)


def _say(outcome: SeedOutcome) -> None:
    if outcome.verdict is not Verdict.VALID:
        print(f"seed {outcome.seed}: {outcome.found_by or 'undecided'}: {outcome.sentence}")
        for line in outcome.trace:
            print(line)


def seeds(count: int, first: int = 0) -> int:
    """The intact system under many seeds; returns the exit code."""
    exploration = explore(seeds=range(first, first + count), progress=_say)
    print(exploration.summary())
    return exploration.exit_code


def ablations(count: int) -> int:
    """How often random profiles find each ablation: one where each seed draws its faults, and one
    with the declared nemesis only. Exit code 1 if neither finds it."""
    missed = 0
    print(f"{'ablation':<8} {'faults':<16} {'found':>10}  first seed  median seeds  by")
    for ablation in all_ablations():
        if not ablation.random:
            continue
        total = 0
        for nemesis in ("", ablation.nemesis):
            job = job_of(consensus=ablation.consensus, ablations=[ablation.id], nemesis=nemesis)
            found = explore(seeds=range(count), job=job).failures
            total += len(found)
            by = Counter(outcome.found_by for outcome in found)
            first = found[0].seed if found else "-"
            print(
                f"{ablation.id:<8} {nemesis or 'drawn':<16} {len(found):>4} of {count:<3} "
                f"{first:>11} {_median_seeds(len(found) / count):>13}  "
                + ", ".join(f"{name} {number}" for name, number in sorted(by.items()))
            )
        missed += not total
    return 1 if missed else 0


def _median_seeds(rate: float) -> str:
    """Seeds after which the chance to have found it passes one half."""
    if rate == 0:
        return "-"
    tries, missed = 1, 1 - rate
    while missed > 0.5:
        tries, missed = tries + 1, missed * (1 - rate)
    return str(tries)


def main(arguments: list[str]) -> int:
    """Run what was asked for."""
    match arguments:
        case [] | ["speed"]:
            speed()
            return 0
        case ["seeds", count]:
            return seeds(int(count))
        case ["seeds", count, first]:
            return seeds(int(count), int(first))
        case ["ablations", count]:
            return ablations(int(count))
    print(__doc__)
    return 254


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
