"""Adding and removing members of the reference cluster: ability Membership of `reference`.

A node is removed by a request like any client's, through the leader and while the workload runs;
its process runs on, as on a machine that was not switched off yet. It comes back as another
member: its process is stopped, its directory made that of its next id and emptied, and
the process started with the very same command line, since the directory has the member id. Then
the cluster adds it as a learner, and promotes it to a voter once it has caught up. In role
``leaderless`` there are no learners: the node itself is asked to join, through any other.

A node that could not be brought back while faults lasted is remembered, and brought back when it is
next asked to be ready: after healing, every node is.

A node that refuses to start, since its disk lost what it had promised, is replaced in the same way:
its member leaves, dead as it is, and the node joins under its next id with an empty disk. What only
that disk had was acknowledged by no quorum. Roles whose members do not change refuse.

Used by :class:`harness.databases.reference.Reference`, whose other half this is.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from harness.environments.base import Node, SimulatedNode
from harness.errors import SetupError

#: An operator's request may take so long, and one node so long to answer it. Other faults wait for
#: their healing meanwhile, and they may be why there is no answer.
REQUEST_S, ATTEMPT_S = 1.5, 0.3
#: Attempts to have a learner counted, and the time between two: it must catch up first.
PROMOTE_TRIES, PROMOTE_EVERY_S = 5, 0.2
#: Attempts to bring a node back when everything else is healed.
BACK_TRIES = 8
#: Attempts to have a dead member leave: other faults, which may be in the way, wait meanwhile.
LEAVE_TRIES = 4
#: The roles whose members change.
CHANGING = ("core", "leaderless")
#: What a node says that lost what it promised, before file and offset.
CORRUPT = "corrupt log"


class ReferenceMembers:
    """Adds and removes members."""

    #: what the nodes are; the other half says
    role = "core"

    def __init__(self) -> None:
        #: nodes that were removed, or may have been, and are not back yet
        self._away: dict[str, None] = {}
        #: the id each node's directory was made for since
        self._formatted: dict[str, str] = {}
        self._operators = 0

    async def start(self, node: Node) -> None:
        """Start the node's process: the other half does."""

    async def status(self, node: Node) -> dict[str, Any] | None:
        """The node's own view of things: the other half asks."""
        return None

    def operator(self, node: Node, name: str) -> Any:
        """A client session for requests about the cluster: the other half makes it."""

    async def members(self, nodes: Sequence[Node]) -> list[str]:
        """The nodes that vote, as the leader's status has it; empty if no node says that it leads.

        In role ``leaderless``: those of the latest ring that a node knows; empty while it changes.
        A node counts under its name, whatever its member id.
        """
        from cluster.consensus.membership import name_of

        if self.role == "leaderless":
            return await self._in_ring(nodes)
        latest: tuple[int, list[str]] = (-1, [])
        for node in nodes:
            status = await self.status(node)
            if status is not None and status.get("role") == "leader":
                voters = [name_of(member) for member in status["members"]]
                latest = max(latest, (status["generation"], voters))
        return [node.name for node in nodes if node.name in latest[1]]

    async def _in_ring(self, nodes: Sequence[Node]) -> list[str]:
        from cluster.consensus.membership import name_of

        found = [await self.status(node) for node in nodes]
        rings = [status for status in found if status is not None and "ring" in status]
        latest = max(rings, key=lambda status: status["ring"], default=None)
        if latest is None or latest["outgoing"]:
            return []
        names = {name_of(member) for member in latest["members"]}
        return [node.name for node in nodes if node.name in names]

    async def remove_member(self, node: Node) -> None:
        """Have the cluster remove the member that lives on a node; the process runs on.

        Raises:
            SetupError: the cluster refused, or the outcome is unknown.
        """
        member = self._formatted.get(node.name, node.name)
        self._away[node.name] = None
        outcome = await self._request(node, "remove-member", member)
        if outcome.status == "ok":
            return
        if outcome.status == "fail":
            self._away.pop(node.name, None)
        raise SetupError(f"removing {member}: {outcome.status}: {outcome.error}")

    async def add_member(self, node: Node) -> None:
        """Bring a node back: nothing to do if it is a voter, else it joins with an empty disk.

        Raises:
            SetupError: the cluster could not be asked, or did not take it in time.
        """
        member = self._formatted.get(node.name, node.name)
        found = await self._known(node)
        if member in found["outgoing"] and member not in found["voters"]:
            raise SetupError(f"{member} is still leaving")
        if member not in (*found["voters"], *found["learners"]):
            member = await self._rejoin(node, member, found)
        if member not in found["voters"]:
            await self._promote(node, member, found["voters"])
        self._away.pop(node.name, None)

    async def bring_back(self, node: Node) -> None:
        """Bring a node back if it is away: the last of healing."""
        for left in range(BACK_TRIES, 0, -1):
            if node.name not in self._away:
                return
            try:
                await self.add_member(node)
            except SetupError:
                if left == 1:
                    raise
                await self._sleep(node, PROMOTE_EVERY_S)

    async def replace_member(self, node: Node, refused: str) -> str:
        """Have the member of a node leave, whose disk is damaged, and the node join anew.

        Args:
            node: which.
            refused: what it said when it did not start.

        Returns:
            The id of the new member.

        Raises:
            SetupError: the members of this role do not change, or the others did not do it in
                time; or the disk has what it promised, and the node may start later.
        """
        if self.role not in CHANGING:
            raise SetupError(f"the members of role {self.role} do not change")
        if CORRUPT not in refused:
            raise SetupError("it did not say that what it promised is lost")
        member = self._formatted.get(node.name, node.name)
        await self._until_left(node, member)
        self._away[node.name] = None
        await self.bring_back(node)
        came = self._formatted.get(node.name, node.name)
        if came == member:
            raise SetupError(f"{member} has left, and who was asked does not know it yet")
        return came

    async def _until_left(self, node: Node, member: str) -> None:
        """Have a dead member leave: the others must notice first that it is dead."""
        said = ""
        for _ in range(LEAVE_TRIES):
            try:
                found = await self._known(node)
                if member not in (*found["voters"], *found["learners"], *found["outgoing"]):
                    return
                await self.remove_member(node)
            except SetupError as error:
                said = str(error)
                await self._sleep(node, PROMOTE_EVERY_S)
        raise SetupError(said or f"{member} has not left yet")

    async def _known(self, node: Node) -> dict[str, Any]:
        outcome = await self._request(node, "members", "")
        if outcome.status != "ok":
            raise SetupError(f"the members cannot be asked for: {outcome.error}")
        value: dict[str, Any] = outcome.value
        return value

    async def _rejoin(self, node: Node, member: str, found: dict[str, Any]) -> str:
        """Start the node anew as a member that joins, and have it added; its id."""
        from cluster.consensus.membership import incarnation_of, name_of, next_incarnation

        gone = [each for each in found["retired"] if name_of(each) == node.name]
        if any(incarnation_of(each) >= incarnation_of(member) for each in gone):
            member = next_incarnation(gone[0])
            await self._format(node, member)
        if self.role == "leaderless":
            return member  # it is asked to join until it is counted
        outcome = await self._request(node, "add-learner", member)
        if outcome.status != "ok":
            raise SetupError(f"adding {member}: {outcome.status}: {outcome.error}")
        return member

    async def _format(self, node: Node, member: str) -> None:
        if isinstance(node, SimulatedNode):
            await node.cluster_rejoin(member)
            self._formatted[node.name] = member
            return
        await node.stop()
        argv = (sys.executable, "-m", "cluster", "format", "--id", member, "--data", "/data")
        await node.run(*argv, "--replace")
        self._formatted[node.name] = member
        await self.start(node)

    async def _promote(self, node: Node, member: str, voters: Sequence[str]) -> None:
        said = ""
        for turn in range(PROMOTE_TRIES):
            if self.role == "leaderless":
                seed = _seed(node, voters, turn)
                outcome = await self._request(node, "join", seed, member, to=node.name)
            else:
                outcome = await self._request(node, "promote", member)
            if outcome.status == "ok":
                return
            said = f"{outcome.status}: {outcome.error}"
            await self._sleep(node, PROMOTE_EVERY_S)
        doing = "joining" if self.role == "leaderless" else "promoting"
        raise SetupError(f"{doing} {member}: {said}")

    async def _sleep(self, node: Node, duration_s: float) -> None:
        if isinstance(node, SimulatedNode):
            await node.cluster_sleep(round(duration_s * 1e9))
        else:
            await asyncio.sleep(duration_s)

    async def _request(self, node: Node, op: str, member: str, *args: str, to: str = "") -> Any:
        from cluster.wire import Command

        self._operators += 1
        session = self.operator(node, f"operator-{self._operators}")
        try:
            return await session.call(Command(op, member, args), mode="linearizable", node=to)
        finally:
            closing = session.close()
            if closing is not None:
                await closing


def _seed(node: Node, voters: Sequence[str], turn: int) -> str:
    """The member through which another joins: another one at each try. A node that came back has
    another id than its name."""
    from cluster.consensus.membership import name_of

    others = [member for member in voters if name_of(member) != node.name]
    return others[turn % len(others)] if others else node.name
