"""Membership change: how a cluster's members are changed while it serves.

Problem. If nodes switched from the old voters to the new ones each at its own moment, a majority of
the old and a majority of the new could decide different things in between. A new node has nothing;
if it counted at once the cluster would be weaker for it. A leader that does not know which
configuration is committed can build a second majority beside the first.

Solution. One design for every change of voters, joint consensus:

1. A new node is added as a *learner*: an entry with the same voters, so no majority moves. The
   learner is sent a snapshot and the log.
2. A learner that has caught up is *promoted*; a voter is *removed*; or both at once, the one in
   place of the other, and then old and new majorities need not share a node. The leader appends
   C(old,new), in force on each node from the moment it is in the log: every decision now needs a
   majority of both. When that entry is committed, the leader appends C(new). When that is
   committed, the change is done and the request is answered. A leader that is not in C(new) leads
   until then without counting itself, tells the best follower to take over, and steps down.
3. A leader that finds a joint configuration in its log finishes it. A crash in the middle needs no
   repair by hand.

With ``joint_changes`` off a change of one voter is a single step: the majorities before and after
it share a node (Raft thesis 4.1). A replacement is joint all the same.

One change at a time, and none before an entry of the leader's own generation is committed: only
then does the leader know which configuration is. With single-server changes that rule separates a
correct system from one with two disjoint majorities (Ongaro's message of 2015). Joint changes would
survive without it; they keep it, since a change on top of one that may be cut is not worth having.

What is refused, with the reason: promotion of a learner that misses more than
``promote_lag_entries``, is not heard or is damaged; removal that leaves voters of whom no majority
is heard and undamaged; removal of the last voter; a member id that was removed before, or of a node
that is a member with another data directory.

Invariants. At most one change is in flight. Voters change only into and out of a joint
configuration. A change that was begun is finished or cut, never half kept.

What breaks without it. A56, A57, A58, A60, A61: see ``membership``. A59: a removed node that runs
on without knowing it campaigns for ever, and deposes every leader; followers that stand by a leader
they hear, and PreVote, each make that harmless (``election``).

Source: Raft paper 6; Raft thesis 4.1 to 4.3; D. Ongaro, "bug in single-server membership changes",
raft-dev, 2015. Functions of configurations, and one leadership's bookkeeping; for any consensus
core with a log.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from cluster.config import ClusterConfig
from cluster.consensus.membership import (
    Configuration,
    Membership,
    incarnation_of,
    name_of,
    next_incarnation,
)

ADD_LEARNER: Final = "add-learner"
PROMOTE: Final = "promote"
REMOVE: Final = "remove-member"

#: Longest member id, in characters.
MEMBER_LENGTH_MAX = 255
#: What a member id may not contain: it must fit in ``--peers`` and in file names.
_FORBIDDEN = frozenset(",=/ \t\n")


class Change(msgspec.Struct, frozen=True):
    """A change that is asked for.

    Args:
        kind: ``add-learner``, ``promote`` or ``remove-member``.
        member: the id that joins, counts or leaves.
        address: ``host:port`` of a learner; "" if the others were started with it.
        instead_of: the voter that leaves when the learner counts; "" for none.
    """

    kind: str
    member: str
    address: str = ""
    instead_of: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """Why a change is not made.

    Args:
        status: ``fail`` (not as things are) or ``retry`` (not now).
        why: a sentence.
    """

    status: str
    why: str


def member_problem(member: object) -> str:
    """Why something is no member id; "" if it is one."""
    if type(member) is not str or len(member) > MEMBER_LENGTH_MAX or _FORBIDDEN & set(member):
        return f"{member!r} is no member id: a node's name, or NAME~N for its N-th data directory"
    try:
        incarnation_of(member)
    except ValueError as error:
        return str(error)
    return ""


def settled(configuration: Configuration) -> Configuration:
    """What a joint configuration leads to: C(new). One that is not joint is that already."""
    stay = {*configuration.voters, *configuration.learners}
    gone = [node for node in configuration.outgoing if node not in stay]
    return Configuration(
        configuration.voters,
        configuration.learners,
        (),
        tuple(pair for pair in configuration.addresses if pair[0] in stay),
        _retire(configuration.retired, gone),
    )


def _retire(retired: tuple[str, ...], gone: list[str]) -> tuple[str, ...]:
    latest = {name_of(member): member for member in retired}
    for member in gone:
        known = latest.get(name_of(member))
        if known is None or incarnation_of(known) < incarnation_of(member):
            latest[name_of(member)] = member
    return tuple(latest[name] for name in sorted(latest))


def is_so(configuration: Configuration, change: Change) -> bool:
    """Whether a configuration is as a change wants it: asking twice changes nothing."""
    if change.kind == ADD_LEARNER:
        return change.member in configuration.nodes
    if change.kind == PROMOTE:
        gone = change.instead_of
        left = not gone or is_so(configuration, Change(REMOVE, gone))
        return change.member in configuration.voters and left
    return change.member not in configuration.nodes and configuration.is_retired(change.member)


def objection(configuration: Configuration, change: Change) -> str:
    """Why a change can never be made to this configuration; "" if it can."""
    member = change.member
    members = ", ".join(configuration.nodes) or "none"
    if change.kind == ADD_LEARNER:
        if configuration.is_retired(member):
            return (
                f"{member} was removed, and a member id is never used again: give the node an "
                f"empty data directory and add it as {_free_id(configuration, member)}"
            )
        twin = next((n for n in configuration.nodes if name_of(n) == name_of(member)), "")
        return f"{twin} is a member: remove it before {member} can join" if twin else ""
    if member not in configuration.nodes:
        return f"{member} is no member; the members are {members}"
    if change.instead_of and change.instead_of not in configuration.voters:
        return f"{change.instead_of} is no voter, so {member} cannot take its place"
    if change.instead_of and member in configuration.voters:
        return f"{member} is a voter already: remove {change.instead_of} alone"
    if change.kind == REMOVE and configuration.voters == (member,):
        return f"{member} is the last voter: without it there is no cluster"
    return ""


def _free_id(configuration: Configuration, member: str) -> str:
    known = [m for m in configuration.retired if name_of(m) == name_of(member)]
    return next_incarnation(max(known, key=incarnation_of))


def next_configuration(configuration: Configuration, change: Change) -> Configuration:
    """The configuration a change begins with: joint if voters change.

    Args:
        configuration: not joint, and without an :func:`objection`.
        change: what is asked for.
    """
    member, voters, learners = change.member, configuration.voters, configuration.learners
    addresses, retired = configuration.addresses, configuration.retired
    if change.kind == ADD_LEARNER:
        if change.address:
            addresses = tuple(sorted([*addresses, (member, change.address)]))
        learners = tuple(sorted([*learners, member]))
        return Configuration(voters, learners, (), addresses, retired)
    remaining = tuple(node for node in learners if node != member)
    if change.kind == PROMOTE:
        promoted = tuple(sorted({*voters, member} - {change.instead_of}))
        return Configuration(promoted, remaining, voters, addresses, retired)
    if member in learners:
        addresses = tuple(pair for pair in addresses if pair[0] != member)
        return Configuration(voters, remaining, (), addresses, _retire(retired, [member]))
    kept = tuple(node for node in voters if node != member)
    return Configuration(kept, learners, voters, addresses, retired)


class MembershipChange:
    """The changes of members that one leadership carries through.

    Args:
        first_index: of the leadership's first own entry.
        config: what a learner may be behind.
    """

    __slots__ = ("_config", "_first_index", "_settled_index")

    def __init__(self, first_index: int, *, config: ClusterConfig) -> None:
        self._first_index = first_index
        self._settled_index = -1
        self._config = config

    # -- decisions ---------------------------------------------------------------------------------

    def may_change_members(self, membership: Membership, mark: int) -> str:
        """Decision: why no change of members may begin now; "" if one may."""
        if mark < self._first_index:
            return "no entry of this leadership is committed yet"
        if membership.current.joint or membership.index > mark:
            return "another change of members is under way"
        return ""

    def changed_configuration(self, current: Configuration, change: Change) -> Configuration:
        """Decision: what a change begins with: a joint configuration if voters change."""
        found = next_configuration(current, change)
        return found if self._config.joint_changes or change.instead_of else settled(found)

    def unwise(
        self, current: Configuration, change: Change, *, heard: Collection[str], behind: int
    ) -> str:
        """Decision: why a change would make the cluster too weak just now; "" if it would not.

        Args:
            current: the configuration in force.
            change: what is asked for.
            heard: the members heard within an election timeout, whose disks are sound.
            behind: how many entries the member misses.
        """
        member = change.member
        if change.kind == PROMOTE:
            if member not in heard:
                return f"{member} is not heard, or damaged: it would count, and not answer"
            if behind > self._config.promote_lag_entries:
                return (
                    f"{member} is {behind} entries behind: let it come within "
                    f"{self._config.promote_lag_entries} before it counts"
                )
        leaving = member if change.kind == REMOVE else change.instead_of
        if leaving in current.voters:
            left = [node for node in current.voters if node != leaving]
            if change.kind == PROMOTE:
                left.append(member)
            answering = [node for node in left if node in heard]
            if len(answering) * 2 <= len(left):
                return (
                    f"without {leaving} the voters are {', '.join(left)}, of which only "
                    f"{', '.join(answering) or 'none'} is heard and undamaged: no majority"
                )
        return ""

    # -- steps -------------------------------------------------------------------------------------

    def begin(
        self,
        change: Change,
        membership: Membership,
        mark: int,
        *,
        heard: Collection[str],
        behind: int,
    ) -> Configuration | Refusal | None:
        """The configuration to append for a change; arguments as for :meth:`unwise`.

        Returns:
            A refusal; None if the change is under way or done already.
        """
        current = membership.current
        if is_so(settled(current), change):
            return None
        wrong = self.may_change_members(membership, mark)
        if wrong:
            return Refusal("retry", wrong)
        wrong = objection(current, change) or self.unwise(
            current, change, heard=heard, behind=behind
        )
        if wrong:
            return Refusal("fail", wrong)
        return self.changed_configuration(current, change)

    def committed(self, membership: Membership, mark: int) -> Configuration | None:
        """The configuration in force, if it is committed and its next step was not taken yet: a
        joint one must be followed by its :func:`settled` one, another one ends the change."""
        if membership.index > mark or membership.index == self._settled_index:
            return None
        if not membership.current.joint:
            self._settled_index = membership.index
        return membership.current
