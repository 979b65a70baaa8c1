"""What a replica needs of a state machine: the seam between a replicated log and what it is about.

A :class:`cluster.core.replica.Replica` brings commands into one order and applies them; what they
mean is its machine's business. Two machines fit: that of the Consistent Core
(``cluster.core.state_machine``) and that of a data group (``cluster.data.partition_machine``).

Types only; it does nothing.
"""

from __future__ import annotations

from typing import Any, Protocol

from cluster.config import ClusterConfig
from cluster.core.answers import Answer
from cluster.core.lease import Leases
from cluster.data.versioned_value import VersionedValues
from cluster.wire import Command


class ReplicatedMachine(Protocol):
    """A deterministic state: equal commands at equal indexes make equal states."""

    leases: Leases

    @property
    def reads(self) -> frozenset[str]:
        """Operations that are answered from the state, without an entry of the log."""

    @property
    def watched(self) -> VersionedValues:
        """The keys and revisions that watches are about."""

    def __len__(self) -> int:
        """How many keys there are."""

    def problem(self, command: Command) -> str:
        """Why a command can never be carried out, whatever the state; "" if it may be."""

    def watch_problem(self, command: Command) -> str:
        """Why a watch can never be served; "" if it may be."""

    def reach(self, index: int) -> None:
        """All entries before this one are applied, whatever kinds they were of, and it is next."""

    def apply(self, index: int, command: Command) -> Answer:
        """Carry a command out as of a log index; a bad one is answered, and never raises."""

    def apply_internal(self, index: int, command: Command) -> Answer:
        """Carry out what a leader proposed by itself."""

    def read(self, command: Command) -> Answer:
        """Answer a read that has no problem from the present state."""

    def encode(self) -> Any:
        """The whole state, for a snapshot: JSON-like, perhaps shared with the live state."""

    def restore(self, state: Any) -> None:
        """Replace the state by one that :meth:`encode` gave, decoded afresh."""

    def digest(self) -> int:
        """Hash of the state, equal for equal states."""


class MachineMaker(Protocol):
    """Makes the state machine of a replica: a struct of the classes that it is made of."""

    def build(self, config: ClusterConfig) -> ReplicatedMachine:
        """A state machine, empty."""
