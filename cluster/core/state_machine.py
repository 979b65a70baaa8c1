"""The state machine: what the replicated log is about, put together from services.

Deterministic and alone: a command and its log index are all that :meth:`StateMachine.apply` looks
at. There is no clock, no randomness and no iteration order in it, so equal logs make equal states.
A command that cannot be carried out is answered ``fail`` with a sentence; nothing a client sends
makes it raise.

Each service has its operations and its part of the state (:class:`cluster.core.answers.Service`):
``key_value`` single keys, ranges and compaction, ``transactions`` several keys at once, ``lease``
what ends by itself. Rules that concern two services stand here: a key can be attached only to a
lease that there is.

What breaks without it (A25): a command that reads a local clock or a set's order diverges silently.
The state hash exists to notice: equal on all nodes at an equal applied index.

Used by ``cluster.core.replica`` only, from one place at a time (Singular Update Queue).
"""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.config import ClusterConfig
from cluster.core.answers import Answer, Service, fail, short
from cluster.core.key_value import KeyValue
from cluster.core.lease import Leases
from cluster.core.state_watch import watch_problem
from cluster.core.transactions import Transactions
from cluster.data.versioned_value import VersionedValues
from cluster.wire import Command

#: Operations that are answered from the state, without an entry of the log; clients need no number
#: for them.
READS = KeyValue.reads | Transactions.reads | Leases.reads


class MachineParts(msgspec.Struct, frozen=True, kw_only=True):
    """The classes a state machine is made of; each may be replaced by a subclass."""

    values: type[VersionedValues] = VersionedValues
    keys: type[KeyValue] = KeyValue
    transactions: type[Transactions] = Transactions
    leases: type[Leases] = Leases

    def build(self, config: ClusterConfig) -> StateMachine:
        """A state machine of these classes, empty."""
        return StateMachine(config, parts=self)


class StateMachine:
    """The replicated state.

    Args:
        config: for how much history is kept.
        parts: the classes it is made of.
    """

    __slots__ = ("_by_op", "_internal", "_services", "keys", "leases", "reads", "transactions")

    def __init__(self, config: ClusterConfig, *, parts: MachineParts = MachineParts()) -> None:  # noqa: B008 (frozen)
        self.keys = parts.keys(parts.values, history=config.history_revisions)
        self.transactions = parts.transactions(self.keys)
        self.leases = parts.leases(self.keys.end_lease, self.keys.attached)
        #: in the order of snapshots: a new service comes last
        self._services: tuple[Service, ...] = (self.keys, self.transactions, self.leases)
        self._by_op = {op: each for each in self._services for op in each.writes | each.reads}
        self._internal = {op: each for each in self._services for op in each.internal}
        #: operations that are answered from the state, without an entry of the log
        self.reads = frozenset(op for each in self._services for op in each.reads)

    def __len__(self) -> int:
        return len(self.keys)

    def problem(self, command: Command) -> str:
        """Why a command can never be carried out, whatever the state; "" if it may be."""
        op = command.op
        service = self._by_op.get(op) if type(op) is str else None
        if service is None:
            return f"there is no operation {short(op)}; known are {', '.join(sorted(self._by_op))}"
        return service.problem(command)

    def watch_problem(self, command: Command) -> str:
        """Why a watch can never be served; "" if it may be."""
        return watch_problem(command)

    @property
    def watched(self) -> VersionedValues:
        """The keys and revisions that watches are about."""
        return self.keys.values

    def reach(self, index: int) -> None:
        """Revisions up to this log index can be read; it changes the keys now, or not at all."""
        self.keys.values.reach(index)

    def apply(self, index: int, command: Command) -> Answer:
        """Carry a command out as of a log index."""
        wrong = self.problem(command)
        if wrong:
            return fail(wrong)
        service = self._by_op[command.op]
        if command.op in service.reads:
            return service.read(command)
        over = self._leases_over(command)
        answer = fail(over) if over else service.apply(index, command)
        self.keys.forget_history(index)
        return answer

    def apply_internal(self, index: int, command: Command) -> Answer:
        """Carry out what a leader proposed by itself."""
        return self._internal[command.op].apply(index, command)

    def _leases_over(self, command: Command) -> str:
        """Why a command's keys cannot be attached to the leases it names; "" if they can."""
        op, args = command.op, command.args
        if op == "put" and len(args) == 2 and args[1]:
            named = {args[1]}
        elif op == "txn":
            named = self.transactions.leases_named(command)
        else:
            return ""
        over = sorted(lease for lease in named if not self.leases.exists(lease))
        return f"there is no lease {short(over[0])}; it is over, or never was" if over else ""

    def read(self, command: Command) -> Answer:
        """Answer a read that has no problem from the present state."""
        assert command.op in self.reads, f"{command.op} is no read"
        return self._by_op[command.op].read(command)

    def encode(self) -> Any:
        """The whole state, for a snapshot: JSON-like, shared with the live state."""
        return [service.encode() for service in self._services]

    def restore(self, state: Any) -> None:
        """Replace the state by one that :meth:`encode` gave, decoded afresh."""
        for service, part in zip(self._services, state, strict=True):
            service.restore(part)

    def digest(self) -> int:
        """Hash of the state, equal for equal states."""
        return sum(service.digest() for service in self._services) % (1 << 128)
