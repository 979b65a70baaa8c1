"""Goal: the operations of a finding prove it: the checker alone says the same of them.

Method: small wild histories of each kind, in which three processes do what they like and are
answered anything. Whatever a checker finds there is judged again from its operations only.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from checkers import Verdict
from checkers.history import Event, History
from checkers.judges.bank import bank
from checkers.judges.causal import causal, causal_reverse
from checkers.judges.convergence import convergence
from checkers.judges.counter import counter, pn_counter
from checkers.judges.election import election
from checkers.judges.lease import lease
from checkers.judges.lock import lock
from checkers.judges.log import kafka_log
from checkers.judges.long_fork import long_fork
from checkers.judges.monotonic import monotonic
from checkers.judges.ownership import ownership
from checkers.judges.queue import queue, total_queue
from checkers.judges.sessions import session_guarantees
from checkers.judges.set import final_set, set_full
from checkers.judges.unique_ids import unique_ids
from checkers.linearizability import linearizable, models

Ask = Callable[[random.Random, int], tuple[str, Any, Any]]  # f, key, input; a fresh number is given
Answer = Callable[[random.Random, str, Any, list[Any]], Any]  # f, input, all inputs -> output


def subset(rng: random.Random, values: list[Any]) -> list[Any]:
    return rng.sample(values, rng.randint(0, len(values))) + [values[0]] * (rng.random() < 0.1)


def one_of(rng: random.Random, values: list[Any], odd: Any) -> Any:
    return rng.choice([*values, odd])


def choice(*calls: tuple[str, Any, Any]) -> Ask:
    return lambda rng, fresh: rng.choice(calls)


KINDS: dict[str, tuple[Ask, Answer, list[Any]]] = {
    "set": (
        lambda rng, fresh: rng.choice([("add", None, fresh), ("read", None, None)]),
        lambda rng, f, asked, all: asked if f == "add" else subset(rng, all or [99]),
        [final_set(), set_full(), set_full(linearizable=True)],
    ),
    "queue": (
        lambda rng, fresh: rng.choice(
            [("enqueue", None, rng.randint(1, 4)), ("dequeue", None, None), ("drain", None, None)]
        ),
        lambda rng, f, asked, all: asked if f == "enqueue" else
        one_of(rng, all[-2:], None) if f == "dequeue" else all[: rng.randint(0, 2)],
        [queue(), total_queue(), total_queue(exactly_once=True)],
    ),
    "ids": (
        choice(("generate", None, None)),
        lambda rng, f, asked, all: rng.randint(1, 6),
        [unique_ids()],
    ),
    "counter": (
        lambda rng, fresh: rng.choice(
            [("add", rng.choice("kl"), rng.randint(-3, 5)), ("read", rng.choice("kl"), None)]
        ),
        lambda rng, f, asked, all: asked if f == "add" else rng.randint(-9, 15),
        [counter(), counter(initial=2), pn_counter()],
    ),
    "bank": (
        choice(("read", None, None)),
        lambda rng, f, asked, all: {"a": rng.randint(-1, 2), "b": rng.choice([1, 1, None])},
        [bank(), bank(total=2), bank(accounts=["a"])],
    ),
    "registers": (
        lambda rng, fresh: rng.choice([("write", rng.choice("xy"), fresh),
                                       ("read", rng.choice("xy"), None)]),
        lambda rng, f, asked, all: asked if f == "write" else one_of(rng, all, None),
        [causal(), session_guarantees(), session_guarantees(versions="values"),
         linearizable(models.register())],
    ),
    "growing": (
        lambda rng, fresh: rng.choice([("write", None, rng.randint(1, 6)), ("read", None, None)]),
        lambda rng, f, asked, all: asked if f == "write" else sorted(set(subset(rng, all or [1]))),
        [causal_reverse()],
    ),
    "numbers": (
        choice(("inc", "k", None), ("read", "k", None), ("inc", "l", None)),
        lambda rng, f, asked, all: rng.randint(1, 6),
        [monotonic(), monotonic(scope="realtime")],
    ),
    "groups": (
        choice(("read", None, None)),
        lambda rng, f, asked, all: [["r", key, rng.choice([None, 1])] for key in range(3)],
        [long_fork()],
    ),
    "lock": (
        lambda rng, fresh: rng.choice([("acquire", None, None), ("release", None, None),
                                       ("write", None, {"token": rng.randint(1, 4)})]),
        lambda rng, f, asked, all: {"token": rng.randint(1, 5)} if f == "acquire" else asked,
        [lock(), lock(exclusive=False)],
    ),
    "election": (
        lambda rng, fresh: rng.choice([("campaign", None, None), ("resign", None, None),
                                       ("act", None, {"token": rng.randint(1, 4)})]),
        lambda rng, f, asked, all: {"token": rng.randint(1, 5)} if f == "campaign" else asked,
        [election(), election(exclusive=True)],
    ),
    "ownership": (
        lambda rng, fresh: ("act", rng.choice("ab"), None),
        lambda rng, f, asked, all: {
            "partition": rng.choice("pq"), "epoch": rng.randint(1, 3), "group": rng.choice("gh"),
            "count": rng.randint(1, 9),
        },
        [ownership()],
    ),
    "lease": (
        choice(("grant", None, None), ("renew", None, None), ("release", None, None)),
        lambda rng, f, asked, all: {"ttl_ns": rng.randint(1, 6000), "token": rng.randint(1, 9)},
        [lease()],
    ),
    "log": (
        lambda rng, fresh: rng.choice([("send", "l", fresh), ("poll", "l", None),
                                       ("poll", "l", None), ("assign", None, None)]),
        lambda rng, f, asked, all: rng.randint(0, 4) if f == "send" else
        [[rng.randint(0, 4), one_of(rng, all, 98)] for _ in range(rng.randint(0, 3))],
        [kafka_log()],
    ),
    "replicas": (
        choice(("read", None, None), ("read", None, None), ("write", None, 1)),
        lambda rng, f, asked, all: rng.randint(1, 2),
        [convergence()],
    ),
    "stack": (
        lambda rng, fresh: rng.choice([("push", None, fresh), ("pop", None, None)]),
        lambda rng, f, asked, all: asked if f == "push" else one_of(rng, all, None),
        [linearizable(models.stack())],
    ),
}  # fmt: skip


def wild(kind: str, seed: int) -> History:
    """A history of up to twelve operations."""
    ask, answer, _ = KINDS[kind]
    rng = random.Random(f"{kind} {seed}")
    events: list[Event] = []
    opened: dict[int, tuple[str, Any, Any]] = {}
    inputs: list[Any] = []
    processes, left, fresh = [0, 1, 2], rng.randint(2, 12), 0
    while left or opened:
        process = rng.choice(processes)
        when = len(events) * 1000
        if process in opened:
            f, key, asked = opened.pop(process)
            outcome = rng.choice(["ok"] * 7 + ["info", "fail"])
            told = answer(rng, f, asked, inputs) if outcome == "ok" else asked
            events.append(Event(0, when, process, outcome, f, key, told))
            if outcome == "info":
                processes[processes.index(process)] = max(processes) + 1
        elif left:
            left, fresh = left - 1, fresh + 1
            f, key, asked = opened[process] = ask(rng, fresh)
            if asked is not None:
                inputs.append(asked)
            events.append(Event(0, when, process, "invoke", f, key, asked))
    return History.from_events(events)


@pytest.mark.parametrize("kind", KINDS)
def test_every_finding_stands_alone(kind: str) -> None:
    found = 0
    for seed in range(150):
        history = wild(kind, seed)
        for checker in KINDS[kind][2]:
            result = checker(history)
            assert "traceback" not in result.stats, (seed, result.stats["traceback"])
            for finding in result.findings:
                found += 1
                alone = checker(history.select(finding.ops))
                assert alone.verdict is Verdict.INVALID, (seed, checker.name, finding.sentence)
                kinds = {other.kind for other in alone.findings}
                assert finding.kind in kinds, (seed, checker.name, finding.sentence, kinds)
                steps = {op for step in finding.because for op in (step.source, step.target)}
                assert steps <= {*finding.ops, -1}, (seed, checker.name, finding.because)
    assert found > 15, found
