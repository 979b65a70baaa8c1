"""Commands of role ``leaderless``: what may be asked, and how states change by it.

    get KEY                     dotted: {"values": [...], "context": text}; else the value, or None
    put KEY VALUE [CONTEXT]     replaces what the context covers; without one, nothing. Where the
                                last writer wins: {"stamp": N, "node": ID, "ns": time or None}
    delete KEY [CONTEXT]        the same, and writes nothing; without a context all that it finds
    set-add KEY E, set-remove KEY E, set-read KEY       a set that merges by itself
    counter-incr KEY N, counter-read KEY                a counter that merges by itself

Values, sets and counters of one name are three objects. A context is opaque to clients. Where the
last writer wins there are values only, and no contexts.

Two sets of rules carry commands out on the state of a key, and neither knows of nodes or quorums. A
request that a state has seen changes it no more.

Source: Dynamo's get and put with contexts (2007). Pure; used by
``cluster.leaderless.quorum_store``.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from cluster.clocks.version_vector import (
    Dot,
    DottedVersions,
    KeyState,
    RequestId,
    VersionVector,
)
from cluster.core.answers import INT_MAX, INT_MIN, key_problem, short, value_problem
from cluster.leaderless import crdts
from cluster.leaderless.last_writer_wins import LastWriterWins
from cluster.leaderless.operations import KINDS, READS, WITH_CONTEXT
from cluster.leaderless.stamps import Stamps
from cluster.wire import Command, Request

#: How many actors a context may name.
ACTORS_MAX = 4_096

_encode_pairs = msgspec.msgpack.Encoder().encode
_decode_pairs = msgspec.msgpack.Decoder(tuple[tuple[str, int], ...]).decode


def encode_context(vector: VersionVector) -> str:
    """A context as clients carry it."""
    return _encode_pairs(vector.pairs()).hex()


def decode_context(text: Any) -> VersionVector:
    """What :func:`encode_context` gave.

    Raises:
        ValueError: it is something else.
    """
    try:
        pairs = _decode_pairs(bytes.fromhex(text))
    except (TypeError, ValueError, binascii.Error, msgspec.MsgspecError):
        raise ValueError(f"the context {short(text)} is none that a read gave") from None
    sound = len(pairs) <= ACTORS_MAX and all(0 < number <= INT_MAX for _, number in pairs)
    if not sound or len(dict(pairs)) != len(pairs):
        raise ValueError(f"the context {short(text)} is none that a read gave")
    return VersionVector(pairs)


def store_key(command: Command) -> str:
    """The key under which a command's object is held: its kind, and the client's key."""
    return f"{KINDS[command.op]}:{command.key}"


class Rules(Protocol):
    """How states of keys change."""

    def problem(self, command: Command) -> str:
        """Why a command can never be carried out; "" if it may be."""

    def reads_first(self, command: Command) -> bool:
        """Whether a change must know what others hold."""

    def change(self, state: KeyState, request: Request) -> KeyState:
        """A state with a change carried out; one that has seen the request is left as it is."""

    def answer(self, state: KeyState, command: Command) -> Any:
        """What a read is told."""

    def told(self) -> Any:
        """What a change just carried out is told; None if there is nothing to tell."""

    def merge(self, one: KeyState, other: KeyState) -> KeyState:
        """What two replicas know together."""


def _problem(command: Command, *, contexts: bool) -> str:
    op, args = command.op, command.args
    if type(op) is not str or op not in KINDS:
        known = ", ".join(sorted(KINDS))
        return f"there is no operation {short(op)} in a leaderless store; known are {known}"
    wrong = key_problem(command.key)
    least = 0 if op in READS or op == "delete" else 1
    most = least + (op in WITH_CONTEXT and contexts)
    if wrong or not least <= len(args) <= most:
        return wrong or f"{op} takes {least} to {most} arguments here, not {len(args)}"
    if op == "counter-incr":
        whole = type(args[0]) is int and INT_MIN <= args[0] <= INT_MAX
        return "" if whole else f"{short(args[0])} is no whole number of 64 bits"
    return value_problem(args[0]) if least else ""


class DottedRules:
    """Values, sets and counters on dotted versions.

    Args:
        versions: their rules.
        next_dot: the dot of this node's next write of a key in some state.
    """

    def __init__(self, versions: DottedVersions, next_dot: Callable[[KeyState], Dot]) -> None:
        self._versions = versions
        self._next_dot = next_dot
        self.merge = versions.merge

    def problem(self, command: Command) -> str:
        """Why a command can never be carried out; "" if it may be."""
        wrong = _problem(command, contexts=True)
        if not wrong and _context_of(command) is not None:
            try:
                decode_context(_context_of(command))
            except ValueError as error:
                return str(error)
        return wrong

    def reads_first(self, command: Command) -> bool:
        """A removal must find what it removes."""
        return command.op == "set-remove" or (command.op == "delete" and not command.args)

    def change(self, state: KeyState, request: Request) -> KeyState:
        """A state with a change carried out; one that has seen the request is left as it is."""
        command, versions = request.command, self._versions
        name: RequestId = (request.session, request.seq)
        if state.has_seen(name) or (command.op == "counter-incr" and crdts.counted(state, name)):
            return state
        match command.op:
            case "put":
                read, dot = _read_context(command, VersionVector()), self._next_dot(state)
                dot = _above(dot, read)
                return versions.write(state, read, dot=dot, value=command.args[0], request=name)
            case "delete":
                read = _read_context(command, state.vector)
                return versions.write(state, read, dot=None, request=name)
            case "set-add":
                dot = self._next_dot(state)
                return crdts.add_element(versions, state, command.args[0], dot, name)
            case "set-remove":
                return crdts.remove_element(versions, state, command.args[0], name)
        assert command.op == "counter-incr", f"{command.op} changes nothing"
        dot = self._next_dot(state)
        return crdts.add_amount(versions, state, command.args[0], dot, name)

    def answer(self, state: KeyState, command: Command) -> Any:
        """What a read is told."""
        if command.op == "set-read":
            return crdts.elements(state)
        if command.op == "counter-read":
            return crdts.total(state)
        return {"values": state.values(), "context": encode_context(state.vector)}

    def told(self) -> Any:
        """Nothing: the next read has the context."""


def _context_of(command: Command) -> Any:
    """The context that a command carries; None if it carries none."""
    where = {"put": 1, "delete": 0}.get(command.op, len(command.args))
    return command.args[where] if len(command.args) > where else None


def _read_context(command: Command, otherwise: VersionVector) -> VersionVector:
    text = _context_of(command)
    return otherwise if text is None else decode_context(text)


def _above(dot: Dot, read: VersionVector) -> Dot:
    """The dot, or a higher one of its actor if the client has read that already."""
    return Dot(dot.actor, max(dot.counter, read[dot.actor] + 1))


class LastWriterRules:
    """Values of which the last one written is kept.

    Args:
        versions: the rules.
        node: this node, which tells equal stamps apart.
        stamps: the clock.
    """

    def __init__(self, versions: LastWriterWins, node: str, stamps: Stamps) -> None:
        self._versions = versions
        self._node = node
        self._stamps = stamps
        self._issued: Dot | None = None
        self.merge = versions.merge

    def problem(self, command: Command) -> str:
        """Why a command can never be carried out; "" if it may be."""
        wrong = _problem(command, contexts=False)
        if not wrong and KINDS[command.op] != "v":
            return f"{command.op} needs versions=dotted: here the last writer wins"
        return wrong

    def reads_first(self, command: Command) -> bool:
        """Never: the stamp decides."""
        return False

    def change(self, state: KeyState, request: Request) -> KeyState:
        """A state with a change carried out; one that has seen the request is left as it is."""
        name: RequestId = (request.session, request.seq)
        self._issued = None
        if state.has_seen(name):
            return state
        dot = self._issued = Dot(self._node, self._stamps.issue())
        value = request.command.args[0] if request.command.op == "put" else None
        return self._versions.write(state, dot, value, name)

    def answer(self, state: KeyState, command: Command) -> Any:
        """What a read is told: the value, or None."""
        return state.siblings[0].value if state.siblings else None

    def told(self) -> Any:
        """The write's stamp, by which it wins or loses; in nanoseconds too if it is a time. None
        for a copy of a request that was carried out before."""
        if self._issued is None:
            return None
        dot = self._issued
        return {"stamp": dot.counter, "node": dot.actor, "ns": self._stamps.time_of(dot.counter)}
