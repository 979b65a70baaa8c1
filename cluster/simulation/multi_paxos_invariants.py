"""The safety rules of Multi-Paxos: what acceptors promise, and what proposers propose.

- a ballot proposes one value per slot;
- a promise is kept: an acceptor accepts nothing new under a ballot below the one it has promised;
- an accepted value is not forgotten: writing one slot takes away no other, and a slot's ballot does
  not go down;
- a hole is not executed;
- a value that a majority has accepted under one ballot is what every higher ballot proposes.

The last one is the theorem of Paxos; it is watched through the acceptances that leave the nodes and
the proposers' own, once durable. Each check costs O(1) per slot accepted, written or proposed.
Listed in :mod:`cluster.simulation.variant_invariants`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from cluster.consensus.majority_quorum import quorum_size
from cluster.consensus.slots import HOLE
from cluster.ports import Append, Core, Recovered, Send
from cluster.simulation.trace import say_entry
from cluster.wire import Accept, Accepted, Entry, Promise

#: Kind and data of an entry: the value of a slot, without the ballot.
Value: TypeAlias = tuple[str, bytes]


def _value(entry: Entry) -> Value:
    return entry.kind, entry.data


class _Slot:
    """The checker's record of one slot, over all nodes."""

    __slots__ = ("accepted", "chosen", "proposed")

    def __init__(self) -> None:
        #: per ballot, the value proposed, and who accepted it
        self.proposed: dict[int, Entry] = {}
        self.accepted: dict[int, set[str]] = {}
        #: the lowest ballot known to have chosen
        self.chosen = 0


class _Acceptor:
    """The checker's record of one node."""

    __slots__ = ("accepted", "agreed", "durable", "promised", "seen")

    def __init__(self) -> None:
        self.promised = 0
        self.accepted: dict[int, Entry] = {}
        #: (ballot, slot): the acceptances up to there are counted already
        self.agreed = self.durable = (0, 0)
        #: the last slot whose execution was looked at
        self.seen = 0


