"""Lease: what a client holds ends by itself, unless the client keeps renewing it.

Problem. A client takes something (a lock, a membership, a partition) and dies. It must not hold it
for ever, and no node can tell a dead client from a slow one.

Solution. The core grants a lease for a time to live. Keys may be attached to it, and when the lease
ends they are deleted, at one revision. Grants, renewals and ends are commands of the log, so every
node knows the same leases (:class:`Leases`). Time is not in the log. Each node measures it with its
own monotonic clock, from the moment it *applied* the grant or the last renewal
(:class:`LeaseClock`); that is later than the moment the holder asked. When a lease is over by the
leader's clock, the leader proposes its end. The proposal names the renewal it knows, and does
nothing if another was committed before it.

The holder counts from the moment it *sent* the grant or renewal, so its view ends first. The
granter adds a margin for clocks that run at different rates. A new leader has measured all along,
since it applied the same entries. A node that restarts has measured nothing, and begins again with
the time that is left: a leader writes that down when half of it is gone (a checkpoint), so that a
cluster that restarts again and again does not keep dead clients alive.

The lease's token, the revision of the grant, grows from grant to grant. A resource that remembers
the largest token it has seen (:class:`TokenFence`) can refuse a holder that was paused past its end
(a fencing token).

    lease-grant ID ttl_ns    {"lease", "token", "ttl_ns"}; an empty ID lets the core choose
    lease-renew ID           {"lease", "token", "ttl_ns"}; fail if it is over
    lease-revoke ID          how many keys ended with it; fail if it is over
    leases ""                every lease: {"lease", "token", "ttl_ns", "keys"}

Invariants. A lease ends only by revocation, or after its time to live and the margin have passed on
the clock of a leader that has applied every renewal answered before. Keys never outlive their
lease. Equal tables at equal indexes.

What breaks without it. A49e: without the margin, a granter whose clock is fast ends a lease that
its holder counts on. A49f: an end that does not name the renewal ends a lease that was just
renewed. A49c: a checkpoint that outlives a renewal ends the lease early. A49g: tokens that are used
again tell no resource which holder is the later one. A13: a resource that takes writes of leases
that are over takes those of a paused holder. A49d: so does a resource outside the cluster that
does not compare tokens. A49a: a holder that counts from the answer acts after the next one was
granted the lease. A49b: a granter that measures by the wall clock ends leases early when that is
set forward.

Source: Gray and Cheriton, "Leases" (1989); Joshi, "Lease"; etcd's leases and lease checkpoints.
Used by ``cluster.core.state_machine`` and ``cluster.core.replica``; by clients and resources, for
their view.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import msgspec

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.core.answers import Answer, DigestSum, fail, key_problem, ok, short
from cluster.ports import Clock
from cluster.wire import Command

GRANT, RENEW, REVOKE = "lease-grant", "lease-renew", "lease-revoke"
EXPIRE, CHECKPOINT, LIST = "lease-expire", "lease-checkpoint", "leases"

MS = 1_000_000
TTL_MIN_NS, TTL_MAX_NS = 50 * MS, 24 * 3600 * 1000 * MS
#: The margin is a fraction of the time to live: how much faster the granter's clock may run than
#: the holder's.
MARGIN = 0.25


class Held(msgspec.Struct):
    """A lease in the table.

    Args:
        token: the fencing token of the grant.
        renewed: index of the grant or of the last renewal.
        ttl_ns: its time to live.
        left_ns: what is left of it, for a node that has not measured itself.
    """

    token: int
    renewed: int
    ttl_ns: int
    left_ns: int


class Leases:
    """The replicated table of leases.

    Args:
        end_keys: called with (index, lease) when a lease ends; deletes its keys, and counts them.
        keys_of: the keys attached to a lease.
    """

    __slots__ = ("_digest", "_end_keys", "_keys_of", "fresh", "table")

    reads = frozenset({LIST})
    writes = frozenset({GRANT, RENEW, REVOKE})
    #: proposed by a leader, never by a client
    internal = frozenset({EXPIRE, CHECKPOINT})

    def __init__(
        self, end_keys: Callable[[int, str], int], keys_of: Callable[[str], list[str]]
    ) -> None:
        self._end_keys = end_keys
        self._keys_of = keys_of
        self.table: dict[str, Held] = {}
        #: leases whose time a node must begin to measure
        self.fresh: dict[str, None] = {}
        self._digest = DigestSum()

    def exists(self, lease: str) -> bool:
        """Decision: whether a lease has not ended; only then keys may be attached to it."""
        return lease in self.table

    # -- commands ----------------------------------------------------------------------------------

    def problem(self, command: Command) -> str:
        """Why a command can never be carried out, whatever the state; "" if it may be."""
        wrong = key_problem(command.key)
        if wrong:
            return wrong
        if command.op == GRANT:
            return _ttl_problem(command.args)
        count = {EXPIRE: 1, CHECKPOINT: 2}.get(command.op, 0)
        if len(command.args) != count or any(type(arg) is not int for arg in command.args):
            return f"{command.op} takes {count} whole numbers, not {short(command.args)}"
        return ""

    def apply(self, index: int, command: Command) -> Answer:
        """Carry out a write that has no problem, as of a log index."""
        lease, args = command.key, command.args
        if command.op == GRANT:
            return self._grant(index, lease or f"lease-{index}", args[0])
        held = self.table.get(lease)
        if held is None:
            return fail(f"there is no lease {short(lease)}; it is over, or never was")
        match command.op:
            case "lease-renew":
                held.renewed, held.left_ns = index, self.left_after_renewal(held)
                return self._granted(lease, held)
            case "lease-revoke":
                return ok(self._end(index, lease))
            case "lease-expire":
                return ok(self._end(index, lease) if self.is_as_proposed(held, args[0]) else 0)
            case _:
                if self.is_as_proposed(held, args[0]):
                    held.left_ns = min(held.left_ns, args[1])
                    self._digest.touch(lease)
                return ok(held.left_ns)

    def is_as_proposed(self, held: Held, renewed: int) -> bool:
        """Decision: whether no renewal was committed since a leader proposed something about it."""
        return held.renewed == renewed

    def token_of(self, index: int) -> int:
        """Decision: the token of what is granted at a log index: larger than all before."""
        return index

    def left_after_renewal(self, held: Held) -> int:
        """Decision: what is left of a lease that is renewed, whatever a checkpoint said before."""
        return held.ttl_ns

    def _grant(self, index: int, lease: str, ttl_ns: int) -> Answer:
        if lease in self.table:
            return fail(f"there is a lease {short(lease)} already")
        held = self.table[lease] = Held(self.token_of(index), index, ttl_ns, ttl_ns)
        return self._granted(lease, held)

    def _granted(self, lease: str, held: Held) -> Answer:
        self.fresh[lease] = None
        self._digest.touch(lease)
        return ok({"lease": lease, "token": held.token, "ttl_ns": held.ttl_ns})

    def _end(self, index: int, lease: str) -> int:
        del self.table[lease]
        self.fresh.pop(lease, None)
        self._digest.touch(lease)
        return self._end_keys(index, lease)

    def read(self, command: Command) -> Answer:
        """Every lease, in the order of their grants."""
        return ok(
            [
                {
                    "lease": lease,
                    "token": held.token,
                    "ttl_ns": held.ttl_ns,
                    "keys": self._keys_of(lease),
                }
                for lease, held in self.table.items()
            ]
        )

    # -- snapshots ---------------------------------------------------------------------------------

    def encode(self) -> Any:
        """The whole table, for a snapshot."""
        return [(lease, *msgspec.structs.astuple(held)) for lease, held in self.table.items()]

    def restore(self, state: Any) -> None:
        """Replace the table by one that :meth:`encode` gave, decoded afresh."""
        self.table = {lease: Held(*rest) for lease, *rest in state}
        self.fresh = dict.fromkeys(self.table)
        self._digest = DigestSum()

    def digest(self) -> int:
        """Hash of the table, equal for equal tables."""
        return self._digest.value(self._row, self.table)

    def _row(self, lease: str) -> Any:
        held = self.table.get(lease)
        return None if held is None else ["lease", *msgspec.structs.astuple(held)]


def _ttl_problem(args: tuple[Any, ...]) -> str:
    if len(args) != 1 or type(args[0]) is not int:
        return f"{GRANT} takes a time to live in nanoseconds, not {short(args)}"
    if not TTL_MIN_NS <= args[0] <= TTL_MAX_NS:
        return (
            f"the time to live is {args[0] / 1e9:g} s; it should be {TTL_MIN_NS / 1e9:g} s to "
            f"{TTL_MAX_NS / 1e9:g} s"
        )
    return ""


class LeaseHolder:
    """A holder's own view of its lease: until when it may count on it, by its own clock."""

    __slots__ = ("until_ns",)

    def __init__(self) -> None:
        self.until_ns = 0

    def counts_from_ns(self, asked_ns: int, told_ns: int) -> int:
        """Decision: when the time to live begins: when it was asked for. The granter's begins later
        in any case, and may begin long before its answer comes.

        Args:
            asked_ns: when the grant or renewal was sent.
            told_ns: when its answer came.
        """
        return asked_ns

    def granted(self, asked_ns: int, told_ns: int, ttl_ns: int) -> None:
        """The lease was granted or renewed."""
        assert asked_ns <= told_ns, f"the answer came at {told_ns}, before {asked_ns}"
        self.until_ns = self.counts_from_ns(asked_ns, told_ns) + ttl_ns

    def may_act(self, now_ns: int) -> bool:
        """Whether the holder may still count on it."""
        return now_ns < self.until_ns


