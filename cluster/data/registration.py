"""Registration: a node says that it lives, with a lease that ends when it does not.

Problem. The cluster must know which nodes live, to give them partitions and to take partitions from
those that died. A dead node cannot say so.

Solution. A node asks the core for a lease and attaches the key ``nodes/<id>`` to it. It renews the
lease three times in its life. A node that dies, or is cut off from the core, stops renewing, and
the lease ends with all its keys, at one revision; every watcher of the map hears of it. The node
counts its lease from the moment it *sent* the grant or the renewal, so its own view ends first.

When the lease has ended, the node serves on: what its groups' logs say it has, it has (the groups
are replicated on other nodes too). But it does not act as the controller any more, and it registers
anew, with a lease of another name. The same happens if the map shows its key gone or under another
lease, as after a quick restart, where the key of the life before ends later.

Invariants. The node believes in its lease only while the core keeps it. A lease's name is used for
one grant.

Source: Joshi, "Lease"; the node leases of Kubernetes, the broker registrations of Kafka's
controller. Used by ``cluster.data.node`` and the controller's election.
"""

from __future__ import annotations

from typing import Any

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.config import MS
from cluster.core.lease import GRANT, RENEW
from cluster.data.group_client import Ask
from cluster.data.partition_record import NODES
from cluster.data.placement import Placement
from cluster.data.questions import Questions
from cluster.data.replicated_groups import CORE
from cluster.wire import Command

#: How long to wait after something failed.
AGAIN_NS = 100 * MS


class Registration:
    """One node's lease, and its key in the core.

    Args:
        node: this node.
        life: a text that no earlier life of this node used.
        placement: the map, where the node sees its own key.
        ask: sends a command to a group.
        ttl_ns: the lease's time to live, in nanoseconds.
    """

    def __init__(
        self,
        node: str,
        life: str,
        placement: Placement,
        ask: Ask,
        *,
        ttl_ns: int,
    ) -> None:
        self._node, self._life = node, life
        self._placement = placement
        self._questions = Questions(ask)
        self.ttl_ns = ttl_ns
        self._number = 0
        #: the lease's name; "" for none
        self.lease = ""
        self._valid_until_ns = 0
        self._registered = False
        #: the revision of the map at which the node's key was last written, or looked for
        self._asked_at = -1
        self.deadline_ns = 0

    def valid(self, now_ns: int) -> bool:
        """Whether the node may still count on its lease, by its own clock."""
        return self.lease != "" and now_ns < self._valid_until_ns

    @property
    def registered(self) -> bool:
        """Whether the core has told that the node's key is there."""
        return self._registered and self.lease != ""

    def tick(self, now_ns: int) -> None:
        """Grant, register or renew, whichever is next."""
        if len(self._questions):
            return
        if self._registered and self._key_is_lost():
            self._registered = False
            self.deadline_ns = now_ns
        if now_ns < self.deadline_ns:
            return
        self.deadline_ns = NEVER_NS
        if not self.valid(now_ns):
            self._grant(now_ns)
        elif not self._registered:
            self._register(now_ns)
        else:
            self._renew(now_ns)

    def on_answer(self, now_ns: int, token: int, status: str, value: Any, error: str) -> bool:
        """Take an answer; whether it was to a question of this part."""
        return self._questions.on_answer(now_ns, token, status, value, error)

    def _key_is_lost(self) -> bool:
        """Whether the map shows, later than the registration, that the key is not this life's."""
        if self._placement.revision <= self._asked_at:
            return False
        claim = self._placement.nodes.get(self._node)
        return claim is None or claim.value.get("lease") != self.lease

    # -- steps -------------------------------------------------------------------------------------

    def _grant(self, now_ns: int) -> None:
        self._number += 1
        self.lease, self._registered = "", False
        name = f"node-{self._node}-{self._life}-{self._number}"

        def granted(later_ns: int, status: str, value: Any, error: str) -> None:
            if status == "ok" and later_ns < now_ns + self.ttl_ns:
                self.lease, self._valid_until_ns = name, now_ns + self.ttl_ns
                self.deadline_ns = later_ns
            else:
                self.deadline_ns = later_ns + AGAIN_NS

        command = Command(GRANT, name, (self.ttl_ns,))
        self._questions.ask(now_ns, CORE, command, granted, timeout_ns=self.ttl_ns)

    def _register(self, now_ns: int) -> None:
        key, lease = NODES + self._node, self.lease

        def registered(later_ns: int, status: str, value: Any, error: str) -> None:
            if status == "ok":
                self._registered = True
                self._asked_at = value["results"][1]["modified"]
                self.deadline_ns = now_ns + self.ttl_ns // 3
            else:
                self._not_done(later_ns, error)

        then = [["put", key, {"lease": lease}, lease], ["stat", key]]
        command = Command("txn", "", ([], then, []))
        self._questions.ask(now_ns, CORE, command, registered, timeout_ns=self.ttl_ns)

    def _renew(self, now_ns: int) -> None:
        lease = self.lease

        def renewed(later_ns: int, status: str, value: Any, error: str) -> None:
            if status == "ok":
                self._valid_until_ns = now_ns + self.ttl_ns
                self.deadline_ns = max(later_ns, now_ns + self.ttl_ns // 3)
            else:
                self._not_done(later_ns, error)

        command = Command(RENEW, lease)
        self._questions.ask(now_ns, CORE, command, renewed, timeout_ns=self.ttl_ns // 3)

    def _not_done(self, now_ns: int, error: str) -> None:
        """The core did not do it, or it is unknown: the lease may be over."""
        self.deadline_ns = now_ns + AGAIN_NS
        if lease_is_over(error):
            self.lease, self._registered = "", False


def lease_is_over(error: str) -> bool:
    """Whether the core refused something because there is no such lease any more."""
    return "there is no lease" in error
