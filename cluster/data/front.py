"""Front: what a client of a data node asks for, and who is to answer.

Problem. A client speaks to one node about everything: transactions, the keys of the core, members.
These are answered by different parts, and the core lives on some nodes only.

Solution. The command's name decides. Transactions (``txn-...`` but for the core's own ``txn``) go
to this node's coordinator, requests about partitions (``partition...``) to its placement. All else
is the core's: its keys, leases, watches, members. A node in the core takes it as any core does;
another sends the client there. It does not ask for the
client: a request carries the number of its *client's* session, by which copies of it are
recognised, and under a session of the node's own a copy that comes by another way would happen
twice. Changes of members are refused: groups keep theirs, and it is partitions that move.

Invariants. A request goes to one place. What is sent elsewhere did not happen here.

What breaks without it. Requests of a client under numbers that are not the client's: the retried
append is there twice (A28a).

Source: Joshi, "Consistent Core". Used by ``cluster.data.node``; pure.
"""

from __future__ import annotations

from cluster.core.member_requests import CHANGES
from cluster.wire import Command, Request, Response

#: How the names of a coordinator's commands begin, and those of a placement's.
TRANSACTIONAL, ABOUT_PARTITIONS = "txn-", "partition"


class Front:
    """Decides who answers a client's command."""

    __slots__ = ()

    def is_for_coordinator(self, command: Command) -> bool:
        """Decision: whether a command is about a transaction over data groups."""
        return command.op.startswith(TRANSACTIONAL)

    def is_for_placement(self, command: Command) -> bool:
        """Decision: whether a command is about partitions: where they are, or should be."""
        return command.op.startswith(ABOUT_PARTITIONS)

    def problem(self, command: Command) -> str:
        """Why no node of this role does what a command asks for; "" if one may."""
        if command.op in CHANGES:
            return f"{command.op} is refused: the members of a group stay those of its founding"
        return ""

    def no_coordinator(self, node: str, request: Request) -> Response:
        """The refusal of a transaction by a node that has nothing to carry it out with."""
        why = f"{node} has no coordinator: {request.command.op} is for nodes that carry data"
        return Response(request.id, "fail", error=why)

    def no_placement(self, node: str, request: Request) -> Response:
        """The refusal of a request about partitions by a node that knows of none."""
        why = f"{node} has no placement: {request.command.op} is for nodes that carry data"
        return Response(request.id, "fail", error=why)

    def elsewhere(self, node: str, request: Request, core: str) -> Response:
        """The answer of a node that is not in the core to a request for it.

        Args:
            node: this node.
            request: the client's.
            core: a member of the core; "" if none is known.
        """
        if not core:
            return Response(request.id, "retry", error=f"{node} does not know where the core is")
        why = f"{node} is not in the core, {core} is"
        return Response(request.id, "redirect", leader=core, error=why)
