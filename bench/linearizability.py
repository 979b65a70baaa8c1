"""Benchmark of the linearizability checkers, beside Porcupine in the same run.

    python bench/linearizability.py                            our figures only
    python bench/linearizability.py --porcupine CHECKOUT       both; needs go
    python bench/linearizability.py --porcupine CHECKOUT --own its own test histories only
    python bench/linearizability.py --large                    also one million operations
    python bench/linearizability.py --hard 36                  only so many ambiguous histories

Both judge the same histories, read and parsed beforehand; only checking is timed. Our figure is
the best of three for the verdict alone and, apart, for the verdict with its minimal witness, which
Porcupine does not make. Of its own test histories (``test_data``: key-value and etcd) Porcupine's
figure is the best of three as well, and ours is also given with reading the files; of the others it
gets one try with a time limit (``--timeout-s``).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE.parent / "tests" / "checkers_lin"))

from lin_histories import register_history, with_stale_read  # noqa: E402

from checkers import History, Verdict, check, models  # noqa: E402
from checkers.history import load  # noqa: E402

Case = tuple[str, History, Any]


def build(checkout: Path, folder: Path) -> Path:
    """Compile the driver against a Porcupine checkout, outside of both."""
    go = shutil.which("go")
    if go is None:
        raise SystemExit("go is not installed; on Debian: apt-get install golang-go")
    shutil.copy(HERE / "porcupine_driver" / "main.go", folder / "main.go")
    (folder / "go.mod").write_text(
        "module driver\n\ngo 1.16\n\nrequire github.com/anishathalye/porcupine v0.0.0\n\n"
        f"replace github.com/anishathalye/porcupine => {checkout.resolve()}\n"
    )
    environment = dict(os.environ, GOFLAGS="-mod=mod", GOCACHE=str(folder / "cache"))
    subprocess.run([go, "build", "-o", "driver", "."], cwd=folder, env=environment, check=True)
    return folder / "driver"


def _word(value: Any) -> str | None:
    return None if value is None else str(value)


def events_for_porcupine(history: History, model: Any) -> list[list[Any]]:
    """The history as the driver reads it; unknown operations return at the end."""
    observed = model.parameters.get("failed_cas") == "observed"
    rows: list[tuple[int, list[Any]]] = []
    late = len(history)
    for number, op in enumerate(history.ops()):
        is_cas = op.f == "cas"
        if op.type == "fail" and not (observed and is_cas):
            continue
        a, b = map(_word, op.input) if is_cas else (_word(op.input), None)
        outcome = {"ok": 1, "fail": 0, "info": 2}[op.type]
        out = _word(op.output) if op.type == "ok" and op.f in ("read", "get") else None
        key = _word(op.key)
        rows.append((op.invoke, [1, number, key, op.f, a, b, None, 0]))
        end = op.complete if op.type != "info" else late + number
        rows.append((end, [0, number, key, op.f, None, None, out, outcome]))
    rows.sort(key=lambda row: row[0])
    return [row for _, row in rows]


def porcupine(driver: Path, cases: list[Case], timeout_s: float) -> dict[str, tuple[str, float]]:
    """Name -> (verdict, seconds) from the driver."""
    lines = (
        json.dumps(
            {
                "name": name,
                "model": "register",
                "timeout_s": timeout_s,
                "events": events_for_porcupine(history, model),
            }
        )
        for name, history, model in cases
    )
    done = subprocess.run(
        [str(driver)], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    found: dict[str, tuple[str, float]] = {}
    for line in done.stdout.splitlines():
        name, verdict, nanoseconds = line.split()
        found[name] = (verdict, int(nanoseconds) / 1e9)
    return found


def ours(history: History, model: Any, *, explain: bool, tries: int = 3) -> tuple[Verdict, float]:
    """(verdict, best seconds) of our checker."""
    best, verdict = float("inf"), Verdict.UNKNOWN
    for _ in range(tries):
        started = time.perf_counter()
        verdict = check(history, model, explain=explain).verdict
        best = min(best, time.perf_counter() - started)
    return verdict, best


def own_tests(checkout: Path) -> dict[str, list[Path]]:
    """The files of Porcupine's own test histories, by the model they are for."""
    data = checkout / "test_data"
    folders = {"key-value": data / "kv", "etcd": data / "jepsen"}
    return {
        name: [path for path in sorted(folder.iterdir()) if path.stat().st_size]
        for name, folder in folders.items()
    }


