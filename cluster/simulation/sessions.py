"""Clients in virtual time: the real client session over simulated connections.

The session core (:mod:`cluster.client.session`) decides when to connect, send, retry and give up;
this module carries its actions out over the world's network, as the asyncio client does over
sockets, and keeps a ledger of every call: when it was made, how and when it ended. From all ledgers
of a world :func:`client_events` makes the history for a checker.

    alice = world.session("alice")
    alice.submit(Command("put", "x", (1,)), done=print)

Used through :meth:`cluster.simulation.world.World.session`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from cluster.client.session import PATIENT_NS, Action, ClientSession, Complete, Connect, SendRequest
from cluster.ports import SetTimer
from cluster.simulation.connections import Connections
from cluster.simulation.heap import EventHeap
from cluster.simulation.randomness import SeededRng
from cluster.wire import Command, Response

#: A connection that is not made in this time is given up, as the asyncio client does.
DIAL_NS = 1_000_000_000

#: operation -> its name in a history
HISTORY_NAMES = {"get": "read", "put": "write", "members-view": "read", "txn-run": "txn"}
#: operations whose result a history has; of the others it has the argument twice
RESULTS = frozenset(
    {
        "get",
        "grant",
        "renew",
        "revoke",
        "acquire",
        "release",
        "write",
        "watch",
        "txn",
        "txn-run",
        "act",
        "members-view",
        "read",
        "store",
        "erase",
    }
)


class Call(msgspec.Struct):
    """One command of a client, in its ledger.

    Args:
        session: the session's name.
        command: what was asked.
        mode: of a read.
        to: the node asked first, or "".
        status: ``ok``, ``fail`` or ``unknown``; "" while it runs.
        value: the result, for ok.
        error: why, unless ok.
        recorded: whether it is an operation of its own; a step of a larger one is none.
    """

    session: str
    command: Command
    mode: str = "linearizable"
    to: str = ""
    status: str = ""
    value: Any = None
    error: str = ""
    recorded: bool = True

    @property
    def may_have_been(self) -> bool:
        """Whether it happened or may have: everything but a definite refusal."""
        return self.status != "fail"


class ClientEvent(msgspec.Struct, frozen=True):
    """One event of a client, as a history has it.

    Args:
        time_ns: virtual time.
        process: the session's name; ``c1.2`` after an operation of unknown outcome, and so on.
        type: ``invoke``, ``ok``, ``fail`` or ``info``.
        f: ``read write cas append incr delete``.
        key: the key.
        value: argument or result.
        node: the node asked first, if one was named.
        error: why it failed or is unknown.
        mode: of a read.
    """

    time_ns: int
    process: str
    type: str
    f: str
    key: str
    value: Any = None
    node: str | None = None
    error: str | None = None
    mode: str = "linearizable"


class SessionWorld(Protocol):
    """The interface of a world to its sessions."""

    @property
    def now_ns(self) -> int: ...
    @property
    def nodes(self) -> Sequence[str]: ...
    @property
    def heap(self) -> EventHeap: ...
    @property
    def connections(self) -> Connections: ...
    @property
    def client_log(self) -> list[tuple[int, Call, bool]]: ...

    def rng(self, *purpose: object) -> random.Random:
        """The seeded stream for a purpose."""

    def sessions(self) -> Mapping[str, SimSession]:
        """All sessions by name."""


class SimSession:
    """A client session in virtual time.

    Args:
        world: where it lives.
        name: its name, unique in the world, and its name in the network.
        timeout_ns: deadline of a call, unless the call has its own.
        prefer: the node it asks first; None for one that follows from the name.
        window: calls under way at once.
        attempt_ns: how long one node may stay silent before another is asked; a client that waits
            less than a second is restless, which leads it to nodes that should not answer.
    """

    def __init__(
        self,
        world: SessionWorld,
        name: str,
        *,
        timeout_ns: int,
        prefer: str | None = None,
        window: int = 1,
        attempt_ns: int = 1_000_000_000,
    ) -> None:
        self.name = name
        self.timeout_ns = timeout_ns
        #: how long a connection may take to be made
        self.dial_ns = DIAL_NS
        self.calls: list[Call] = []
        self._world = world
        self._running: dict[int, tuple[Call, Callable[[Complete], Any] | None]] = {}
        self._connection = 0
        self._epoch = 0
        self._timer_ns = -1
        nodes = list(world.nodes)
        start = nodes.index(prefer) if prefer is not None else len(world.sessions()) % len(nodes)
        self._core = ClientSession(
            name,
            nodes[start:] + nodes[:start],
            rng=SeededRng(world.rng("session", name)),
            window=window,
            attempt_ns=attempt_ns,
            restless=attempt_ns < PATIENT_NS,
        )
        world.connections.attach(name, self)

    @property
    def pending(self) -> int:
        """Calls without an outcome."""
        return len(self._running)

    def submit(
        self,
        command: Command,
        *,
        mode: str = "linearizable",
        to: str | None = None,
        timeout_ns: int | None = None,
        staleness_ns: int = 0,
        recorded: bool = True,
        done: Callable[[Complete], Any] | None = None,
    ) -> Call:
        """Begin a command.

        Args:
            command: what to do.
            mode: of a read: ``linearizable``, ``lease`` or ``stale``.
            to: the node to ask first.
            timeout_ns: when to give up; None for the session's.
            staleness_ns: of a ``bounded`` read: how long ago the answer may be from.
            recorded: whether histories have it; a step of a larger operation is not recorded.
            done: called with the outcome: ``status``, ``value``, ``error``, ``revision``, ``node``.

        Returns:
            The call, in whose fields the outcome will be.
        """
        world = self._world
        call = Call(self.name, command, mode, to or "", recorded=recorded)
        self.calls.append(call)
        if recorded:
            world.client_log.append((world.now_ns, call, True))
        id, actions = self._core.submit(
            world.now_ns,
            command,
            timeout_ns=self.timeout_ns if timeout_ns is None else timeout_ns,
            mode=mode,
            to=to or "",
            staleness_ns=staleness_ns,
        )
        self._running[id] = (call, done)
        self._carry_out(actions)
        return call

    def close(self) -> None:
        """Give up what runs, and disconnect."""
        self._carry_out(self._core.close())
        self._hang_up()

    # -- the client's end of its connections

    def on_open(self, connection: int) -> None:
        """The connection stands."""
        if connection == self._connection:
            self._carry_out(self._core.on_connected(self._world.now_ns, self._epoch))

    def on_response(self, connection: int, response: Response) -> None:
        """A node answered."""
        if connection == self._connection:
            self._carry_out(self._core.on_response(self._world.now_ns, self._epoch, response))

    def on_close(self, connection: int) -> None:
        """The connection broke, or could not be made."""
        if connection == self._connection:
            self._connection = 0
            self._carry_out(self._core.on_disconnected(self._world.now_ns, self._epoch))

    # -- actions

    def _carry_out(self, actions: list[Action]) -> None:
        finished: list[Complete] = []
        for action in actions:
            kind = type(action)
            if kind is SendRequest:
                if action.epoch == self._epoch and self._connection:  # type: ignore[union-attr]
                    self._world.connections.send(
                        self._connection,
                        action.request,  # type: ignore[union-attr]
                    )
            elif kind is SetTimer:
                self._set_timer(action.at_ns)  # type: ignore[union-attr]
            elif kind is Connect:
                self._dial(action.node, action.epoch)  # type: ignore[union-attr]
            else:
                finished.append(action)  # type: ignore[arg-type]
        for outcome in finished:  # last, for a waiting client may submit again
            self._complete(outcome)

    def _complete(self, outcome: Complete) -> None:
        call, done = self._running.pop(outcome.id)
        call.status, call.value, call.error = outcome.status, outcome.value, outcome.error
        if call.recorded:
            self._world.client_log.append((self._world.now_ns, call, False))
        if done is not None:
            done(outcome)

    def _dial(self, node: str, epoch: int) -> None:
        self._hang_up()
        self._connection = connection = self._world.connections.connect(self.name, node)
        self._epoch = epoch
        at_ns = self._world.now_ns + self.dial_ns
        self._world.heap.push(at_ns, self._give_up_dialling, connection)

    def _give_up_dialling(self, connection: int) -> None:
        if connection == self._connection and not self._world.connections.is_open(connection):
            self._world.connections.close(connection)
            self.on_close(connection)

    def _hang_up(self) -> None:
        if self._connection:
            self._world.connections.close(self._connection)
            self._connection = 0

    def _set_timer(self, at_ns: int) -> None:
        self._timer_ns = at_ns
        self._world.heap.push(at_ns, self._tick, at_ns)

    def _tick(self, at_ns: int) -> None:
        if at_ns == self._timer_ns:
            self._timer_ns = -1
            self._carry_out(self._core.on_tick(self._world.now_ns))


def client_events(world: SessionWorld) -> list[ClientEvent]:
    """The history of all clients of a world, in order, for a checker.

    A process does one operation at a time. A session that pipelines calls, or whose call has an
    unknown outcome, therefore has several processes.
    """
    events: list[ClientEvent] = []
    processes: dict[int, str] = {}
    free: dict[str, list[str]] = {}
    made: dict[str, int] = {}
    for time_ns, call, begins in world.client_log:
        if begins:
            idle = free.setdefault(call.session, [])
            if idle:
                process = idle.pop()
            else:
                made[call.session] = number = made.get(call.session, 0) + 1
                process = call.session if number == 1 else f"{call.session}.{number}"
            processes[id(call)] = process
            events.append(_event(time_ns, process, "invoke", call))
            continue
        process = processes[id(call)]
        type_ = _type_of(call)
        if type_ != "info":
            free[call.session].append(process)
        events.append(_event(time_ns, process, type_, call))
    return events


def _type_of(call: Call) -> str:
    return {"ok": "ok", "fail": "fail"}.get(call.status, "info")


def _event(time_ns: int, process: str, type_: str, call: Call) -> ClientEvent:
    command = call.command
    args = command.args
    value = None if not args else args[0] if len(args) == 1 else list(args)
    if command.op == "txn-run":
        value = args[0]
    if type_ == "ok" and command.op in RESULTS:
        value = call.value
    if type_ == "info" and call.value is not None:
        value = call.value  # what is known of it all the same
    return ClientEvent(
        time_ns=time_ns,
        process=process,
        type=type_,
        f=HISTORY_NAMES.get(command.op, command.op),
        key=command.key,
        value=value,
        node=call.to or None,
        error=(call.error or None) if type_ in ("fail", "info") else None,
        mode=call.mode,
    )
