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
from cluster.core.state_machine import READS, Answer, KeyValue
from cluster.wire import LoggedCommand, Request

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(strict=True).decode


def register_value(key: str, value: bytes) -> Any:
    """What a client would read of an encoded value; None if the key is absent."""
    item = _decode(value)[0].get(key) if value != NO_VALUE else None
    return None if item is None else item[0]


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
        return _encode((self.machine.encode(), self.receiver.encode()))
