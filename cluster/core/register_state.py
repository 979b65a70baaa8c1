"""What a register of role ``paxos`` holds: the key's value, and the changes made to it of late.

Problem. A client whose answer is lost asks again, perhaps another node. Its first copy may have
been chosen, or accepted by one node only, from where a later ballot brings it back. Applied twice,
an append is there twice. No log decides which copy came first, and no node knows all changes.

Solution. The memory of changes is part of the value that Paxos chooses: each session's latest
numbers with their answers, beside the key's value, in one encoding. A change is applied to the
value of the newest ballot of a majority. If the change is in there, whatever ballot brought it, it
is recognised, and answered as it was then. If it is not, no value chosen so far has it, and of the
proposals that have it at most one is built upon. The rules are those of the log's sessions
(:mod:`cluster.channel.idempotent_receiver`), with the round of the ballot in place of the index.

Rounds serve as a clock for sessions. An answer tells its round; a session states a round that it
knew when it began (``opened_after``), and is changed only by ballots of higher rounds. So a
register may forget the sessions that changed it least lately, and knows of an unknown session
whether it may be one of those: then the copy is refused as ``expired``.

Numbers are kept per register. A number that is given up never happens after a later one of the
same session *to the same key*; between keys there is no order.

Invariants. A (session, number) is applied at most once to a register. The identity change leaves
the very bytes that were read.

What breaks without it. A28a: a repeated change is applied twice.

Source: Joshi, "Idempotent Receiver"; Raft thesis 6.3 for what a session remembers. Used by
``cluster.core.paxos_register``; pure.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.channel.idempotent_receiver import IdempotentReceiver
from cluster.consensus.paxos import NO_VALUE
from cluster.core.answers import Answer, short
from cluster.core.key_value import KeyValue
from cluster.wire import Command, LoggedCommand, Request

#: What a register is asked for: operations on one key, with no history and no lease.
READS = frozenset({"get", "stat"})
OPERATIONS = READS | {"put", "cas", "append", "incr", "delete"}

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(strict=True).decode


def register_value(key: str, value: bytes) -> Any:
    """What a client would read of an encoded value; None if the key is absent."""
    if value == NO_VALUE:
        return None
    machine = KeyValue()
    machine.restore(_decode(value)[0])
    found = machine.values.latest(key)
    return None if found is None else found.value


def register_problem(command: Command) -> str:
    """Why a command can never be carried out on a register; "" if it may be."""
    op, args = command.op, command.args
    if type(op) is not str or op not in OPERATIONS:
        known = ", ".join(sorted(OPERATIONS))
        return f"there is no operation {short(op)} on a register; known are {known}"
    if (op in READS and args) or (op == "put" and len(args) > 1):
        return f"{op} on a register takes {'a value' if op == 'put' else 'no arguments'} only"
    return KeyValue().problem(command)


class RegisterState:
    """A register's value, decoded, to be changed and encoded again.

    Args:
        value: as Paxos found it; ``b""`` where there is none.
        machine: an empty state machine.
        receiver: an empty memory of changes.
    """

    __slots__ = ("_found", "changed", "machine", "receiver")

    def __init__(self, value: bytes, machine: KeyValue, receiver: IdempotentReceiver) -> None:
        self._found = value
        #: whether anything but reads was applied
        self.changed = False
        self.machine = machine
        self.receiver = receiver
        if value != NO_VALUE:
            items, sessions = _decode(value)
            machine.restore(items)
            receiver.restore(sessions)

    def apply(self, round: int, request: Request) -> tuple[Answer, int]:
        """Carry a request out, or recognise that it was.

        Args:
            round: of the ballot that the result is proposed under; above ``opened_after``.
            request: what a client asks.

        Returns:
            The answer, and the round it belongs to.
        """
        command = request.command
        if command.op in READS:
            return self.machine.read(command), round
        assert request.opened_after < round, f"round {round} is not after the session's beginning"
        logged = LoggedCommand(
            request.session, request.seq, command, request.first_unanswered, request.opened_after
        )
        self.changed = True
        known = self.receiver.admit(round, logged)
        if known is not None:
            return known
        answer = self.machine.apply(round, command)
        self.receiver.remember(round, logged, answer)
        return answer, round

    def encode(self) -> bytes:
        """The value to be proposed: the very one that was found, if nothing changed it."""
        if not self.changed:
            return self._found
        self.machine.values.compact(self.machine.values.newest)  # a register has no history
        return _encode((self.machine.encode(), self.receiver.encode()))
