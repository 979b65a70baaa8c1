"""Controller election: one node decides about partitions, and a deposed one changes nothing.

Problem. Who has which partition must be decided in one place. The node that decides may die, or be
paused, and must be replaced; the old one does not know at once that it was.

Solution. The controller is the node that has the key ``controller`` in the core. Any registered
node creates it if it is not there, attached to its own lease; so it ends with the node. The
revision at which the key was created is the controller's token, larger than that of every
controller before. Each of its writes to the map is a transaction that compares the key's creation
revision with the token. A deposed controller's writes are refused by that comparison, whatever its
clock says. What it still sends to the groups is harmless, because it names epochs that are over
(:mod:`cluster.data.ownership`).

A node learns that it leads, and that it leads no more, from its map alone: so an answer that was
lost changes nothing.

Invariants. At any revision there is one controller or none. Tokens grow from one to the next. No
write of a controller is carried out after the key of the next one was created.

Source: Joshi, "Lease" and "Consistent Core"; the controller of Kafka and its epoch.
Used by ``cluster.data.controller``.
"""

from __future__ import annotations

from typing import Any

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.data.group_client import Ask
from cluster.data.partition_record import CONTROLLER
from cluster.data.placement import Placement
from cluster.data.questions import Questions
from cluster.data.registration import AGAIN_NS, Registration
from cluster.data.replicated_groups import CORE
from cluster.wire import Command


class ControllerElection:
    """One node as a candidate.

    Args:
        node: this node.
        registration: its lease.
        placement: its map.
        ask: sends a command to a group.
    """

    def __init__(
        self, node: str, registration: Registration, placement: Placement, ask: Ask
    ) -> None:
        self._node = node
        self._registration = registration
        self._placement = placement
        self._questions = Questions(ask)
        self._again_ns = 0
        #: when to tick again if nothing else happens; ``NEVER_NS`` for a node that may not stand
        self.deadline_ns = NEVER_NS

    def token(self, now_ns: int) -> int:
        """The token of this node as controller; 0 if it does not lead, as far as it knows."""
        claim = self._placement.controller
        lease = self._registration.lease
        if claim is None or not self._registration.valid(now_ns) or claim.value["lease"] != lease:
            return 0
        assert claim.value["node"] == self._node, f"{claim} has the lease of {self._node}"
        return claim.created

    def tick(self, now_ns: int) -> None:
        """Stand for election if there is no controller."""
        self.deadline_ns = NEVER_NS
        if not self.should_stand(now_ns) or len(self._questions):
            return
        if now_ns < self._again_ns:
            self.deadline_ns = self._again_ns
            return
        value = {"node": self._node, "lease": self._registration.lease}
        absent = [[CONTROLLER, "version", "==", 0]]
        create = [["put", CONTROLLER, value, self._registration.lease]]
        command = Command("txn", "", (absent, create, []))
        self._questions.ask(now_ns, CORE, command, self._answered)

    def should_stand(self, now_ns: int) -> bool:
        """Whether this node may lead and, as far as it knows, none does."""
        mine = self._registration
        return (
            self._placement.known
            and self._placement.controller is None
            and mine.registered
            and mine.valid(now_ns)
        )

    def _answered(self, now_ns: int, status: str, value: Any, error: str) -> None:
        """The map tells who leads, and not the answer; ask again if it does not."""
        self.deadline_ns = self._again_ns = now_ns + AGAIN_NS

    def on_answer(self, now_ns: int, token: int, status: str, value: Any, error: str) -> bool:
        """Take an answer; whether it was to a question of this part."""
        return self._questions.on_answer(now_ns, token, status, value, error)
