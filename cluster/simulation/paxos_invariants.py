"""White-box invariants of role ``paxos``, checked after every event on the node it touched.

There is no log and no leader to watch, so these stand in place of the rules of
:mod:`cluster.simulation.invariants`. They are those of Lamport, "Paxos Made Simple" (2001), with
the acceptors' memory followed from the records they write and not from their internals:

- ``ballot-unique``: a ballot is used by one attempt, of one node in one life, for one register;
- ``round-reserved``: a ballot leaves a node only when its round is reserved durably;
- ``promise-kept``: an acceptor accepts and promises nothing below what it promised;
- ``durable-first``: a promise or an acceptance leaves a node only when it is durable;
- ``durable-acceptor``: a restarted node has every promise and value that was reported durable;
- ``one-value-per-ballot``: a ballot of a register names one value, everywhere;
- ``built-on-chosen``: once a majority has accepted a value durably, every proposal of a higher
  ballot is built on it, or on one that is.

Used by the world for nodes of this role.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from cluster.consensus.majority_quorum import quorum_size
from cluster.consensus.paxos import NO_BALLOT
from cluster.core.acceptors import PROMISE, record_of, replay
from cluster.core.paxos_register import PaxosRegisters
from cluster.ports import Append, Core, Recovered, SaveSnapshot, Send
from cluster.simulation.trace import say_ballot
from cluster.simulation.variant_invariants import Fail
from cluster.wire import (
    Ballot,
    RegisterAccept,
    RegisterAccepted,
    RegisterPrepare,
    RegisterPromise,
)


class _Memory:
    """One acceptor's memory: what it promised and accepted."""

    __slots__ = ("accepted", "promised")

    def __init__(self, promised: Ballot = NO_BALLOT, accepted: Ballot = NO_BALLOT) -> None:
        self.promised, self.accepted = promised, accepted

    def take(self, ballot: Ballot, *, accepts: bool) -> None:
        self.promised = max(self.promised, ballot)
        if accepts:
            self.accepted = max(self.accepted, ballot)


class _Watched:
    """The checker's record of one node: its writes, durable ones, and those under way."""

    __slots__ = ("durable", "life", "pending", "reserved", "written")

    def __init__(self) -> None:
        self.life = 0
        self.reserved = 0
        self.written: dict[str, _Memory] = {}
        self.durable: dict[str, _Memory] = {}
        #: (io_id, key, ballot, whether it accepts), or (io_id, "", Ballot(reserved round), False)
        self.pending: list[tuple[int, str, Ballot, bool]] = []


class _Choices:
    """The checker's record of one register: accepted, chosen and proposed values."""

    __slots__ = ("accepted_by", "bases", "chosen", "proposed", "values")

    def __init__(self) -> None:
        self.values: dict[Ballot, bytes] = {}
        self.accepted_by: dict[Ballot, dict[str, None]] = {}
        self.chosen: list[Ballot] = []
        self.proposed: list[Ballot] = []
        self.bases: dict[Ballot, Ballot] = {}


