"""One operation from its invocation to its outcome: a client is opened and called.

An invocation is recorded before the client is called, a completion after it returned, so the
recorded interval contains the real one. An exception of a client becomes the safe outcome. After an
unknown outcome or an exception the client is closed, and a fresh one opened for the next operation.

For :mod:`harness.interpreter.interpreter`.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Callable, Sequence
from typing import Any

from checkers.history.errors import HistoryError
from harness.databases.base import Client, Closes, Invocation, Outcome
from harness.environments.base import Environment
from harness.errors import UserCodeError
from harness.interpreter.runtime import Future, Runtime, Task
from harness.recorder import Recorder
from workloads.generator import Op

log = logging.getLogger("harness.interpreter")

#: A worker whose client could not be opened waits this long before the operation fails, so that a
#: dead node costs no flood of failures.
OPEN_PAUSE_NS = 100_000_000

#: Longest error text recorded.
ERROR_CHARS_MAX = 300

_OUTCOMES = frozenset({"ok", "fail", "info"})


class Worker:
    """One worker: its client, and the operation it is doing."""

    __slots__ = (
        "client",
        "expired",
        "inbox",
        "node",
        "number",
        "op",
        "since_ns",
        "task",
        "waiting",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.client: Any = None
        self.node: str | None = None
        self.task: Task | None = None
        self.inbox: Op | None = None
        self.waiting: Future | None = None
        self.op: Op | None = None
        self.since_ns = 0
        self.expired = ""


class Performer:
    """Does operations with clients.

    Args:
        runtime: the clock, and who absorbs cancellations.
        env: the environment, for its nodes and its ``sleep``.
        nodes: names of the nodes clients are spread over.
        make_client: makes a client, not yet open.
        recorder: where both ends of an operation are recorded.
        reads: operations that change nothing: an unhandled error makes them ``fail``.
        broken: called with an error of user code that ends the run.
    """

    def __init__(
        self,
        *,
        runtime: Runtime,
        env: Environment,
        nodes: Sequence[str],
        make_client: Callable[[], Client],
        recorder: Recorder,
        reads: frozenset[str],
        broken: Callable[[Exception], None],
    ) -> None:
        self._runtime, self._env, self._nodes = runtime, env, list(nodes)
        self._make_client, self._recorder = make_client, recorder
        self._reads, self._broken = reads, broken

    async def perform(self, worker: Worker, op: Op) -> Outcome:
        """Do one operation and record both ends of it."""
        recorder, now_ns = self._recorder, self._runtime.now_ns
        process = op.process
        assert isinstance(process, int)
        node = self._nodes[process % len(self._nodes)]
        worker.since_ns = now_ns()
        worker.op = op
        recorder.invoke(worker.since_ns, process, op.f, op.key, op.value, node)
        try:
            outcome = await self._invoke(worker, op, process, node)
        except CancelledError:
            self._runtime.absorb_cancel()
            outcome = self._safe(op, worker.expired or "cancelled", worker.client is not None)
            await self.close_client(worker)
        worker.op = None
        worker.expired = ""
        said = (outcome.type, now_ns(), process, op.f, op.key, outcome.value, node, outcome.error)
        try:
            recorder.complete(*said)
        except HistoryError as error:
            self._broken(UserCodeError(f"the client's answer to {op.f!r} is no JSON: {error}"))
            outcome = self._safe(op, str(error), sent=True)
            recorder.complete(outcome.type, *said[1:5], op.value, node, outcome.error)
        return outcome

    async def _invoke(self, worker: Worker, op: Op, process: int, node: str) -> Outcome:
        """Call the client, opening one first if need be; exceptions become outcomes."""
        client = worker.client
        if client is None or worker.node != node:
            failed = await self._open(worker, op, node)
            if failed is not None:
                return failed
            client = worker.client
        try:
            outcome = await client.invoke(Invocation(process, op.f, op.key, op.value))
        except Exception as error:  # a client's unknown error: the safe outcome
            log.debug("%s of process %d raised", op.f, process, exc_info=error)
            outcome = self._safe(op, describe(error), sent=True)
            await self.close_client(worker)
            return outcome
        if not isinstance(outcome, Outcome) or outcome.type not in _OUTCOMES:
            self._broken(_no_outcome(client, op, outcome))
            return self._safe(op, f"the client returned {outcome!r}", sent=True)
        if outcome.type == "info":
            await self.close_client(worker)
        return outcome

    def _safe(self, op: Op, error: str, sent: bool) -> Outcome:
        """The outcome of an operation that ended in an unhandled error."""
        harmless = op.f in self._reads or not sent
        return Outcome("fail" if harmless else "info", op.value, error)

    async def _open(self, worker: Worker, op: Op, node: str) -> Outcome | None:
        """Give the worker a client of a node; the failed outcome if that cannot be."""
        await self.close_client(worker)
        client = self._make_client()
        try:
            await client.open(self._env.node(node))
        except Exception as error:  # user code: a node may be down, or the client wrong
            log.debug("no client for %s", node, exc_info=error)
            await self._env.sleep(OPEN_PAUSE_NS)
            return Outcome("fail", op.value, f"no client: {describe(error)}")
        worker.client, worker.node = client, node
        return None

    async def close_client(self, worker: Worker) -> None:
        client, worker.client = worker.client, None
        if not isinstance(client, Closes):
            return
        try:
            await client.close()
        except (Exception, CancelledError) as error:
            # User code: the client is given up either way.
            log.warning("closing a client of %s raised", worker.node, exc_info=error)


def _no_outcome(client: Any, op: Op, outcome: Any) -> UserCodeError:
    name = type(client).__name__
    if outcome is None:
        guess = f"does its invoke handle {op.f!r}, and return in every branch?"
    elif isinstance(outcome, bool):
        guess = "return op.ok() or op.fail(), not a boolean"
    else:
        guess = "did you mean op.ok(that)?"
    return UserCodeError(
        f"client {name} returned {outcome!r} for {op.f!r}, which is no outcome; {guess}"
    )


def describe(error: BaseException) -> str:
    """An exception in a few words, for an operation's error."""
    text = " ".join(str(error).split())
    name = type(error).__name__
    said = f"{name}: {text}" if text else name
    return said if len(said) <= ERROR_CHARS_MAX else said[: ERROR_CHARS_MAX - 3] + "..."
