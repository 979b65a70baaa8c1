"""Every small list-append history, outcomes included, against permutations.

Two transactions of up to two micro-operations over two keys: every shape, every list a read might
return that has no value twice, every way they may overlap and share a process, every outcome. An
``info`` transaction may have happened or not, a ``fail`` one did not. All of them are in the slow
test; the fast one takes an even sample, and a sample of three transactions.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import chain, combinations, permutations, product

import pytest
import twins

from checkers.core.verdict import Verdict
from checkers.isolation.inference.list_append import ListAppend
from checkers.isolation.isolation import check_levels
from checkers.isolation.transaction_table import columns

Shape = tuple[tuple[str, str], ...]
Case = tuple[list[twins.T], dict[int, str]]

STEPS = tuple(product(("append", "r"), "xy"))
SHAPES: tuple[Shape, ...] = tuple(chain(((step,) for step in STEPS), product(STEPS, repeat=2)))
#: (invoked, completed) of each, and who shares a process
OVERLAPS: dict[int, list[tuple[tuple[tuple[int, int], ...], tuple[int, ...]]]] = {
    2: [
        (((0, 2), (1, 3)), (0, 1)),
        (((0, 1), (2, 3)), (0, 1)),
        (((0, 1), (2, 3)), (0, 0)),
    ],
    3: [
        (((0, 3), (1, 4), (2, 5)), (0, 1, 2)),
        (((0, 1), (2, 4), (3, 5)), (0, 1, 2)),
        (((0, 1), (2, 4), (3, 5)), (0, 0, 1)),
        (((0, 2), (1, 5), (3, 4)), (0, 1, 0)),
        (((0, 2), (1, 5), (3, 4)), (0, 1, 2)),
        (((0, 1), (2, 3), (4, 5)), (0, 1, 0)),
    ],
}


def lists_of(values: list[int]) -> list[list[int]]:
    """Every list of some of the values, in any order."""
    return [
        list(order)
        for size in range(len(values) + 1)
        for some in combinations(values, size)
        for order in permutations(some)
    ]


def cases(shapes: tuple[Shape, ...], rng: random.Random | None) -> Iterator[Case]:
    """All histories of these shapes; one at random if ``rng`` is given."""
    values: dict[str, list[int]] = {"x": [], "y": []}
    written: list[list[int | None]] = []
    for shape in shapes:
        written.append([])
        for f, key in shape:
            value = sum(map(len, values.values())) + 1 if f == "append" else None
            written[-1].append(value)
            values[key] += [value] if value else []
    slots = [(n, m) for n, shape in enumerate(shapes) for m, (f, _) in enumerate(shape) if f == "r"]
    possible = [lists_of(values[shapes[n][m][1]]) for n, m in slots]
    outcomes = list(product(("ok", "info", "fail"), repeat=len(shapes)))
    spaces = [*possible, OVERLAPS[len(shapes)], outcomes]
    chosen = product(*spaces) if rng is None else [tuple(rng.choice(space) for space in spaces)]
    for *reads, (spans, processes), outcome in chosen:
        got = dict(zip(slots, reads))
        txns = [
            twins.T(n, processes[n], *spans[n], [
                (f, key, got.get((n, m), written[n][m])) for m, (f, key) in enumerate(shape)
            ])
            for n, shape in enumerate(shapes)
        ]  # fmt: skip
        yield txns, dict(enumerate(outcome))


def explained(txns: list[twins.T], outcome: dict[int, str], **options: bool) -> bool:
    """Some order of the ok transactions and of some unknown ones explains what ok ones read."""
    unknown = [t for t in txns if outcome[t.number] == "info"]
    for size in range(len(unknown) + 1):
        for happened in combinations(unknown, size):
            ran = [t for t in txns if outcome[t.number] == "ok" or t in happened]
            blind = [
                t if outcome[t.number] == "ok"
                else twins.T(t.number, t.process, t.invoke, 99, [m for m in t.mops if m[0] != "r"])
                for t in ran
            ]  # fmt: skip
            if twins.serializable(blind, twins.replay_lists, **options):
                return True
    return False


MODELS = {
    "serializable": {},
    "strong-session-serializable": {"session": True},
    "strict-serializable": {"realtime": True},
}


def agree(txns: list[twins.T], outcome: dict[int, str], model: str) -> bool:
    """Compare one history; False if nothing in it was checked."""
    history = twins.history_of(txns, outcome=outcome)
    result = check_levels(
        ListAppend(columns(history)),
        checker="list-append",
        consistency_models=[model],
    )
    if result.verdict is Verdict.UNKNOWN:
        assert "nothing was checked" in result.reason
        assert "ok" not in outcome.values()
        return False
    expected = explained(txns, outcome, **MODELS[model])
    told = [(t.process, t.invoke, t.complete, outcome[t.number], t.mops) for t in txns]
    assert (result.verdict is Verdict.VALID) == expected, (model, told, result.reason)
    return True


def test_two_transactions_sampled() -> None:
    rng = random.Random(20)
    judged = 0
    for shapes in product(SHAPES, repeat=2):
        for _ in range(6):
            for txns, outcome in cases(shapes, rng):
                judged += agree(txns, outcome, rng.choice(list(MODELS)))
    assert judged > 1200


def test_three_transactions_sampled() -> None:
    rng = random.Random(30)
    judged = 0
    for _ in range(2500):
        shapes = tuple(rng.choice(SHAPES) for _ in range(3))
        for txns, outcome in cases(shapes, rng):
            judged += agree(txns, outcome, rng.choice(list(MODELS)))
    assert judged > 1600


@pytest.mark.slow
def test_two_transactions_all() -> None:
    for shapes in product(SHAPES, repeat=2):
        for txns, outcome in cases(shapes, None):
            for model in MODELS:
                agree(txns, outcome, model)


@pytest.mark.slow
def test_three_transactions_many() -> None:
    rng = random.Random(31)
    for _ in range(60_000):
        shapes = tuple(rng.choice(SHAPES) for _ in range(3))
        for txns, outcome in cases(shapes, rng):
            agree(txns, outcome, rng.choice(list(MODELS)))
