"""Controller: the node that decides who has which partition, and sees it done.

Problem. Partitions must be given out at first, moved when nodes die and join, split and merged when
they grow and shrink. Decided in several places at once, that would give a partition two owners.

Solution. One node decides: the one that has the key ``controller`` in the core
(:mod:`cluster.data.controller_election`). It is a loop over the map, in three parts:

    plan     what should be changed, from the map and the nodes that live
             (:mod:`cluster.data.placement_plan`); written to the map as intentions
    steps    what is under way, carried on in the groups and completed in the map
             (:mod:`cluster.data.partition_steps`)
    sizes    which ranges are too large or too small (:mod:`cluster.data.size_policy`)

It keeps nothing that it could not lose. All that matters is in the map: a controller that takes
over reads the map and goes on. A node counts as living while its key ``nodes/<id>`` is there. A new
controller gives the homes of groups that it has never seen registered a grace period, since at the
start of a cluster nodes register one after the other.

Invariants. Every write to the map is guarded by the controller's token and by the records it
replaces. One plan is written at a time, and the next is made from a map that shows it.

Source: Joshi, "Consistent Core"; the controllers of Kafka and of Kubernetes (observe, compare,
act). Used by ``cluster.data.node``, on every node; all but one of them wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.data.controller_election import ControllerElection
from cluster.data.group_client import Ask
from cluster.data.map_change import MapChange, guarded
from cluster.data.partition_record import Layout, home_node
from cluster.data.partition_steps import AGAIN_NS, PartitionSteps
from cluster.data.placement_plan import MOVES_MAX, Wish, first_changes, plan
from cluster.data.placement_watch import PlacementWatch
from cluster.data.questions import Questions
from cluster.data.registration import Registration
from cluster.data.replicated_groups import CORE
from cluster.data.size_policy import SizeLimits, SizePolicy
from cluster.wire import Command


class Controller:
    """One node's controller; it acts only while the node is elected.

    Args:
        node: this node.
        watch: the node's map, kept up to date.
        registration: the node's lease.
        ask: sends a command to a group.
        founding: the founders' groups and their members; none at a node that joins later.
        layout: how a new cluster divides its keys; what the core says goes before it.
        limits: when ranges are split and merged by themselves; None for never.
        part_bytes: most bytes of a part of a partition that moves.
        moves_max: how many partitions move at once.
        grace_ns: how long after its election the controller counts nodes as living that it has not
            heard of; the lease's time to live by default.
    """

    def __init__(
        self,
        node: str,
        watch: PlacementWatch,
        registration: Registration,
        ask: Ask,
        *,
        founding: Mapping[str, tuple[str, ...]],
        part_bytes: int,
        layout: Layout = Layout(),  # noqa: B008 (frozen)
        limits: SizeLimits | None = None,
        moves_max: int = MOVES_MAX,
        grace_ns: int | None = None,
    ) -> None:
        self._watch = watch
        self._placement = watch.placement
        self._registration = registration
        self.election = ControllerElection(node, registration, watch.placement, ask)
        self.steps = PartitionSteps(watch, ask, part_bytes=part_bytes)
        self.sizes = SizePolicy(watch.placement, ask, limits)
        self._questions = Questions(ask)
        self._founding = dict(founding)
        self._layout = layout
        self._moves_max = moves_max
        self._grace_ns = registration.ttl_ns if grace_ns is None else grace_ns
        #: the token it leads with; 0 if it does not lead
        self.token = 0
        self._since_ns = 0
        self._unwritten: list[Command] = []
        #: no plan is made before the map is as new as this read of it
        self._needs_read = 0
        self._again_ns = 0
        #: whether an answer came, and how new the map was, when the controller last looked
        self._stirred, self._seen = True, self._sight()

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest; 0 if what it looks at has changed."""
        if self._stirred or self._seen != self._sight():
            return 0
        if not self.token:
            return self.election.deadline_ns
        return self._again_ns

    def _sight(self) -> tuple[int, int, str, bool]:
        """What the controller looks at: how new the map is, and the node's lease."""
        mine = self._registration
        return self._placement.revision, self._watch.taken, mine.lease, mine.registered

    def tick(self, now_ns: int) -> None:
        """Look at the map and do what is next."""
        stirred = self._is_stirred(now_ns)
        if self._founding or self._placement.ready:  # else it could not make the first map
            self.election.tick(now_ns)
        token = self.election.token(now_ns)
        if token != self.token:
            self._change_office(now_ns, token)
        if not token or not stirred:
            return
        self._again_ns = now_ns + AGAIN_NS
        if self._placement.layout is not None:
            self.steps.work(now_ns, token)
            self.sizes.tick(now_ns)
        self._write_plan(now_ns)

    def on_answer(self, now_ns: int, token: int, status: str, value: Any, error: str) -> bool:
        """Take an answer; whether it was to a question of this part."""
        parts = (self._questions, self.steps, self.sizes, self.election)
        mine = any(part.on_answer(now_ns, token, status, value, error) for part in parts)
        self._stirred = self._stirred or mine
        return mine

    def status(self) -> dict[str, Any]:
        """JSON-ready: who is the controller, and what is under way."""
        claim = self._placement.controller
        return {
            "controller": claim.value["node"] if claim is not None else None,
            "token": self.token,
            "under_way": self.steps.busy,
            "revision": self._placement.revision,
        }

    def _is_stirred(self, now_ns: int) -> bool:
        """Whether anything has changed that the plan or the steps look at, or time has passed."""
        sight = self._sight()
        stirred = self._stirred or sight != self._seen or now_ns >= self._again_ns
        self._stirred, self._seen = False, sight
        return stirred

    def _change_office(self, now_ns: int, token: int) -> None:
        """This node became the controller, or is it no more: begin from the map alone."""
        self.token, self._since_ns = token, now_ns
        self._again_ns = NEVER_NS
        self._stirred = True
        self._unwritten = []
        self._questions.forget()
        self.steps.forget()
        self.sizes.forget()
        self._needs_read = self._watch.refresh() if token else 0

    # -- the plan ----------------------------------------------------------------------------------

    def living(self, now_ns: int) -> set[str]:
        """The nodes that count as living."""
        living = set(self._placement.nodes)
        if now_ns < self._since_ns + self._grace_ns:
            homes = {home_node(name) for name in self._placement.groups}
            living |= homes - self._placement.seen
        return living

    def wishes(self) -> list[Wish]:
        """What operators want, the oldest request first, and then what sizes want."""
        requests = sorted(self._placement.requests.items(), key=lambda item: item[1].created)
        asked = [
            Wish(op=claim.value["op"], key=claim.value["key"], to=claim.value["to"], request=name)
            for name, claim in requests
            if not claim.value["outcome"]
        ]
        return asked + self.sizes.wishes()

    def _write_plan(self, now_ns: int) -> None:
        """Write what is planned, one change after the other; then plan again."""
        if len(self._questions) or self._watch.taken < self._needs_read:
            return
        if not self._unwritten:
            # the guards are of the map that the plan was made from, whatever the map is later
            self._unwritten = [
                guarded(change, self._placement, self.token) for change in self._planned(now_ns)
            ]
        if self._unwritten:
            command = self._unwritten.pop(0)
            self._questions.ask(now_ns, CORE, command, self._written)

    def _planned(self, now_ns: int) -> list[MapChange]:
        if self._placement.layout is None:
            return [first_changes(self._layout, self._founding, self._placement)]
        return plan(self._placement, self.living(now_ns), self.wishes(), moves_max=self._moves_max)

    def _written(self, now_ns: int, status: str, value: Any, error: str) -> None:
        """Done or not, the next plan is made from a map that was read after it."""
        if status != "ok" or not value["succeeded"]:
            self._unwritten = []
        if not self._unwritten:
            self._needs_read = self._watch.refresh()
