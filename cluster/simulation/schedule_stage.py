"""The stage of a directed schedule: the world, its clients, and the output.

Also the words that several commands share: times, values, and the end of a client's operation.
Used by :mod:`cluster.simulation.schedule_commands` and :mod:`cluster.simulation.schedule_services`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec

from cluster.core.lease import LeaseHolder, TokenFence
from cluster.core.parts import ReplicaParts
from cluster.core.state_watch import Watcher
from cluster.simulation.network import HeldFrame, LinkFault
from cluster.simulation.reference import reference_parts
from cluster.simulation.schedule_text import ScheduleError
from cluster.simulation.sessions import Call, SimSession
from cluster.simulation.world import MS, SECOND, US, World


class Running(msgspec.Struct):
    """A client's latest operation.

    Args:
        words: as the schedule has them.
        call: its record in the ledger of clients.
        tell: its result in words, if it is ``ok``.
        resume: what makes it go on, if it waits for the schedule.
    """

    words: str
    call: Call
    tell: Callable[[Any], str]
    resume: Callable[[], None] | None = None


class Interactive(msgspec.Struct):
    """A client's transaction over data groups that is sent step by step.

    Args:
        call: the whole in the ledger of clients.
        asked: its steps as they were asked for.
        done: those that were carried out, with what they gave.
        txn: its id; "" until the node has returned it.
    """

    call: Call
    asked: list[Any]
    done: list[Any] = []
    txn: str = ""


class Memory(msgspec.Struct):
    """The memory of a client between its operations on services.

    Args:
        held: lock -> the lease and the token it has, or had.
        watchers: watched prefix -> its view of the changes.
        views: lock -> its view of the lease.
        now_ns: its clock.
        view: makes a view of a lease.
        watcher: makes a view of changes.
        fence: gives the fence of a lock's resource, which all clients share.
        contexts: key -> the siblings read last, and their context (role ``leaderless``).
    """

    held: dict[str, tuple[str, int]]
    watchers: dict[str, Watcher]
    views: dict[str, LeaseHolder]
    now_ns: Callable[[], int]
    view: type[LeaseHolder]
    watcher: type[Watcher]
    fence: Callable[[str], TokenFence]
    contexts: dict[str, tuple[list[Any], str]] = msgspec.field(default_factory=dict)


class Stage:
    """The state that commands act on: the world, its clients, their history, the output."""

    def __init__(self, *, ablations: tuple[str, ...], check_invariants: bool) -> None:
        self.ablations = ablations
        self.check_invariants = check_invariants
        self.output: list[str] = []
        #: what the system owed and did not do
        self.problems: list[str] = []
        self.seed = 0
        self.consensus = "raft"
        self.role = "core"
        self.founders: list[str] | None = None
        self.settings: dict[str, Any] = {}
        self.timeout_ns = 2 * SECOND
        #: operations that a client of a later line may have under way at once
        self.window = 1
        self.line = 0
        self._world: World | None = None
        self.cuts: dict[tuple[str, str], LinkFault] = {}
        #: the clock faults, in order, in the form of a run's faults
        self.clocks: list[dict[str, Any]] = []
        #: frames kept to be repeated, by link
        self.kept: dict[tuple[str, str], list[HeldFrame]] = {}
        #: client -> its latest operation
        self.calls: dict[str, Running] = {}
        #: client -> its transaction over data groups; None once that has ended
        self.transactions: dict[str, Interactive | None] = {}
        self._memory: dict[str, Memory] = {}
        self._fences: dict[str, TokenFence] = {}

    @property
    def started(self) -> bool:
        """Whether there is a world yet."""
        return self._world is not None

    @property
    def world(self) -> World:
        """The world; a sentence if there is none yet."""
        if self._world is None:
            raise ScheduleError(self.line, "there are no nodes yet; begin with: nodes n1 n2 n3")
        return self._world

    @world.setter
    def world(self, world: World) -> None:
        self._world = world

    def memory(self, client: str) -> Memory:
        """The memory of a client."""
        if client not in self._memory:
            parts = self._parts()
            self._memory[client] = Memory(
                held={},
                watchers={},
                views={},
                now_ns=lambda: self.world.now_ns,
                view=parts.lease_holder,
                watcher=parts.watcher,
                fence=self._fence,
            )
        return self._memory[client]

    def _fence(self, resource: str) -> TokenFence:
        return self._fences.setdefault(resource, self._parts().fence())

    def _parts(self) -> ReplicaParts:
        """The classes of clients and resources; of role ``core`` they can be ablated."""
        core = self.role == "core"
        return reference_parts(self.consensus, self.ablations) if core else ReplicaParts()

    def free(self, client: str, node: str | None) -> None:
        """Make sure that a client waits for nothing, and that the node it shall ask exists."""
        running = self.calls.get(client)
        if running is not None and not running.call.status:
            raise self.fail(f"{client} still waits for {running.words}; await it first")
        if node is not None and node not in self.world.nodes:
            raise self.fail(f"there is no node {node!r} to ask")

    def session(self, client: str) -> SimSession:
        """A client's session, begun when first asked for."""
        return self.world.session(client, timeout_ns=self.timeout_ns, window=self.window)

    def say(self, line: str) -> None:
        """Print."""
        self.output.append(line)

    def owes(self, problem: str, else_said: str) -> None:
        """Print a problem and remember it; print the other words if there is none."""
        self.say(problem or else_said)
        if problem:
            self.problems.append(problem)

    def fail(self, sentence: str) -> ScheduleError:
        """An error at the current line, to raise."""
        return ScheduleError(self.line, sentence)


def finish(stage: Stage, client: str, wanted: str) -> None:
    """Wait for a client's operation, print how it ended, and compare that with what is wanted.

    Raises:
        ScheduleError: it did not end, or ended otherwise.
    """
    running = stage.calls[client]
    words, call = running.words, running.call
    while not call.status:
        if not stage.world.run_until(lambda: bool(call.status or running.resume), 60 * SECOND):
            break
        if running.resume is not None:
            resume, running.resume = running.resume, None
            resume()
    if not call.status:
        raise stage.fail(f"{words} did not end in a minute of virtual time")
    shown = running.tell(call.value) if call.status == "ok" else ""
    said = f"{call.status} {shown}" if shown else call.status
    stage.say(f"{words} -> {said}")
    if wanted and wanted not in (said, call.status):
        why = f" ({call.error})" if call.error else ""
        raise stage.fail(f"{words} ended {said}{why}, and the schedule demands {wanted}")


_UNITS = {"us": US, "ms": MS, "s": SECOND}


def time_of(text: str) -> int:
    """Nanoseconds of ``50ms``, ``2s`` or ``100us``.

    Raises:
        ValueError: the text is no time.
    """
    match = re.fullmatch(r"(-?\d+)(us|ms|s)", text)
    if match is None:
        raise ValueError(f"{text!r} is no time; write 50ms, 2s or 100us")
    return int(match.group(1)) * _UNITS[match.group(2)]


def value_of(text: str) -> Any:
    """The value that a word stands for: JSON, ``nil``, or the word itself."""
    if text == "nil":
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def text_of(value: Any) -> str:
    """A value in one word, as :func:`value_of` reads it."""
    if value is None:
        return "nil"
    return value if isinstance(value, str) else json.dumps(value)