def own(driver: Path, checkout: Path, timeout_s: float) -> int:
    """Judge Porcupine's own test histories beside it; how many verdicts differ."""
    etcd, kv = models.cas_register(failed_cas="observed"), models.key_value(init="")
    differing = 0
    print("Porcupine's own histories, seconds of checking in all (r: ours by Porcupine's)")
    print(f"{'':<18} Porcupine    verdict      r    witness      r   + files")
    for name, paths in own_tests(checkout).items():
        model, started = etcd if name == "etcd" else kv, time.perf_counter()
        cases = [(path.stem, load(path), model) for path in paths]
        reading_s = time.perf_counter() - started
        tries = [porcupine(driver, cases, timeout_s) for _ in range(3)]
        plain_s = explained_s = peer_s = 0.0
        for case, history, _ in cases:
            verdict, seconds = ours(history, model, explain=False)
            plain_s += seconds
            explained_s += ours(history, model, explain=True)[1]
            peer_s += min(found[case][1] for found in tries)
            if (tries[0][case][0] == "true") is not (verdict is Verdict.VALID):
                differing += 1
                print(f"DIFFERS: {case}: ours {verdict.value}, Porcupine {tries[0][case][0]}")
        print(
            f"{name:<10}{len(cases):>8}{peer_s:>10.4f} {plain_s:>10.4f} {plain_s / peer_s:>6.2f} "
            f"{explained_s:>10.4f} {explained_s / peer_s:>6.2f} {reading_s + explained_s:>9.4f}",
            flush=True,
        )
    print(f"peak memory of this process: {peak_mb():.0f} MB\n")
    return differing


