"""The client's words when they are interrupted while a lease is being granted: none is left."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from fake_node import fake_node

from cluster.client import recipes, words
from cluster.client.command_line import _call, _parser
from cluster.wire import Request, Response

Seen = list[Request]


class Core:
    """A cluster's answers about leases: the grant is held back until it is told to answer."""

    def __init__(self, *, revokes: bool = True) -> None:
        self.asked = asyncio.Event()
        self.seen: Seen = []
        self._revokes = revokes

    def __call__(self, request: Request) -> Response | None:
        op = request.command.op
        if op == "get":
            return Response(request.id, "ok", None, 5)
        self.seen.append(request)
        if op == "lease-grant":
            self.asked.set()
            return None
        assert op == "lease-revoke"
        return Response(request.id, "fail", None, 9, error="no lease") if self._revokes else None


async def interrupted(core: Core, arguments: list[str], *, by: int) -> int:
    """Begin a word, interrupt it while the grant is under way; how it ended."""
    async with fake_node(core) as address:
        given = _parser().parse_args(["--nodes", f"n1={address}", "--timeout", "60", *arguments])
        given.command = []
        word = asyncio.ensure_future(_call(given))
        await core.asked.wait()
        if by == signal.SIGINT:  # as asyncio.run does
            word.cancel()
        else:
            os.kill(os.getpid(), by)
        try:
            return await word
        except asyncio.CancelledError:
            return 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("arguments", [["lock", "job"], ["elect", "job", "me"]], ids=" ".join)
def test_the_lease_that_is_being_granted_is_revoked(
    arguments: list[str],
    number: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(recipes, "ABANDON_S", 60)

    async def main() -> tuple[Seen, int]:
        core = Core()
        return core.seen, await interrupted(core, arguments, by=number)

    (grant, revoke), code = asyncio.run(main())
    assert code == 128 + number
    assert revoke.command.op == "lease-revoke"
    assert revoke.command.key == grant.command.key != "", "the client knows it without an answer"
    assert (revoke.session, revoke.seq) == (grant.session, grant.seq + 1)
    assert revoke.first_unanswered == revoke.seq, "no copy of the grant happens after it"
    assert capsys.readouterr() == ("", "")


def test_what_may_be_left_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(recipes, "ABANDON_S", 0.05)

    async def main() -> int:
        return await interrupted(Core(revokes=False), ["lock", "job", "--ttl", "8"], by=15)

    assert asyncio.run(main()) == 143
    said = capsys.readouterr().err
    assert "lock job: interrupted, and the cluster did not say" in said
    assert "if one was granted, it lives for 10 s" in said and said.count("\n") == 1


class Late(Core):
    """Answers the grant when the word was interrupted."""

    def __init__(self, status: str) -> None:
        super().__init__()
        self._status = status

    def __call__(self, request: Request) -> Response | None:
        answer = super().__call__(request)
        if answer is None and len(self.seen) > 1:  # the copy that is sent again
            return Response(request.id, self._status, {"lease": request.command.key}, 7)
        return answer


@pytest.mark.parametrize(("status", "ops"), [
    ("ok", ["lease-grant", "lease-grant", "lease-revoke"]),
    ("fail", ["lease-grant", "lease-grant"]),
])  # fmt: skip
def test_a_grant_that_is_interrupted_is_taken_back_if_it_was_this_ones(
    status: str,
    ops: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """``fail``: there is a lease of that name already, and it is another's."""
    monkeypatch.setattr(words, "ABANDON_S", 60)

    async def main() -> tuple[Seen, int]:
        core = Late(status)
        return core.seen, await interrupted(core, ["lease", "grant", "60", "--id", "mine"], by=15)

    seen, code = asyncio.run(main())
    assert code == 143 and [each.command.op for each in seen] == ops
    assert {each.command.key for each in seen} == {"mine"}
    assert capsys.readouterr() == ("", "")


def test_a_grant_without_an_answer_is_told_with_its_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(words, "ABANDON_S", 0.05)

    async def main() -> tuple[Seen, int]:
        core = Core()
        return core.seen, await interrupted(core, ["lease", "grant", "60"], by=signal.SIGINT)

    (grant,), code = asyncio.run(main())
    said = capsys.readouterr().err
    assert code == 130 and said.count("\n") == 1
    assert f"if so, it lives for 75 s, or until: lease revoke {grant.command.key}" in said
