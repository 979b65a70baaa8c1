"""Messages between our processes: what goes in comes out, and what cannot arrives as text."""

from __future__ import annotations

import io

import pytest

from checkers.check_files import FileResult
from checkers.core.pipe_messages import receive, send
from checkers.core.verdict import Because, Finding, Result, Verdict
from checkers.history.op import Op


def there_and_back(message: FileResult) -> FileResult:
    pipe = io.BytesIO()
    send(pipe, message)
    pipe.seek(0)
    return receive(pipe, FileResult)


def test_a_result_survives() -> None:
    because = Because("wr", 1, 2, key=("a", 1), proof=(Because("step", state="x"),))
    finding = Finding("lost", "lost", "gone", ops=(1, 2), because=(because,), detail={"n": {1: 2}})
    op = Op(3, "read", "x", None, {0: 5}, "ok", 1, 2, 10, 20)
    result = Result("set", Verdict.INVALID, findings=[finding])
    found = there_and_back(FileResult("f", Verdict.INVALID, result=result, witnesses=[[op]]))
    assert found.result is not None and found.result.findings[0].ops == (1, 2)
    assert found.result.findings[0].because[0].proof[0].state == "x"
    assert found.witnesses[0][0].output == {0: 5} and found.verdict is Verdict.INVALID


@pytest.mark.parametrize("value", [2**200, {2**70: [1]}, object()])
def test_what_cannot_be_sent_arrives_as_text(value: object) -> None:
    result = Result("set", Verdict.VALID, stats={"value": value})
    found = there_and_back(FileResult("f", Verdict.VALID, result=result))
    assert found.result is not None and found.result.stats["value"]


def test_a_closed_pipe_is_the_end() -> None:
    with pytest.raises(EOFError):
        receive(io.BytesIO(b"\0\0"), FileResult)
