"""Requests of clients about the group and its leader.

    members-view         the members that this node knows to live, by name
    leader-view          the view it knows: its number, who leads it, its members, who may act
    act VALUE            the leader writes VALUE to the fenced register; elsewhere a redirect
    join SEED            this node asks another for its view, and is a member
    leave                this node says good-bye to the group; its process may stop then

``members-view`` and ``leader-view`` are told by the node that is asked, as it sees things, and
promise nothing. An ``act`` is ``ok`` when a majority of the view consented, with its token. Used by
:mod:`cluster.gossip.node`; the client session knows the names.
"""

from __future__ import annotations

from cluster.core.answers import value_problem
from cluster.wire import Command

MEMBERS_VIEW, LEADER_VIEW, ACT, JOIN, LEAVE = (
    "members-view", "leader-view", "act", "join", "leave",
)  # fmt: skip
#: Those that are answered by any node, at once, and change nothing.
VIEWS = frozenset({MEMBERS_VIEW, LEADER_VIEW})
#: Those that take no number in a session: asked again, they are not done twice.
UNNUMBERED = VIEWS | {JOIN, LEAVE}
GROUP_OPS = UNNUMBERED | {ACT}


def group_problem(command: Command) -> str:
    """Why a request can never be carried out; "" if it may be."""
    op, args = command.op, command.args
    if op not in GROUP_OPS:
        return f"a node of role gossip has no operation {op!r}: {', '.join(sorted(GROUP_OPS))}"
    if op == ACT:
        return value_problem(args[0]) if len(args) == 1 else f"act takes a value, not {len(args)}"
    if op == JOIN and not command.key:
        return "join takes the member to be asked, and the key is empty"
    return f"{op} takes no arguments, and was given {len(args)}" if args else ""
