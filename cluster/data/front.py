"""Front: what a client of a data node asks for, and who is to answer.

Problem. A client speaks to one node about everything: transactions, the keys of the core, members.
These are answered by different parts, and the core lives on some nodes only.

Solution. The command's name decides. Transactions (``txn-...`` but for the core's own ``txn``) go
to this node's coordinator, requests about partitions (``partition...``) to its placement. All else
is the core's: its keys, leases, watches, members. A node in the core takes it as any core does;
another sends the client there. It does not ask for the
client: a request carries the number of its *client's* session, by which copies of it are
recognised, and under a session of the node's own a copy that comes by another way would happen
twice. Changes of members are refused: groups keep theirs, and it is partitions that move. Refused
as well are writes to the keys of the core that are the map of partitions: nodes rely on what they
wrote there themselves.

Invariants. A request goes to one place. What is sent elsewhere did not happen here. No client
changes the map.

What breaks without it. Requests of a client under numbers that are not the client's: the retried
append is there twice (A28a).

Source: Joshi, "Consistent Core". Used by ``cluster.data.node``; pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from cluster.core.answers import short
from cluster.core.key_value import KeyValue
from cluster.core.member_requests import CHANGES
from cluster.data.partition_record import CONTROLLER, GROUPS, LAYOUT, NODES, PARTITIONS, REQUESTS
from cluster.wire import Command, Request, Response

#: How the names of a coordinator's commands begin, and those of a placement's.
TRANSACTIONAL, ABOUT_PARTITIONS = "txn-", "partition"
#: How the keys of the core begin that only the nodes themselves write.
RESERVED = (PARTITIONS, GROUPS, NODES, REQUESTS)


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
        for key in keys_written(command):
            if self.is_reserved(key):
                return (
                    f"the key {short(key)} is the cluster's own, and no client writes it; there "
                    "are partition-split, partition-merge and partition-move"
                )
        return ""

    def is_reserved(self, key: str) -> bool:
        """Decision: whether a key of the core is part of the map of partitions."""
        return key in (LAYOUT, CONTROLLER) or key.startswith(RESERVED)

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


def keys_written(command: Command) -> Iterator[str]:
    """The keys of the core that a client's command would change, as far as it is well formed."""
    parts = [(command.op, command.key)]
    if command.op == "txn":
        branches = [branch for branch in command.args[1:] if type(branch) in (list, tuple)]
        rows = [row for branch in branches for row in branch if type(row) in (list, tuple)]
        parts = [(row[0], row[1]) for row in rows if len(row) > 1]
    for op, key in parts:
        if type(op) is str and op in KeyValue.writes and type(key) is str:
            yield key