class PaxosInvariants:
    """The watch over all nodes of a world of role ``paxos``.

    Args:
        fail: called with (name, sentence, nodes) for a violation; must raise or record.
        members: how many acceptors there are.
    """

    def __init__(self, fail: Fail, *, members: int) -> None:
        self._fail = fail
        self._quorum = quorum_size(members)
        self._watched: dict[str, _Watched] = {}
        self._choices: dict[str, _Choices] = {}
        #: ballot -> (node, its life, key) of the attempt that uses it
        self._owners: dict[Ballot, tuple[str, int, str]] = {}

    # -- what a node writes

    def appending(self, node: str, effect: Append) -> None:
        """The core of ``node`` asked for this write."""
        watched = self._of(node)
        if effect.hard_state is not None:
            reserved = Ballot(effect.hard_state.generation)
            watched.pending.append((effect.io_id, "", reserved, False))
        for entry in effect.entries:
            record, accepts = record_of(entry), entry.kind != PROMISE
            memory = watched.written.setdefault(record.key, _Memory())
            if record.ballot < memory.promised:
                did = "accepts" if accepts else "promises"
                self._fail(
                    "promise-kept",
                    f"{node} {did} ballot {say_ballot(record.ballot)} of {record.key}, and it "
                    f"promised {say_ballot(memory.promised)} before",
                    (node,),
                )
            memory.take(record.ballot, accepts=accepts)
            watched.pending.append((effect.io_id, record.key, record.ballot, accepts))
            if accepts:
                self._check_value(node, record.key, record.ballot, record.value)

    def snapshotting(self, node: str, effect: SaveSnapshot) -> None:
        """The core of ``node`` asked for this snapshot; a restart shows whether it is whole."""

    def persisted(self, node: str, io_id: int) -> None:
        """Storage reported every write up to ``io_id`` durable."""
        watched = self._of(node)
        done = 0
        for pending_id, key, ballot, accepts in watched.pending:
            if pending_id > io_id:
                break
            done += 1
            if not key and not ballot.node:
                watched.reserved = max(watched.reserved, ballot.round)
                continue
            watched.durable.setdefault(key, _Memory()).take(ballot, accepts=accepts)
            if accepts:
                self._accepted(node, key, ballot)
        del watched.pending[:done]

    # -- what a node sends

    def sending(self, node: str, effect: Send) -> None:
        """A message leaves ``node`` now: what it promises must hold from now on."""
        match effect.message:
            case RegisterPrepare(key, ballot):
                self._check_owner(node, key, ballot)
            case RegisterAccept(key, ballot, value):
                self._check_value(node, key, ballot, value)
            case RegisterPromise(key, ballot):
                self._check_durable(node, key, ballot, accepts=False)
            case RegisterAccepted(key, ballot):
                self._check_durable(node, key, ballot, accepts=True)

    def _check_owner(self, node: str, key: str, ballot: Ballot) -> None:
        watched = self._of(node)
        attempt = (node, watched.life, key)
        owner = self._owners.setdefault(ballot, attempt)
        if owner != attempt:
            self._fail(
                "ballot-unique",
                f"{node} uses ballot {say_ballot(ballot)} for {key}, which {owner[0]} used for "
                f"{owner[2]}{' before it restarted' if owner[0] == node else ''}",
                (node, owner[0]),
            )
        if ballot.round > watched.reserved:
            self._fail(
                "round-reserved",
                f"{node} uses round {ballot.round}, and has reserved {watched.reserved}",
                (node,),
            )

    def _check_durable(self, node: str, key: str, ballot: Ballot, *, accepts: bool) -> None:
        memory = self._of(node).durable.get(key, _Memory())
        if (memory.accepted if accepts else memory.promised) < ballot:
            did = "accepted" if accepts else "promised"
            self._fail(
                "durable-first",
                f"{node} says that it {did} ballot {say_ballot(ballot)} of {key}, which is not "
                "durable there",
                (node,),
            )

    def _check_value(self, node: str, key: str, ballot: Ballot, value: bytes) -> None:
        known = self._of_key(key).values.setdefault(ballot, value)
        if known != value:
            self._fail(
                "one-value-per-ballot",
                f"{node} has another value of {key} for ballot {say_ballot(ballot)} than was "
                "proposed with it before",
                (node,),
            )

    # -- what is chosen

    def _accepted(self, node: str, key: str, ballot: Ballot) -> None:
        """A node has durably accepted the value of a ballot."""
        choices = self._of_key(key)
        by = choices.accepted_by.setdefault(ballot, {})
        if node in by:
            return
        by[node] = None
        if len(by) != self._quorum:
            return
        insort(choices.chosen, ballot)
        for above in choices.proposed[bisect_right(choices.proposed, ballot) :]:
            self._check_base(key, choices, above)

    def _check_base(self, key: str, choices: _Choices, ballot: Ballot) -> None:
        below = bisect_left(choices.chosen, ballot)
        if not below:
            return
        chosen, base = choices.chosen[below - 1], choices.bases[ballot]
        if base < chosen:
            self._fail(
                "built-on-chosen",
                f"the proposal {say_ballot(ballot)} of {key} is built on {say_ballot(base)}, and "
                f"{say_ballot(chosen)} is chosen",
                tuple(dict.fromkeys((ballot.node, *choices.accepted_by[chosen]))),
            )

    # -- what a node is

    def started(self, node: str, recovered: Recovered, *, excused: bool) -> None:
        """``node`` starts from what its storage found.

        Args:
            node: which.
            recovered: what was found.
            excused: its disk was damaged or its storage is ablated: durability is not owed.
        """
        watched, reserved = self._of(node), recovered.hard_state.generation
        found = {
            key: _Memory(acceptor.promised, acceptor.accepted)
            for key, acceptor in replay(recovered).items()
        }
        if not excused:
            self._check_memory(node, watched, found, reserved)
        for key, memory in found.items():
            if memory.accepted != NO_BALLOT:
                self._accepted(node, key, memory.accepted)
        watched.life += 1
        watched.reserved, watched.pending = reserved, []
        watched.written = found
        watched.durable = {k: _Memory(m.promised, m.accepted) for k, m in found.items()}

    def _check_memory(
        self, node: str, watched: _Watched, found: dict[str, _Memory], reserved: int
    ) -> None:
        if reserved < watched.reserved:
            self._fail(
                "durable-acceptor",
                f"{node} restarted with round {reserved} reserved; {watched.reserved} was durable",
                (node,),
            )
        for key, owed in watched.durable.items():
            has = found.get(key, _Memory())
            if has.promised < owed.promised or has.accepted < owed.accepted:
                self._fail(
                    "durable-acceptor",
                    f"{node} restarted with ballots {say_ballot(has.promised)} promised and "
                    f"{say_ballot(has.accepted)} accepted for {key}; durable were "
                    f"{say_ballot(owed.promised)} and {say_ballot(owed.accepted)}",
                    (node,),
                )

    def after(self, node: str, core: Core) -> None:
        """An event on ``node`` is done: look at what it proposes."""
        assert isinstance(core, PaxosRegisters)
        for key, register in core.proposers.registers.items():
            attempt = register.proposer.attempt
            if attempt is None or attempt.base is None:
                continue
            choices = self._of_key(key)
            if attempt.ballot not in choices.bases:
                choices.bases[attempt.ballot] = attempt.base
                insort(choices.proposed, attempt.ballot)
                self._check_base(key, choices, attempt.ballot)

    def _of(self, node: str) -> _Watched:
        return self._watched.setdefault(node, _Watched())

    def _of_key(self, key: str) -> _Choices:
        return self._choices.setdefault(key, _Choices())