def peak_mb() -> float:
    """The most memory this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def generated(large: bool) -> list[Case]:
    """Register histories of several sizes: unique values, then ambiguous ones with unknowns."""
    cases: list[Case] = []
    model = models.cas_register()
    for ops, clients in [(1_000, 5), (1_000, 20), (10_000, 5), (10_000, 50), (100_000, 50)]:
        history = register_history(ops, clients=clients, unknown=0.0, cas=0.2, writes=0.3)
        cases.append((f"unique-{ops}x{clients}", history, model))
    mixed = register_history(10_000, clients=5, unknown=0.01, cas=0.3, writes=0.3, domain=5)
    cases.append(("ambiguous-10000x5-1%unknown", mixed, model))
    cases.append(("ambiguous-10000x5-stale", with_stale_read(mixed, age=100), model))
    if large:
        for cas in (0.0, 0.33):
            million = register_history(1_000_000, clients=50, unknown=0.05, cas=cas, writes=0.33)
            cases.append((f"unique-1000000x50-5%unknown-cas{cas:g}", million, model))
            cases.append((f"stale-1000000x50-cas{cas:g}", with_stale_read(million), model))
        observed = models.cas_register(failed_cas="observed")
        cases.append(("observed-1000000x50-5%unknown-cas0.33", million, observed))
    return cases


def _witness(findings: list[Any]) -> str:
    """How many operations the first witness has, and whether the slow judge confirmed it."""
    if not findings:
        return ""
    confirmed = "confirmed" if findings[0].detail["rechecked"] else "NOT CONFIRMED"
    return f", witness of {len(findings[0].ops)} operations, {confirmed}"


#: How a hard history is spoiled: where in it stale reads are planted, as parts of its length.
SPOILED = {
    "legal": [],
    "late": [0.9],
    "early": [0.05],
    "spread": [0.1, 0.3, 0.5, 0.7, 0.9],
    "many": [number / 41 for number in range(1, 41)],
    "dense": [0.5 + number / 400 for number in range(20)],
}


def hard(count: int) -> int:
    """Judge ambiguous histories within the default budget; 1 if one is left undecided.

    Ten thousand operations of five clients on five values, one in a hundred of unknown outcome;
    registers and compare-and-set registers, with stale reads planted in several ways.
    """
    undecided, times = 0, []
    cases = itertools.product(range(100, 101 + count), (0.0, 0.3), SPOILED.items())
    for seed, cas, (spoiled, places) in itertools.islice(cases, count):
        history = register_history(
            10_000, clients=5, unknown=0.01, cas=cas, writes=0.3, domain=5, seed=seed
        )
        for place in places:
            history = with_stale_read(history, age=100, at=place)
        model = models.cas_register()
        started, busy = time.perf_counter(), time.process_time()
        result = check(history, model, explain=False)
        wall_s, busy_s = time.perf_counter() - started, time.process_time() - busy
        times.append(busy_s)
        undecided += result.verdict is Verdict.UNKNOWN
        searched = result.stats["search"]["configurations"]
        print(
            f"{'cas-register' if cas else 'register':<13} seed {seed} {spoiled:<6} "
            f"{wall_s:8.2f} s  busy {busy_s:8.2f} s {searched:>9} configurations  "
            f"{result.verdict.value}",
            flush=True,
        )
    times.sort()
    print(
        f"{count} histories: {undecided} undecided; busy median {times[count // 2]:.2f} s, "
        f"longest {times[-1]:.2f} s"
    )
    return 1 if undecided else 0


def main() -> int:
    """Run and print; 1 if a verdict differs from Porcupine's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--porcupine", type=Path, help="a checkout of Porcupine")
    parser.add_argument("--own", action="store_true", help="Porcupine's own histories only")
    parser.add_argument("--timeout-s", type=float, default=5.0, help="for Porcupine, per history")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--hard", type=int, default=0, metavar="COUNT")
    options = parser.parse_args()
    if options.hard:
        return hard(options.hard)
    random.seed(1)
    cases = [] if options.own else generated(options.large)
    theirs: dict[str, tuple[str, float]] = {}
    differing = 0
    if options.porcupine:
        with tempfile.TemporaryDirectory() as folder:
            driver = build(options.porcupine, Path(folder))
            differing += own(driver, options.porcupine, options.timeout_s)
            small = [case for case in cases if case[1].op_count <= 100_000]
            theirs = porcupine(driver, small, options.timeout_s)
    if options.own:
        return 1 if differing else 0
    print(f"{'history':<42} {'ours':>10} {'explained':>10} {'Porcupine':>12}  verdict")
    for name, history, model in cases:
        verdict, plain_s = ours(history, model, explain=False)
        started = time.perf_counter()
        findings = check(history, model).findings
        explained_s = time.perf_counter() - started
        peer = theirs.get(name)
        shown = "-" if peer is None else f"{peer[1]:.3f} s"
        shown = f">{options.timeout_s:g} s" if peer and peer[0] == "unknown" else shown
        print(
            f"{name:<42} {plain_s:>8.3f} s {explained_s:>8.3f} s {shown:>12}  {verdict.value}"
            f"{_witness(findings)}",
            flush=True,
        )
        if peer and peer[0] != "unknown" and (peer[0] == "true") is not (verdict is Verdict.VALID):
            differing += 1
            print(f"DIFFERS: Porcupine says {peer[0]}")
    if options.large:
        started = time.perf_counter()
        result = check(cases[-1][1], models.cas_register(), linearization=True)
        print(
            f"\n1000000 operations, a legal order verified ({result.stats['verified_ops']} "
            f"operations in it): {time.perf_counter() - started:.3f} s, {result.verdict.value}"
        )
    print(f"\npeak memory of this process: {peak_mb():.0f} MB")
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