class TokenFence:
    """A resource's view of the leases that guard it: the largest token it has seen."""

    __slots__ = ("newest",)

    def __init__(self) -> None:
        self.newest = 0

    def accepts(self, token: int) -> bool:
        """Decision: whether a write under a token is taken: not if there was a later holder."""
        return token >= self.newest

    def admit(self, token: int) -> bool:
        """A write comes under a token; whether it is taken."""
        accepted = self.accepts(token)
        self.newest = max(self.newest, token)
        return accepted


class LeaseClock:
    """One node's measure of the leases: when each is over by the node's monotonic clock."""

    __slots__ = ("_due", "_inherited", "_led", "_queue", "deadline_ns")

    def __init__(self) -> None:
        #: lease -> (renewed, when it is over)
        self._due: dict[str, tuple[int, int]] = {}
        #: (when, lease, renewed) of every moment something may be done; some are out of date
        self._queue: list[tuple[int, str, int]] = []
        #: the generation this node leads, and the last index it found in its log when that began
        self._led, self._inherited = 0, 0
        self.deadline_ns = NEVER_NS

    def time_ns(self, clock: Clock) -> int:
        """Decision: which of the node's clocks leases are measured by: the one that is never set.
        All times given to this object are of that clock."""
        return clock.monotonic_ns()

    def ends_ns(self, now_ns: int, held: Held) -> int:
        """Decision: when a lease applied now is over: its time, and the margin for clock rates."""
        return now_ns + int(held.left_ns * (1 + MARGIN))

    def begin(self, now_ns: int, leases: Leases) -> None:
        """Begin to measure what was granted, renewed or restored since the last call."""
        for lease in leases.fresh:
            held = leases.table[lease]
            over_ns = self.ends_ns(now_ns, held)
            assert over_ns >= now_ns, f"lease {lease} is over before it begins"
            self._due[lease] = held.renewed, over_ns
            half_ns = now_ns + (over_ns - now_ns) // 2
            heapq.heappush(self._queue, (half_ns, lease, held.renewed))
            heapq.heappush(self._queue, (over_ns, lease, held.renewed))
        leases.fresh.clear()
        self._next()

    def left_ns(self, now_ns: int, lease: str) -> int:
        """What is left of a lease by this node's clock, without the margin; 0 if it is unknown."""
        _, over_ns = self._due.get(lease, (0, now_ns))
        return max(0, int((over_ns - now_ns) / (1 + MARGIN)))

    def is_idle(self, leads: int) -> bool:
        """Whether there is no lease to measure, and leadership is as it was: no clock is needed."""
        return (
            self.deadline_ns == NEVER_NS and leads == self._led and not (leads and self._inherited)
        )

    def rests(self, now_ns: int, leads: int) -> bool:
        """Whether :meth:`proposals` has nothing to propose and nothing to note.

        Args:
            now_ns: the node's time.
            leads: the generation the node leads; 0 if it does not.
        """
        new_office = leads != self._led or (leads > 0 and self._inherited > 0)
        return not new_office and now_ns < self.deadline_ns

    def proposals(
        self, now_ns: int, leases: Leases, *, leads: int, last_index: int, applied: int
    ) -> list[Command]:
        """What this node should propose now; nothing unless it leads.

        A new leader waits until it has applied all that it found in its log: a renewal that its
        predecessor has answered is among it.

        Args:
            now_ns: the node's time.
            leases: the table.
            leads: the generation the node leads; 0 if it does not.
            last_index: of its log.
            applied: the index it has applied.
        """
        if leads != self._led:
            self._led, self._inherited = leads, last_index if leads else NEVER_NS
        due = self._due_now(now_ns, leases)
        if not leads or applied < self._inherited:
            return []
        if self._inherited:
            self._inherited = 0
            return self._overdue(now_ns, leases)
        return due

    def _due_now(self, now_ns: int, leases: Leases) -> list[Command]:
        """Ends and checkpoints whose moment has come; each is found once."""
        if now_ns < self.deadline_ns:
            return []
        found: list[Command] = []
        while self._queue and self._queue[0][0] <= now_ns:
            _, lease, renewed = heapq.heappop(self._queue)
            held = leases.table.get(lease)
            if held is None:
                self._due.pop(lease, None)
            elif held.renewed == renewed and self._due[lease][0] == renewed:
                found.append(self._proposal(now_ns, lease, held))
        self._next()
        return found

    def _overdue(self, now_ns: int, leases: Leases) -> list[Command]:
        """The ends of all leases that are over: what a new leader proposes first."""
        return [
            Command(EXPIRE, lease, (held.renewed,))
            for lease, held in leases.table.items()
            if lease in self._due
            and self._due[lease][0] == held.renewed
            and self._due[lease][1] <= now_ns
        ]

    def again(self, when_ns: int, command: Command) -> None:
        """A proposal could not be made; look at the lease again at this time."""
        heapq.heappush(self._queue, (when_ns, command.key, command.args[0]))
        self._next()

    def _proposal(self, now_ns: int, lease: str, held: Held) -> Command:
        if self._due[lease][1] <= now_ns:
            return Command(EXPIRE, lease, (held.renewed,))
        return Command(CHECKPOINT, lease, (held.renewed, self.left_ns(now_ns, lease)))

    def _next(self) -> None:
        self.deadline_ns = self._queue[0][0] if self._queue else NEVER_NS
