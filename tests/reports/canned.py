"""Canned runs for the tests of reports: small, of every shape, and the same on every machine.

Each entry of :data:`RUNS` writes a run directory as the harness would. No clock and no unseeded
randomness is used: the reports of these runs are golden.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from checkers.core.verdict import Because, Finding, Result, Verdict
from checkers.history import Event, Fault, History, write_jsonl
from checkers.judges.recovery import recovery

MS = 1_000_000
STARTED = "2026-11-22T18:00:00Z"
NODES = ["n1", "n2", "n3"]


class Recorder:
    """Builds events in time order from whole operations."""

    def __init__(self) -> None:
        self._ops: list[tuple[int, int, dict[str, Any]]] = []

    def op(
        self, process: Any, f: str, begin_ms: float, end_ms: float | None, *, key: Any = "x",
        asked: Any = None, answered: Any = None, type: str = "ok", node: str | None = None,
        error: Any = None,
    ) -> None:  # fmt: skip
        """Add an operation; ``end_ms`` None for one without completion."""
        stop = -1 if end_ms is None else int(end_ms * MS)
        facts = {"process": process, "f": f, "key": key, "asked": asked, "answered": answered,
                 "type": type, "node": node, "error": error}  # fmt: skip
        self._ops.append((int(begin_ms * MS), stop, facts))

    def history(self, *, faults: list[Fault] | None = None, timed: bool = True) -> History:
        """The history of the operations added."""
        halves: list[tuple[int, int, int, Event]] = []
        for n, (begin, end, op) in enumerate(self._ops):
            shared = {"process": op["process"], "f": op["f"], "key": op["key"], "node": op["node"]}
            halves.append(
                (begin, 1, n, Event(0, begin, type="invoke", value=op["asked"], **shared))
            )
            if end >= 0:
                value = op["answered"] if op["type"] == "ok" else op["asked"]
                done = Event(0, end, type=op["type"], value=value, error=op["error"], **shared)
                halves.append((end, 0, n, done))
        halves.sort(key=lambda half: half[:3])
        events = [half[3] for half in halves]
        if not timed:
            events = [msgspec.structs.replace(event, time_ns=-1) for event in events]
        header = {"test": "register", "seed": 7, "started": STARTED, "nodes": NODES}
        return History.from_events(events, faults=faults or [], header=header)


def invokes(history: History, *wanted: tuple[Any, str, Any]) -> list[int]:
    """Invocation indices of the operations with this process, f and value."""
    found = []
    for process, f, value in wanted:
        index = next(
            op.invoke for op in history.ops()
            if op.process == process and op.f == f and op.value == value
        )  # fmt: skip
        found.append(index)
    return found


def traffic(recorder: Recorder, seed: int, *, seconds: float = 30.0, workers: int = 6) -> None:
    """Seeded reads, writes and compare-and-set of six workers, some unknown under the faults."""
    rng = random.Random(seed)
    value = 100
    for worker in range(workers):
        process, now = worker, rng.uniform(0, 40)
        while now < seconds * 1000:
            slow = 9000 < now < 14000 or 20000 < now < 22000
            took = rng.lognormvariate(2.1 if slow else 0.6, 0.7)
            f = rng.choice(["read", "read", "write", "cas"])
            value += 1
            asked: Any = {"read": None, "write": value, "cas": [value - 9, value]}[f]
            node = NODES[(worker + int(now // 5000)) % 3]
            lost = slow and rng.random() < 0.10
            kind = "fail" if (f == "cas" and rng.random() < 0.4) or (lost and f == "read") else "ok"
            if lost and f != "read":
                kind, took = "info", 1000.0
            error = {"info": "timeout after 1 s", "fail": "precondition failed"}.get(kind)
            answered = value - 3 if f == "read" else asked
            recorder.op(process, f, now, now + took, key=f"k{value % 5}", asked=asked,
                        answered=answered, type=kind, node=node, error=error)  # fmt: skip
            now += took + rng.expovariate(1 / 60)
            process = process + workers if kind == "info" else process


def some_faults() -> list[Fault]:
    """A partition, a kill, a pause and one that was skipped."""
    return [
        Fault(1, "partition", 9000 * MS, 14000 * MS, [["n1"], ["n2", "n3"]], ["n1", "n2", "n3"],
              "installed", {"dropped_messages": 412}),
        Fault(2, "kill", 16000 * MS, 17500 * MS, None, ["n2"], "installed", {"exit_signal": 9}),
        Fault(3, "pause", 20000 * MS, 22000 * MS, None, ["n3"], "installed", {"state": "T"}),
        Fault(4, "clock", 24000 * MS, 24000 * MS, {"offset_ms": 500}, ["n1"], "skipped", {}),
    ]  # fmt: skip


def facts(history: History | None, **changes: Any) -> dict[str, Any]:
    """The ``run`` of results.json."""
    base = {
        "test": "register", "workload": "register", "db": "reference", "env": "local",
        "nemesis": "partition,kill,pause", "nodes": NODES, "concurrency": 6, "rate": 100,
        "time_limit_s": 30, "seed": 7, "started": STARTED, "duration_ns": 31_000 * MS,
        "commit": "3e359b4", "version": "0.1.0", "variant": "intact",
    }  # fmt: skip
    if history is not None:
        codes = history.outcomes().tolist()
        base["ops"] = {"ok": codes.count(1), "fail": codes.count(2), "info": codes.count(3)}
    return {**base, **changes}


def write_run(
    path: Path, history: History | None, results: list[Result], *, sentence: str = "",
    weak: list[str] | None = None, changes: dict[str, Any] | None = None,
    verdict: Verdict | None = None, faults: list[Fault] | None = None, judged: bool = True,
) -> Path:  # fmt: skip
    """Write a run directory as the harness would."""
    path.mkdir(parents=True, exist_ok=True)
    run = facts(history, **(changes or {}))
    command = "harness test --db reference --workload register --nemesis partition,kill,pause " \
        "--env local --nodes n1,n2,n3 --time-limit 30 --seed 7"  # fmt: skip
    spec = {**{k: v for k, v in run.items() if k != "ops"}, "command": command}
    (path / "spec.json").write_bytes(msgspec.json.encode(spec))
    if history is not None:
        write_jsonl(history, path / "history.jsonl")
    merged = verdict or Verdict.merge_all(result.verdict for result in results)
    listed = history.faults if faults is None and history is not None else faults or []
    installed = sum(fault.outcome == "installed" for fault in listed)
    if judged:
        found = {
            "format": "results/1", "verdict": merged.value, "sentence": sentence,
            "results": results, "run": run, "faults": listed,
            "evidence": {"faults_installed": installed, "faults_bit": installed,
                         "leader_changes": 3, "weak": weak or []},
            "replay": "harness replay store/register/20261122T180000Z-7",
        }  # fmt: skip
        (path / "results.json").write_bytes(msgspec.json.encode(found))
    for name in NODES:
        folder = path / "nodes" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log").write_text(_log(name))
    events = [
        {"t": 400 * MS, "event": "role", "role": "leader", "generation": 1},
        {"t": 9600 * MS, "event": "role", "role": "follower", "generation": 2},
    ]
    (path / "nodes" / "n1" / "events.jsonl").write_bytes(
        b"".join(msgspec.json.encode(event) + b"\n" for event in events)
    )
    events = [
        {"t": 9500 * MS, "event": "role", "role": "leader", "generation": 2},
        {"t": 16000 * MS, "event": "killed"},
    ]
    (path / "nodes" / "n2" / "events.jsonl").write_bytes(
        b"".join(msgspec.json.encode(event) + b"\n" for event in events)
    )
    return path


def _log(name: str) -> str:
    lines = ['{"event":"listening","ts":"2026-11-22T17:59:59.200Z"}']
    for second in range(30):
        stamp = f"2026-11-22T18:00:{second:02d}.{(second * 37) % 1000:03d}Z"
        lines.append(f'{{"ts":"{stamp}","level":"info","event":"heartbeat","node":"{name}"}}')
    if name == "n2":
        lines.insert(14, '{"ts":"2026-11-22T18:00:12.300Z","event":"panic: term went backwards"}')
    return "\n".join(lines) + "\n"


def stale_read(path: Path) -> Path:
    """INVALID: a read misses a write that was acknowledged, under a partition."""
    recorder = Recorder()
    traffic(recorder, 1)
    recorder.op(91, "write", 11_200, 11_204, asked=1, answered=1, node="n2", key="x")
    recorder.op(93, "write", 12_031.204, 12_036.7, asked=2, answered=2, node="n2", key="x")
    recorder.op(97, "read", 12_040.1, 12_041.9, answered=1, node="n1", key="x")
    recorder.op(95, "cas", 12_034.0, 13_034.0, asked=[2, 3], type="info", node="n1",
                error="timeout after 1 s", key="x")  # fmt: skip
    history = recorder.history(faults=some_faults())
    first, second, read, cas = invokes(
        history, (91, "write", 1), (93, "write", 2), (97, "read", 1), (95, "cas", [2, 3])
    )
    sentence = (
        "Key x: after process 93's write of 2 completed (t=12.037 s), process 97 read 1 "
        "(t=12.040 s) during partition {n1} | {n2, n3}."
    )
    finding = Finding(
        kind="nonlinearizable", title="not linearizable", sentence=sentence, key="x",
        ops=(first, second, read),
        because=(
            Because("step", target=first, key="x", value=1, state="x = 1", text="write 1"),
            Because("step", target=second, key="x", value=2, state="x = 2", text="write 2"),
            Because("stuck", target=read, key="x", value=1, state="x = 2",
                    text="process 97 read x = 1, but x is 2"),
            Because("stuck", target=cas, key="x", value=[2, 3], state="x = 2",
                    text="process 95's cas 2→3 is legal, but then x is 3 and the read of 1 stays"),
        ),
        breaks="linearizable",
    )  # fmt: skip
    results = [
        Result("linearizable", Verdict.INVALID, findings=[finding], engine="zones",
               stats={"keys": 6, "ops": history.op_count}, elapsed_s=0.084,
               budget={"time_s": 60.0, "memory_mb": 4096.0}),
        Result("availability", Verdict.VALID, reason="97.4% of operations succeeded.",
               elapsed_s=0.004),
        Result("recovery", Verdict.VALID, reason="Recovered within 0.61 s of each heal.",
               elapsed_s=0.002),
    ]  # fmt: skip
    return write_run(path, history, results, sentence=sentence, changes={"variant": "A30"})


def read_skew(path: Path) -> Path:
    """INVALID: a cycle of transactions with one anti-dependency, and proofs."""
    recorder = Recorder()
    recorder.op(
        0,
        "txn",
        100,
        118,
        key=None,
        asked=[["append", "x", 1], ["append", "y", 1]],
        answered=[["append", "x", 1], ["append", "y", 1]],
    )
    recorder.op(
        1,
        "txn",
        130,
        190,
        key=None,
        asked=[["r", "x", None], ["r", "y", None]],
        answered=[["r", "x", [1]], ["r", "y", [1, 2]]],
    )
    recorder.op(
        2,
        "txn",
        140,
        165,
        key=None,
        asked=[["append", "x", 2], ["append", "y", 2]],
        answered=[["append", "x", 2], ["append", "y", 2]],
    )
    recorder.op(
        3, "txn", 400, 420, key=None, asked=[["r", "x", None]], answered=[["r", "x", [1, 2]]]
    )
    history = recorder.history(faults=[Fault(1, "kill", 150 * MS, 155 * MS, None, ["n2"])])
    _, t2, t3, t4 = (int(index) for index in history.invocations)
    proof = (
        Because(
            "order", source=t4, key="x", value=[1, 2], text="T3 read x as [1 2], so 1 came before 2"
        ),
    )
    finding = Finding(
        kind="G-single", title="G-single (read skew): saw part of a transaction",
        sentence="T1 read x without T2's append of 2 but y with it.", ops=(t2, t3),
        because=(
            Because("rw", source=t2, target=t3, key="x", value=2, proof=proof,
                    text="T1 < T2, because T1 did not observe T2's append of 2 to x"),
            Because("wr", source=t3, target=t2, key="y", value=2,
                    text="T2 < T1, because T1 observed T2's append of 2 to y"),
        ),
        breaks="snapshot-isolation",
        detail={"not_refuted": "read-committed"},
    )  # fmt: skip
    result = Result(
        "list-append", Verdict.INVALID, findings=[finding], engine="elle", elapsed_s=0.01
    )
    return write_run(path, history, [result], sentence=finding.sentence,
                     changes={"workload": "list-append", "duration_ns": 500 * MS})  # fmt: skip


def lost_elements(path: Path) -> Path:
    """INVALID: elements of a set that were acknowledged and then lost."""
    recorder = Recorder()
    for n in range(20):
        recorder.op(n % 4, "add", 50 * n + 2, 50 * n + 20, key=None, asked=n, answered=n)
    recorder.op(8, "read", 1200, 1210, key=None, answered=[n for n in range(20) if n != 7])
    recorder.op(8, "read", 2200, 2210, key=None, answered=[n for n in range(20) if n not in (7, 9)])
    history = recorder.history(faults=[Fault(1, "pause", 300 * MS, 700 * MS, None, ["n1"])])
    add7, add9 = invokes(history, (3, "add", 7), (1, "add", 9))
    reads = [op.invoke for op in history.ops() if op.f == "read"]
    finding = Finding(
        kind="lost", title="2 elements lost",
        sentence="Elements 7 and 9 were acknowledged, and no read after 2.200 s has them.",
        ops=(add7, add9, *reads),
        because=(Because("lost", source=add7, target=reads[0], value=7,
                         text="7 was acknowledged and never read"),),
        detail={"elements": [
            {"element": 7, "attempted": add7, "acknowledged": add7 + 1, "absent_since": reads[0]},
            {"element": 9, "attempted": add9, "acknowledged": add9 + 1, "first_seen": reads[0],
             "last_seen_ns": 1205 * MS, "absent_since": reads[1]},
        ]},
    )  # fmt: skip
    result = Result("set-full", Verdict.INVALID, findings=[finding], elapsed_s=0.002)
    return write_run(path, history, [result], changes={"workload": "set", "duration_ns": 2300 * MS})


def two_holders(path: Path) -> Path:
    """INVALID: a lock with two holders at a time."""
    recorder = Recorder()
    recorder.op(0, "acquire", 10, 14, key="lock", answered=1, node="n1")
    recorder.op(1, "acquire", 30, 36, key="lock", answered=1, node="n2")
    recorder.op(0, "release", 50, 52, key="lock", node="n1")
    history = recorder.history()
    a, b, c = (int(index) for index in history.invocations)
    finding = Finding(
        kind="overlap", title="two holders of one lock", key="lock", ops=(a, b, c),
        sentence="Processes 0 and 1 both held lock from 0.036 s to 0.050 s.",
        detail={"holders": [{"process": 0, "begin_ns": 14 * MS, "end_ns": 50 * MS},
                            {"process": 1, "begin_ns": 36 * MS}]},
    )  # fmt: skip
    result = Result("lock", Verdict.INVALID, findings=[finding], elapsed_s=0.001)
    return write_run(path, history, [result], changes={"workload": "lock", "duration_ns": 60 * MS})


def returned(history: History, declared_s: float) -> Result:
    """How soon the system answered again, as the harness measures it."""
    return msgspec.structs.replace(recovery(declared_s=declared_s)(history), elapsed_s=0.002)


def valid(path: Path) -> Path:
    """VALID, well exercised."""
    recorder = Recorder()
    traffic(recorder, 2)
    history = recorder.history(faults=some_faults())
    results = [
        Result("linearizable", Verdict.VALID, engine="zones", elapsed_s=0.07,
               reason=f"{history.op_count} operations on 5 keys have a legal order."),
        Result("availability", Verdict.VALID, reason="98.1% of operations succeeded.",
               elapsed_s=0.003),
        returned(history, 20),
        Result("leftovers", Verdict.VALID, stats={"clean_s": 1.2, "bound_s": 30.0, "left": ""},
               reason="1.200 s after healing nothing of the faults was left in the nodes; "
               "30 s are declared"),
    ]  # fmt: skip
    return write_run(path, history, results)


def slow_return(path: Path) -> Path:
    """VALID, but after a partition nothing was answered for 4 s, and 3 s are declared."""
    recorder = Recorder()
    for number in range(120):
        begin = 100.0 * number
        late = 2000 <= begin < 9000
        if not 4000 <= begin < 5000:
            recorder.op(number if late else number % 3, "write", begin, begin + 40, asked=number,
                        type="info" if late else "ok", node=NODES[number % 3],
                        error="timed out" if late else None)  # fmt: skip
    faults = [
        Fault(1, "partition", 2000 * MS, 4000 * MS, [["n1"], ["n2", "n3"]], ["n1", "n2", "n3"],
              "installed", {"dropped_messages": 12}),
        Fault(2, "kill", 10_000 * MS, 10_500 * MS, None, ["n2"], "installed", {"exit_signal": 9}),
    ]  # fmt: skip
    history = recorder.history(faults=faults)
    left = Result("leftovers", Verdict.VALID, stats={"clean_s": None, "bound_s": 4.0,
                  "left": "group g-n1 has intents of n2.1f.7 at n3"},
                  reason="4.000 s after healing there was still: group g-n1 has intents of n2.1f.7 "
                  "at n3; BEYOND the bound, 4 s are declared")  # fmt: skip
    reasons = ["once nothing was answered within 3 s of a healing, as declared"]
    return write_run(path, history, [returned(history, 3), left], weak=reasons,
                     changes={"duration_ns": 12_000 * MS})  # fmt: skip


def weak(path: Path) -> Path:
    """VALID, but hardly anything was tried."""
    recorder = Recorder()
    traffic(recorder, 3, seconds=4, workers=2)
    history = recorder.history()
    result = Result("linearizable", Verdict.VALID, engine="zones", elapsed_s=0.001)
    reasons = ["No fault was injected.", "At most 2 operations were open at a time."]
    return write_run(path, history, [result], weak=reasons,
                     changes={"nemesis": "none", "duration_ns": 4100 * MS})  # fmt: skip


def unknown(path: Path) -> Path:
    """UNKNOWN: a budget was spent."""
    recorder = Recorder()
    traffic(recorder, 4, seconds=12)
    history = recorder.history(faults=some_faults()[:1])
    part = Result(
        "linearizable",
        Verdict.UNKNOWN,
        engine="search",
        elapsed_s=60.0,
        reason="Time budget of 60 s spent after 41,202,118 steps; the first 1,204 "
        "operations of key k3 are certified.",
        budget={"time_s": 60.0},
    )
    stats = Result("stats", Verdict.VALID, reason="All functions completed.", elapsed_s=0.001)
    whole = Result("all", Verdict.UNKNOWN, parts=[part, stats], elapsed_s=60.0)
    return write_run(path, history, [whole], changes={"duration_ns": 13_000 * MS})  # fmt: skip


def crashed_checker(path: Path) -> Path:
    """UNKNOWN and INVALID together: the violation is told first."""
    recorder = Recorder()
    recorder.op(0, "write", 1, 2, asked=1, answered=1)
    recorder.op(1, "read", 3, 4, answered=9)
    history = recorder.history()
    write, read = (int(index) for index in history.invocations)
    finding = Finding("garbage", "read of a value nobody wrote", "Process 1 read x = 9.", key="x",
                      ops=(write, read), because=(Because("stuck", target=read, key="x", value=9,
                      state="x = 1", text="process 1 read 9, which nobody wrote"),))  # fmt: skip
    broken = Result(
        "no-time-travel",
        Verdict.UNKNOWN,
        reason="KeyError: 'x'",
        stats={"traceback": "Traceback (most recent call last): ..."},
    )
    invalid = Result("linearizable", Verdict.INVALID, findings=[finding])
    return write_run(path, history, [broken, invalid], changes={"duration_ns": 5 * MS})


def not_judged(path: Path) -> Path:
    """No results.json: the harness was killed, and the history's last line is torn."""
    recorder = Recorder()
    traffic(recorder, 5, seconds=3)
    run = write_run(path, recorder.history(), [], judged=False)
    whole = (run / "history.jsonl").read_bytes()
    (run / "history.jsonl").write_bytes(whole[: len(whole) * 2 // 3])
    return run


def torn(path: Path) -> Path:
    """results.json is torn, history.jsonl is no history, no node has files."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "results.json").write_text('{"format":"results/1","verdict":"inva')
    (path / "history.jsonl").write_text("this is no history\n")
    return path


def no_history(path: Path) -> Path:
    """INVALID by results.json alone: sentences without pictures."""
    run = stale_read(path)
    (run / "history.jsonl").unlink()
    return run


def without_times(path: Path) -> Path:
    """INVALID, from a foreign history without times."""
    recorder = Recorder()
    recorder.op(0, "write", 1, 2, asked="a", answered="a")
    recorder.op(1, "write", 3, 9, asked="b", answered="b")
    recorder.op(2, "read", 10, 11, answered="a")
    history = recorder.history(timed=False)
    a, b, read = (int(index) for index in history.invocations)
    finding = Finding("nonlinearizable", "not linearizable", "Process 2 read a after b.", key="x",
                      ops=(a, b, read), because=(
                          Because("step", target=a, state="x = a"),
                          Because("step", target=b, state="x = b"),
                          Because("stuck", target=read, text="process 2 read a, but x is b"),
                          Because("realtime", source=b, target=read, text="b ended before"),
                      ))  # fmt: skip
    return write_run(path, history, [Result("linearizable", Verdict.INVALID, findings=[finding])],
                     changes={"duration_ns": -1})  # fmt: skip


def broken_invariant(path: Path) -> Path:
    """INVALID by an invariant inside: no operation of a client is to blame."""
    recorder = Recorder()
    traffic(recorder, 6, seconds=3, workers=3)
    told = [
        (412, "note", "", "n1", "leader-elected generation=2"),
        (903, "down", "", "n1", "crashed"),
        (2100, "start", "", "n1", "entries=0"),
        (2309, "note", "", "n3", "leader-elected g=3"),
    ]
    told += [(2400 + 5 * n, "deliver", "n3", "n1", f"AppendEntries g3 after {n}") for n in range(9)]
    told += [
        (2450, "client", "client-4.1", "n3", "put k3 7 (client-4.1 #2)"),
        (2451, "reply", "n3", "client-4.1", "ok None at 9"),
        (2452, "persisted", "", "n1", "14"),
        (2453, "deliver", "n1", "n3", "AppendReply g3"),
    ]
    names = ("time_ns", "kind", "source", "target", "words")
    story = [dict(zip(names, (at * MS, *rest))) for at, *rest in told]
    sentence = (
        "At 2.453000 s the invariant durable-log was broken: n1 restarted with a log up to 0."
    )
    finding = Finding(
        "durable-log",
        "invariant durable-log broken",
        sentence,
        detail={"nodes": ["n1"], "time_ns": 2453 * MS, "story": story},
    )
    result = Result("invariants", Verdict.INVALID, reason=sentence, findings=[finding])
    faults = [Fault(1, "kill", 903 * MS, 2100 * MS, None, ["n1"], "installed", {"exit_signal": 9})]
    return write_run(path, recorder.history(faults=faults), [result], sentence=sentence,
                     changes={"env": "sim", "duration_ns": 3000 * MS})  # fmt: skip


EVIL = '</script><img src=x onerror="alert(1)">\u202e\x00`|*{{7*7}}'


def hostile(path: Path) -> Path:
    """Everything a system under test can say is an attack."""
    recorder = Recorder()
    recorder.op(EVIL, EVIL, 1, 2, asked=EVIL, answered=[EVIL], key=EVIL, node=EVIL)
    recorder.op(1, "read", 3, 4, answered={EVIL: EVIL}, type="ok", key=EVIL, node=EVIL)
    recorder.op(2, "txn", 5, 6, asked=[["r", EVIL, EVIL]], type="info", key=EVIL, error=EVIL)
    history = recorder.history(faults=[Fault(1, EVIL, MS, 5 * MS, {EVIL: EVIL}, [EVIL], "installed",
                                             {EVIL: EVIL})])  # fmt: skip
    history.header["started"] = STARTED
    ops = tuple(int(index) for index in history.invocations)
    finding = Finding(EVIL, EVIL, EVIL, key=EVIL, ops=ops, breaks=EVIL, detail={EVIL: EVIL},
                      because=(Because("step", target=ops[0], state=EVIL, text=EVIL),
                               Because("stuck", target=ops[1], text=EVIL),
                               Because(EVIL, source=ops[0], target=ops[2], text=EVIL,
                                       proof=(Because("ww", text=EVIL),))))  # fmt: skip
    cyclic = Finding("G0", EVIL, EVIL, ops=ops, because=(
        Because("ww", source=ops[0], target=ops[1], key=EVIL, value=EVIL, text=EVIL),
        Because("rw", source=ops[1], target=ops[0], key=EVIL, value=EVIL, text=EVIL)))  # fmt: skip
    lives = Finding("lost", EVIL, EVIL, detail={"elements": [{"element": EVIL, "attempted": 0}]})
    told = {"time_ns": 5 * MS, "kind": EVIL, "source": EVIL, "target": EVIL, "words": EVIL}
    story = Finding(EVIL, EVIL, EVIL, detail={"nodes": [EVIL], "story": [told, 7, {"words": EVIL}]})
    results = [Result(EVIL, Verdict.INVALID, reason=EVIL, engine=EVIL, stats={EVIL: EVIL},
                      findings=[finding, cyclic, lives, story]),
               Result(EVIL, Verdict.UNKNOWN, reason=EVIL)]  # fmt: skip
    run = write_run(path, history, results, sentence=EVIL,
                    changes={"workload": EVIL, "seed": EVIL, "duration_ns": 7 * MS})  # fmt: skip
    (run / "nodes" / "n1" / "log").write_text(f"2026-11-22T18:00:00.004Z panic {EVIL}\n{EVIL}\n")
    return run


RUNS: dict[str, Callable[[Path], Path]] = {
    run.__name__: run
    for run in (
        stale_read, read_skew, lost_elements, two_holders, broken_invariant, valid, weak, unknown,
        slow_return, crashed_checker,
        not_judged, torn, no_history, without_times, hostile,
    )
}  # fmt: skip
