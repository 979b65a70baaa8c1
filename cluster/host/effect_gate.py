"""The effect gate: nothing leaves a node before what it promises is durable.

Problem. A core answers with effects: messages, replies and writes. A vote or an acknowledgement
promises that something will still be known after a crash, and its write takes longer than the
message. Every host of a core must hold such messages back, and each host that has its own rule for
it may have its own mistake: a simulator would then test a rule that no process runs.

Solution. One gate between a core and its host. Effects of a core go in. Writes wait in one queue
until the host takes them; messages and replies leave at once, or, with ``after``, when the host has
reported that write durable. The gate does no I/O and knows no time, so the runtime, the simulation
and tests run the same gate.

Invariants. A message with ``after=n`` leaves only once a write m >= n was reported durable. Writes
are taken in the order issued, without a gap, and reported in that order; so a snapshot does not
overtake the entries before it, and a report covers every earlier write. Held effects leave in the
order issued. A closed gate (a failed write, a bug, a crash) lets nothing leave.

What breaks without it. A node votes, crashes before its vote is durable, and votes again in the
same generation: two leaders. A follower acknowledges an entry, crashes, and the committed entry is
gone (A01). Two writes that complete out of order lose acknowledged entries in the same way.

Source: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), section
5: persistent state is updated on stable storage before answering. etcd's raft gives its callers the
same duties in the same order (``Ready``: first the write, then the messages).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from cluster.ports import Append, Effect, Note, Reply, SaveSnapshot, Send, SetTimer

Write: TypeAlias = Append | SaveSnapshot


class GateBroken(AssertionError):
    """An invariant of the gate is broken: a bug of the core or of the host. The node must stop."""


class EffectGate:
    """The gate of one life of a node; ids of writes begin at 1 in each life.

    Args:
        leave: called with each message and reply that may leave now, in order.
        note: called with each note at once.
    """

    __slots__ = ("_held", "_leave", "_note", "_queue", "closed", "durable", "issued", "taken")

    def __init__(
        self, *, leave: Callable[[Send | Reply], None], note: Callable[[Note], None]
    ) -> None:
        #: ids of the last write that the core issued, that the host took, and that is durable
        self.issued = self.taken = self.durable = 0
        self.closed = False
        self._leave = leave
        self._note = note
        self._queue: list[Write] = []
        self._held: list[Send | Reply] = []

    def carry_out(self, effects: Sequence[Effect]) -> int:
        """Carry out what one call of the core returned.

        Args:
            effects: in the core's order.

        Returns:
            The time of the last SetTimer, in ns of the node's monotonic clock; -1 if there is none.

        Raises:
            GateBroken: the ids of the writes have a gap, an effect waits for a write that was
                never issued, or something is no effect.
        """
        timer_ns = -1
        if self.closed:
            return timer_ns
        for effect in effects:
            kind = type(effect)
            if kind is Send or kind is Reply:
                if effect.after <= self.durable:  # type: ignore[union-attr]
                    self._leave(effect)  # type: ignore[arg-type]
                else:
                    self._hold(effect)  # type: ignore[arg-type]
            elif kind is SetTimer:
                timer_ns = effect.at_ns  # type: ignore[union-attr]
            elif kind is Append or kind is SaveSnapshot:
                self._issue(effect)  # type: ignore[arg-type]
            else:
                if kind is not Note:
                    raise GateBroken(f"{effect!r} is no effect")
                self._note(effect)  # type: ignore[arg-type]
        return timer_ns

    @property
    def has_writes(self) -> bool:
        """Whether :meth:`take` has something."""
        return bool(self._queue)

    def take(self) -> list[Write]:
        """The writes to be made now: all that were issued and not yet taken, in order.

        The host makes them durable in this order, after all it took before, and reports the last id
        (or, on the way, an earlier one) to :meth:`persisted`.
        """
        batch = self._queue
        if batch:
            first, last = batch[0].io_id, batch[-1].io_id
            if first != self.taken + 1 or last != self.issued:
                raise GateBroken(f"writes {first} to {last} are queued after write {self.taken}")
            self._queue = []
            self.taken = last
        return batch

    def persisted(self, io_id: int) -> None:
        """Every write up to ``io_id`` is durable: what waited for it leaves, in the order issued.

        Raises:
            GateBroken: the report goes back, or the write was never taken.
        """
        if self.closed:
            return
        if not self.durable <= io_id <= self.taken:
            raise GateBroken(
                f"write {io_id} is reported durable after write {self.durable}, and write "
                f"{self.taken} is the last that was taken"
            )
        self.durable = io_id
        held = self._held
        if held:
            self._held = [effect for effect in held if effect.after > io_id]
            for effect in held:
                if effect.after <= io_id:
                    self._leave(effect)

    def close(self) -> None:
        """Let nothing leave any more, and forget what is queued and held."""
        self.closed = True
        self._queue, self._held = [], []

    def _hold(self, effect: Send | Reply) -> None:
        if effect.after > self.issued:
            raise GateBroken(
                f"a {type(effect).__name__} waits for write {effect.after}, and write "
                f"{self.issued} is the last that was issued"
            )
        self._held.append(effect)

    def _issue(self, write: Write) -> None:
        if write.io_id != self.issued + 1:
            raise GateBroken(f"write {write.io_id} is issued after write {self.issued}")
        self.issued = write.io_id
        self._queue.append(write)
