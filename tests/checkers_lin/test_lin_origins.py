"""What is said of a value from nowhere: that nothing left it, and what would have."""

from __future__ import annotations

from typing import Any

import pytest
from lin_histories import Row, history_of

from checkers import Model, Verdict, check, models


def _op(process: Any, f: str, value: Any, type: str = "ok", output: Any = None) -> list[Row]:
    done = value if output is None else output
    return [("invoke", process, f, value), (type, process, f, done)]


def _said(model: Model, *ops: list[Row]) -> str:
    result = check(history_of([row for op in ops for row in op]), model)
    assert result.verdict is Verdict.INVALID
    assert len(result.findings[0].ops) == 1
    return result.findings[0].sentence


READ_2 = _op(2, "read", None, output=2)
#: With these the search judges, not the zones.
AMBIGUOUS = [_op(0, "write", 9), _op(3, "write", 9)]
NOWHERE = "which no operation can have left there"
STARTED = "if 2 was there from the start, say so: --option init"


@pytest.mark.parametrize("other", [_op(0, "write", 1), [*_op(0, "write", 1), *_op(3, "write", 1)]])
def test_a_value_that_a_failed_swap_would_have_left(other: list[Row]) -> None:
    """Of unambiguous values the zones say so, else the search."""
    said = _said(models.cas_register(), other, _op(1, "cas", [1, 2], "fail"), READ_2)
    assert said.startswith("Process 2 read 2 (t=0.00")
    assert said.endswith(
        f" s), {NOWHERE}; the only one that would have, process 1's cas of 1 to 2, failed."
    )


def test_a_value_that_nobody_would_have_left() -> None:
    said = _said(models.cas_register(), _op(0, "write", 1), READ_2)
    assert said == f"Process 2 read 2 (t=0.003 s), {NOWHERE}."


def test_a_value_that_was_written_only_afterwards() -> None:
    ops = [*AMBIGUOUS, READ_2, _op(1, "write", 2)]
    assert _said(models.register(), *ops).endswith(
        f"{NOWHERE}; the only one that would have, process 1's write of 2, began only later."
    )


def test_several_that_would_have_left_it() -> None:
    failed = [_op(1, "write", 2, "fail"), _op(3, "cas", [1, 2], "fail")]
    told = _said(models.cas_register(), *failed, READ_2)
    names = "process 1's write of 2 and process 3's cas of 1 to 2"
    assert told.endswith(f"{NOWHERE}; those that would have, {names}, failed.")
    later = _said(models.cas_register(), *AMBIGUOUS, *failed, READ_2, _op(1, "write", 2))
    assert ", process 3's cas of 1 to 2 and process 1's write of 2, failed or began" in later
    many = [_op(process, "write", 2, "fail") for process in range(3, 8)]
    assert _said(models.register(), *many, READ_2).endswith("the 5 that would have all failed.")


def test_of_another_key_is_another_matter() -> None:
    rows = [*_op(1, "write", 2, "fail"), *READ_2]
    found = check(history_of(rows, keys=["x", "x", "y", "y"]), models.register()).findings[0]
    assert found.sentence == f"Key y: process 2 read 2 (t=0.003 s), {NOWHERE}; {STARTED}=2."


def test_one_that_may_have_happened_but_cannot_have_is_not_named() -> None:
    """Nothing had written 1, so the swap cannot have happened either."""
    said = _said(models.cas_register(), *AMBIGUOUS, _op(1, "cas", [1, 2], "info"), READ_2)
    assert said.endswith(f"{NOWHERE}.")


def test_what_is_no_read_says_what_is_wrong_and_that_nothing_changed_it() -> None:
    said = _said(models.cas_register(), _op(1, "write", 2, "fail"), _op(2, "cas", [2, 3]))
    assert said == (
        "Process 2 completed cas of 2 to 3 (t=0.003 s): cas swapped 2 for 3, but the state is nil, "
        "and no operation can have changed that; the only one that would have, process 1's write "
        "of 2, failed."
    )


@pytest.mark.parametrize(
    ("model", "failed", "bad", "named"),
    [
        (models.counter(), ("add", 3), ("read", None, 3), "process 1's add(3)"),
        (models.append_list(), ("append", 7), ("read", None, [7]), "process 1's append(7)"),
        (models.key_value(), ("put", "a"), ("get", None, "a"), "process 1's put('a')"),
        (models.fifo_queue(), ("enqueue", 4), ("dequeue", None, 4), "process 1's enqueue"),
        (models.stack(), ("push", 4), ("pop", None, 4), "process 1's push"),
        (models.mutex(), ("acquire", None), ("release", None, None), "process 1's acquire"),
        (
            models.multi_register(),
            ("txn", [["w", "x", 1]]),
            ("txn", [["r", "x", None]], [["r", "x", 1]]),
            "process 1's txn",
        ),
    ],
)
def test_of_every_model_what_failed_is_named(
    model: Model, failed: tuple[Any, ...], bad: tuple[Any, ...], named: str
) -> None:
    f, value, output = bad if len(bad) == 3 else (*bad, None)
    said = _said(model, _op(1, *failed, "fail"), _op(2, f, value, output=output))
    assert "no operation can have" in said
    assert f"the only one that would have, {named}" in said
    assert said.endswith(", failed.")


@pytest.mark.parametrize("type", ["ok", "info", "fail"])
@pytest.mark.parametrize("between", [[_op(3, "write", 7)], AMBIGUOUS], ids=["zones", "search"])
@pytest.mark.parametrize("model", [models.register, models.cas_register, models.key_value])
def test_what_was_there_from_the_start_is_not_blamed_on_a_later_write(
    model: Any, between: list[list[Row]], type: str
) -> None:
    """Case 12 of a first day's use: the store began with 0 and the model did not."""
    ops = [_op(1, "read", None, output=2), *between, _op(4, "write", 2, type)]
    said = _said(model(), *ops)
    assert said == f"Process 1 read 2 (t=0.001 s), {NOWHERE}; {STARTED}=2."
    history = history_of([row for op in ops for row in op])
    assert check(history, model(init=2)).verdict is Verdict.VALID


def test_the_initial_value_is_suggested_only_where_it_would_help() -> None:
    write, later = _op(1, "write", 7), _op(3, "write", 2)
    said = _said(models.register(), write, READ_2, later)
    assert said.endswith(
        f"{NOWHERE}; the only one that would have, process 3's write of 2, began only later."
    )
    said = _said(models.cas_register(), _op(1, "cas", [2, 3]), later)
    assert said.endswith(f"no operation can have changed that; {STARTED}=2.")
    said = _said(models.counter(), _op(1, "read", None, output=2), _op(1, "add", 2))
    assert said.endswith(f"{STARTED}=2.")
    said = _said(models.multi_register(), _op(1, "read", None, output={"x": 2}))
    assert said.endswith("from the start, say so: --option 'init={\"x\":2}'.")
    said = _said(models.register(), _op(1, "read", None, output="a b"))
    assert said.endswith("from the start, say so: --option 'init=\"a b\"'.")
    assert "option" not in _said(models.mutex(), _op(1, "release", None), _op(1, "acquire", None))


def test_the_initial_value_is_suggested_of_a_long_history_too() -> None:
    rows = [*READ_2, *(row for number in range(30_000) for row in _op(1, "write", number + 10))]
    found = check(history_of(rows), models.register()).findings[0]
    assert found.sentence.endswith(f"{NOWHERE}; {STARTED}=2.")
