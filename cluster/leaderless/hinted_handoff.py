"""Hinted Handoff: what a replica misses while it is away is kept for it by another node.

Problem. A replica that was away for a minute has missed a minute of writes. Until reads or the
comparison of trees find them one by one, it is behind.

Solution. A coordinator that finds a replica away gives the state to the next member of the key's
preference list, as a hint: keep this for that node. If no member is left, the coordinator keeps the
hint itself. A hint is durable. When its node is heard again the hint is sent there, and dropped
once it was merged durably. Hints are bounded in number; what is not kept is left to anti-entropy.

A hint does not count towards a write quorum. It is with a node that no read asks, so a quorum with
hints in it (a *sloppy* one) need not meet any read quorum.

Invariants. A hint is dropped only when its node has the state. A quorum is made of replicas.

What breaks without it. A11c: hints are counted as if they were replicas, and a write is
acknowledged that the replicas' side of a partition never heard of.

Source: DeCandia et al., "Dynamo" (2007), sections 4.5 and 4.6. Used by
``cluster.leaderless.quorum_store`` and ``cluster.leaderless.node``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cluster.ports import NodeId

#: Hints sent to one node at a time.
BATCH = 64


class HintedHandoff:
    """Decides who keeps hints, and which of them are sent now.

    Args:
        node: this node.
        hints_max: how many it keeps.
    """

    __slots__ = ("_hints_max", "_node", "_sent")

    def __init__(self, node: NodeId, *, hints_max: int) -> None:
        self._node = node
        self._hints_max = hints_max
        #: (node it is for, key) of hints sent and not answered
        self._sent: dict[tuple[NodeId, str], None] = {}

    def counts(self) -> bool:
        """Decision: whether a hint counts towards the quorum of a write."""
        return False

    def keeper(
        self,
        preference: Sequence[NodeId],
        replicas: int,
        target: NodeId,
        alive: Callable[[NodeId], bool],
    ) -> NodeId:
        """Who keeps a hint: a member after the replicas, or the coordinator.

        Args:
            preference: the key's preference list.
            replicas: how many of it are replicas.
            target: the replica that is away. Each has another keeper, if there are enough.
            alive: whether a member seems to be there.
        """
        standing_in = [node for node in preference[replicas:] if alive(node)]
        if not standing_in:
            return self._node
        return standing_in[list(preference).index(target) % len(standing_in)]

    def has_room(self, hints: int) -> bool:
        """Whether one more hint is kept."""
        return hints < self._hints_max

    def due(
        self, hints: Iterable[tuple[NodeId, str]], alive: Callable[[NodeId], bool]
    ) -> list[tuple[NodeId, str]]:
        """The hints to be sent now: some of those whose node is there, each once until it answers.

        Args:
            hints: (node it is for, key) of all that are kept.
            alive: whether a member seems to be there.
        """
        for hint in [hint for hint in self._sent if not alive(hint[0])]:
            del self._sent[hint]
        wanted = [hint for hint in hints if hint not in self._sent and alive(hint[0])][:BATCH]
        self._sent.update(dict.fromkeys(wanted))
        return wanted

    def ask_again(self) -> None:
        """Time has passed: hints that were not answered are sent again."""
        self._sent.clear()

    def arrived(self, target: NodeId, key: str) -> None:
        """A hint was answered."""
        self._sent.pop((target, key), None)