class MultiPaxosInvariants:
    """The watch over all nodes of a world.

    Args:
        fail: called with (name, sentence, nodes) for a violation.
    """

    def __init__(self, fail: Callable[[str, str, tuple[str, ...]], None]) -> None:
        self._fail = fail
        self._slots: dict[int, _Slot] = {}
        self._acceptors: dict[str, _Acceptor] = {}

    # -- what is seen ------------------------------------------------------------------------------

    def started(self, node: str, recovered: Recovered) -> None:
        """``node`` starts from what its storage found."""
        acceptor = self._acceptors[node] = _Acceptor()
        acceptor.promised = recovered.hard_state.generation
        acceptor.accepted = {entry.index: entry for entry in recovered.entries}
        acceptor.seen = recovered.snapshot.index if recovered.snapshot else 0

    def appending(self, node: str, effect: Append) -> None:
        """The core of ``node`` asked for this write."""
        acceptor = self._acceptors[node]
        if effect.hard_state is not None:
            acceptor.promised = max(acceptor.promised, effect.hard_state.generation)
        for entry in effect.entries:
            self._write(node, acceptor, entry)
        if effect.entries:
            last = effect.entries[-1].index
            lost = [slot for slot in _above(acceptor.accepted, last) if slot > last]
            if lost:
                self._fail(
                    "accepted-value-kept",
                    f"{node} wrote slots {effect.entries[0].index} to {last} and dropped what it "
                    f"had accepted in slot {lost[0]}",
                    (node,),
                )

    def sending(self, node: str, effect: Send) -> None:
        """A message leaves ``node`` now."""
        message = effect.message
        if type(message) is Accept:
            for entry in message.entries:
                self._propose(node, entry)
        elif type(message) is Promise and message.granted and not message.probe:
            acceptor = self._acceptors[node]
            acceptor.promised = max(acceptor.promised, message.asked)
        elif type(message) is Accepted and message.last >= message.first:
            for slot in range(message.first, message.last + 1):
                self._count(node, message.generation, slot)

    def after(self, node: str, core: Core) -> None:
        """An event on ``node`` is done: look at what it executed, and at its own acceptances."""
        consensus: Any = getattr(core, "consensus")  # noqa: B009 - only our own core has one
        acceptor = self._acceptors[node]
        if consensus.high_water_mark > acceptor.seen:
            # What is below the log came with a snapshot, and was not executed here.
            acceptor.seen = max(acceptor.seen, consensus.log.base_index)
            self._check_holes(node, acceptor, consensus.high_water_mark)
        if consensus.role == "leader":
            ballot, durable = consensus.clock.generation, consensus.node.writes.durable_index
            since = acceptor.durable[1] if acceptor.durable[0] == ballot else 0
            for slot in range(since + 1, durable + 1):
                if consensus.log.generation_at(slot) == ballot:
                    self._count(node, ballot, slot)
            acceptor.durable = ballot, max(since, durable)

    # -- the rules ---------------------------------------------------------------------------------

    def _write(self, node: str, acceptor: _Acceptor, entry: Entry) -> None:
        held = acceptor.accepted.get(entry.index)
        if held == entry:
            return
        acceptor.accepted[entry.index] = entry
        if entry.kind == HOLE:
            return
        if held is not None and held.kind != HOLE and held.generation > entry.generation:
            self._fail(
                "accepted-value-kept",
                f"{node} replaced what it accepted in slot {entry.index} under ballot "
                f"{held.generation} by a value of ballot {entry.generation}",
                (node,),
            )
        if entry.generation < acceptor.promised:
            self._fail(
                "promise-kept",
                f"{node} accepted ballot {entry.generation} in slot {entry.index} after it had "
                f"promised {acceptor.promised}",
                (node,),
            )
        self._propose(node, entry)

    def _propose(self, node: str, entry: Entry) -> None:
        """A value is proposed, or was accepted, under its ballot."""
        slot = self._slots.setdefault(entry.index, _Slot())
        known = slot.proposed.get(entry.generation)
        if known is not None:
            if known is not entry and known != entry:
                self._fail(
                    "one-value-per-ballot",
                    f"ballot {entry.generation} has {say_entry(entry)} for slot {entry.index} on "
                    f"{node}, and had {say_entry(known)} before",
                    (node,),
                )
            return
        slot.proposed[entry.generation] = entry
        if slot.chosen:
            self._compare(slot, entry, node)

    def _count(self, node: str, ballot: int, number: int) -> None:
        """A node has durably accepted a slot under a ballot."""
        slot = self._slots.get(number)
        if slot is None or ballot not in slot.proposed or 0 < slot.chosen <= ballot:
            return
        voters = slot.accepted.setdefault(ballot, set())
        voters.add(node)
        if len(voters) >= quorum_size(len(self._acceptors)):
            slot.chosen = ballot
            for entry in slot.proposed.values():
                self._compare(slot, entry, node)

    def _compare(self, slot: _Slot, entry: Entry, node: str) -> None:
        chosen = slot.proposed[slot.chosen]
        if entry.generation > slot.chosen and _value(entry) != _value(chosen):
            self._fail(
                "chosen-value-stays",
                f"ballot {entry.generation} proposes {say_entry(entry)} for slot {entry.index}, "
                f"where ballot {slot.chosen} has chosen {say_entry(chosen)}",
                (node,),
            )

    def _check_holes(self, node: str, acceptor: _Acceptor, mark: int) -> None:
        for slot in range(acceptor.seen + 1, mark + 1):
            held = acceptor.accepted.pop(slot, None)
            if held is not None and held.kind == HOLE:
                self._fail("hole-executed", f"{node} passed over the hole in slot {slot}", (node,))
        acceptor.seen = mark


def _above(accepted: dict[int, Entry], last: int) -> list[int]:
    """The slots above ``last`` in which something is accepted; there are seldom any."""
    found, slot = [], last + 1
    while slot in accepted:
        found.append(slot)
        slot += 1
    return found
