"""The liveness phase: heal everything, then ask whether the system lives and remembers.

A system that never answers breaks no safety property. So after the faults of a run are over, every
fault is removed and the system has a bounded time to do what it owes:

1. converge: every member runs (those whose disks were damaged beyond recovery excepted), one leads,
   no change of members is half done, and all have applied the same index with the same state; of
   role ``paxos``, where there is no leader and nothing is applied: no request waits any more; of
   role ``data``, all this in each group, and nothing is left over of transactions, moves and
   former lives (:mod:`cluster.simulation.data_leftovers`); of role ``gossip``: all nodes know the
   same members, which are all nodes, and the view of them is agreed on and led; of role
   ``leaderless``: as of role ``paxos``, no node takes another for absent, and replicas of a key
   hold the same state;
2. serve: a write by a new client is acknowledged; of role ``gossip``: an act;
3. remember: every key that clients ever touched is read again, and what was acknowledged is there:
   acknowledged items of append lists exactly once, and a value that some client wrote.

The history of clients, with these last reads in it, still goes to a checker: this phase asks only
what needs no search. Used by campaigns and tests, after ``World.run_for``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from cluster.consensus.membership import name_of
from cluster.core.member_requests import MEMBER_OPS
from cluster.data.transaction_commands import RUN
from cluster.leaderless.placement import preference_list
from cluster.simulation.data_leftovers import left_over
from cluster.simulation.world import MS, SECOND, World
from cluster.wire import Command

if TYPE_CHECKING:
    from cluster.simulation.sessions import Call

#: Name of the session that writes and reads in the liveness phase.
WITNESS = "settle"

#: Key that the liveness phase writes to; no workload uses it.
WITNESS_KEY = "settle/served"

#: How often it is looked whether the system has converged.
LOOK = 10 * MS

#: Times the witness tries a call again before it is a problem.
CALL_TRIES = 5


class Settlement(msgspec.Struct):
    """How the liveness phase ended.

    Args:
        problems: one sentence for each thing the system owed and did not do; empty if it lives.
        converged_ns: how long it took to converge, or -1.
        total_ns: how long the whole phase took.
        final_reads: what the last read of each key returned, as (key, value).
    """

    problems: list[str]
    converged_ns: int
    total_ns: int
    final_reads: list[tuple[str, Any]]

    @property
    def ok(self) -> bool:
        """Whether the system did all it owed."""
        return not self.problems


def heal(world: World) -> None:
    """Remove every fault: links, held frames, clocks, disks, pauses; start what is down.

    Idempotent.
    """
    world.network.set_links({})
    world.network.release_held()
    for node in world.nodes:
        world.set_clock(node)
        world.set_disk(node, {})
        world.resume(node)
        if not world.alive(node):
            world.restart(node)


def settle(world: World, limit_ns: int = 20 * SECOND) -> Settlement:
    """Heal, and see whether the system converges, serves and remembers.

    Args:
        world: after its faults.
        limit_ns: virtual time it may take to converge; each call after that has the session's own
            deadline.

    Raises:
        InvariantViolation: an invariant broke on the way.
    """
    began_ns = world.now_ns
    made = [call for session in world.sessions().values() for call in session.calls]
    calls = [call for call in made if is_of_a_key(call.command.op)]
    lists = dict.fromkeys(key for call in made for key in lists_of(call.command))
    heal(world)
    settlement = Settlement([], -1, 0, [])
    targets: dict[str, int] = {}
    if world.run_until_every(lambda: not _unsettled(world, targets), limit_ns, every_ns=LOOK):
        settlement.converged_ns = world.now_ns - began_ns
        _serve(world, settlement)
        if world.role == "gossip":  # it has no keys to remember
            settlement.total_ns = world.now_ns - began_ns
            return settlement
        _remember(world, calls, settlement)
        if lists:
            _read_lists(world, list(lists), settlement)
        again: dict[str, int] = {}
        if not world.run_until_every(lambda: not _unsettled(world, again), limit_ns, every_ns=LOOK):
            settlement.problems.append(f"after serving again: {_unsettled(world, again)}")
    else:
        settlement.problems.append(
            f"no convergence in {limit_ns / 1e9:g} s: {_unsettled(world, targets)}"
        )
    settlement.total_ns = world.now_ns - began_ns
    return settlement


def is_of_a_key(op: str) -> bool:
    """Whether a command is about one key of the core."""
    return op not in MEMBER_OPS and not op.startswith(("txn-", "partition"))


def lists_of(command: Command) -> list[str]:
    """The keys of a whole transaction's operations; none of another command."""
    operations = command.args[0] if command.op == RUN else []
    return [key for kind, key, _ in operations if kind != "scan"]


def _read_lists(world: World, keys: list[str], settlement: Settlement) -> None:
    """Write and read every list that transactions touched; the history has it."""
    for key in [*keys, WITNESS_KEY]:
        outcome = _call(world, lambda key=key: _written(world, key))  # type: ignore[misc]
        if outcome.status != "ok":
            problem = f"a transaction of {key} after healing ended {outcome.status}"
            settlement.problems.append(f"{problem}: {outcome.error or 'no reason given'}")
        else:
            settlement.final_reads.append((key, outcome.value[1][2]))


def _written(world: World, key: str) -> Command:
    """A transaction that appends to a list and reads it. Its value is its own at each try: one
    whose outcome is unknown may have happened."""
    return Command(RUN, "", ([["append", key, -1 - world.now_ns], ["r", key, None]],))


def member_nodes(world: World) -> tuple[str, ...]:
    """The nodes that take part, as the leader's log says; all, if there is no leader."""
    leader = world.leader()
    status = world.status(leader) if leader is not None else None
    if status is None or "learners" not in status:
        return world.nodes
    taking = {*status["members"], *status["learners"], *status["outgoing"]}
    return tuple(node for node in world.nodes if world.member(node) in taking)


def ring_of(world: World) -> dict[str, Any]:
    """What the nodes of role ``leaderless`` know of the latest ring: the status of one of them."""
    found = [world.status(node) or {} for node in world.nodes]
    return max(found, key=lambda status: status.get("ring", 0))


def ring_nodes(world: World) -> list[str]:
    """The nodes that are in the latest ring; of another role, all."""
    ring = ring_of(world)
    if "ring" not in ring:
        return list(world.nodes)
    taking = {*ring["members"], *ring["outgoing"]}
    return [node for node in world.nodes if world.member(node) in taking]


def _unsettled_ring(world: World) -> str:
    """Why the nodes of role ``leaderless`` do not agree on a settled ring; empty if they do."""
    ring = ring_of(world)
    if ring.get("outgoing"):
        return f"ring {ring['ring']} is joint"
    for node in ring_nodes(world):
        status = world.status(node)
        if status is not None and status.get("ring") != ring.get("ring"):
            return f"{node} knows ring {status['ring']}, and {ring['ring']} is the latest"
        if status is not None and status.get("foreign"):
            return f"{node} holds {status['foreign']} keys that it is no replica of"
    return ""


def _unsettled_peers(world: World) -> str:
    """The same, of nodes without a leader and a log."""
    for node in ring_nodes(world):
        status = world.status(node)
        if status is None and node not in world.atlas.damaged:
            return f"{node} is down: {world.why_down(node)}"
        if status is not None and status["pending"]:
            return f"{status['pending']} requests wait at {node}"
    return ""


def _unsettled_groups(world: World, targets: dict[str, int]) -> str:
    """The same, of nodes that host groups: each group by itself."""
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for node in world.nodes:
        if not world.alive(node):
            if node in world.atlas.damaged:
                continue
            return f"{node} is down: {world.why_down(node)}"
        for row in (world.status(node) or {}).get("groups", ()):
            found.setdefault(row["group"], []).append((node, row))
    for group, rows in found.items():
        for node, row in rows:
            if row["applied"] < row["high_water_mark"]:
                return f"{node} has not applied all that is committed in group {group}"
            if row["recovering"]:
                return f"{node} is not repaired from the damage to its disk, in group {group}"
        if not any(row["role"] == "leader" for _, row in rows):
            return f"no node leads group {group}"
        said = _behind(world, group, rows, targets)
        if said:
            return said
    return left_over(world)


def _behind(
    world: World, group: str, rows: list[tuple[str, dict[str, Any]]], targets: dict[str, int]
) -> str:
    """Whether replicas of a group differ. Its leader goes on closing timestamps, so that its log
    never rests: it is enough that all have applied what was in a log when first looked at."""
    target = targets.setdefault(group, max(row["last_index"] for _, row in rows))
    applied = {row["applied"] for _, row in rows}
    if min(applied) < target and len(applied | {row["last_index"] for _, row in rows}) > 1:
        return f"applied and last indices of group {group} differ"
    hashes = {(row["applied"], _group_hash(world, node, group)) for node, row in rows}
    if len(hashes) > len(applied):
        return f"states of group {group} differ at one applied index"
    return ""


def _group_hash(world: World, node: str, group: str) -> str:
    core: Any = world.core(node)
    return core.groups.replica(group).state_hash()  # type: ignore[no-any-return]


def _unsettled_group(world: World) -> str:
    """The same, of nodes that gossip: all views are equal and name all nodes, and one leads."""
    views = set()
    for node in world.nodes:
        status = world.status(node)
        if status is None:
            return f"{node} is down: {world.why_down(node)}"
        living = status["members"]
        missed = [other for other in world.nodes if world.member(other) not in living]
        if missed:
            return f"{node} does not know that {', '.join(missed)} live"
        views.add((tuple(living), status["generation"], tuple(sorted(status["view_members"]))))
        if views == {(tuple(living), status["generation"], ())}:
            return f"{node} knows no view"
    if len(views) > 1:
        return "views differ"
    living, _, agreed = views.pop()
    if living != agreed:
        return "the agreed view has other members than live"
    return "" if world.leader() is not None else "no node leads"


def _untrusted(world: World) -> str:
    """Which node of role ``leaderless`` takes one that runs to be away; empty for other roles."""
    nodes = ring_nodes(world)
    running = [world.member(node) for node in nodes if world.alive(node)]
    for node in nodes:
        trusted = (world.status(node) or {}).get("alive", running)
        missed = [other for other in running if other not in trusted]
        if missed:
            return f"{node} takes {', '.join(missed)} to be away"
    return ""


def _unequal_replicas(world: World) -> str:
    """Which two replicas of role ``leaderless`` hold different states; empty for other roles."""
    trees = {
        world.member(node): (world.status(node) or {}).get("trees", {})
        for node in ring_nodes(world)
    }
    for node, own in trees.items():
        for peer, root in own.items():
            if trees.get(peer, {}).get(node, root) != root:
                return f"{node} and {peer} hold different states"
    return ""


def _unsettled(world: World, targets: dict[str, int]) -> str:
    """Why the system has not converged, in a few words; empty if it has.

    Args:
        world: which.
        targets: group -> the index that its replicas are waited for to apply; filled in here.
    """
    if world.role == "gossip":
        return _unsettled_group(world)
    if world.role in ("paxos", "leaderless"):
        settled = _unsettled_ring(world) or _unsettled_peers(world)
        return settled or _untrusted(world) or _unequal_replicas(world)
    if world.role == "data":
        return _unsettled_groups(world, targets)
    applied: dict[str, tuple[int, str]] = {}
    for node in member_nodes(world):
        if not world.alive(node):
            if node in world.atlas.damaged:
                continue
            return f"{node} is down: {world.why_down(node)}"
        status = world.status(node)
        if status is None or status["applied"] < status["high_water_mark"]:
            return f"{node} has not applied all that is committed"
        if status.get("recovering"):
            return f"{node} is not repaired from the damage to its disk"
        applied[node] = (status["applied"], status["last_index"])
    leader = world.leader()
    if leader is None:
        return "there is no leader"
    if (world.status(leader) or {}).get("outgoing"):
        return "a change of members is half done"
    if len(set(applied.values())) > 1:
        positions = ", ".join(f"{node} {found[0]}/{found[1]}" for node, found in applied.items())
        return f"applied and last indices differ: {positions}"
    hashes = {world.state_hash(node) for node in applied}
    return "" if len(hashes) == 1 else "states differ at one applied index"


def key_has_quorum(world: World, key: str) -> bool:
    """Whether enough replicas of a key of role ``leaderless`` run; a damaged disk stops a node."""
    members = ring_of(world).get("members", world.founders)
    count = min(world.config.replicas, len(members))
    replicas = preference_list(key, members)[:count]
    alive = sum(world.alive(name_of(member)) for member in replicas)
    return alive >= min(world.config.write_quorum, count)


def _serve(world: World, settlement: Settlement) -> None:
    if world.role == "leaderless" and not key_has_quorum(world, WITNESS_KEY):
        return
    acts = world.role == "gossip"
    command = Command("act" if acts else "put", WITNESS_KEY, (world.now_ns,))
    outcome = _call(world, command)
    if outcome.status != "ok":
        settlement.problems.append(
            f"a write after healing ended {outcome.status}: {outcome.error or 'no reason given'}"
        )


def _remember(world: World, calls: list[Call], settlement: Settlement) -> None:
    if world.role == "leaderless":
        return  # what is remembered of siblings, only a checker of histories can tell
    by_key: dict[str, list[Call]] = {}
    for call in calls:
        by_key.setdefault(call.command.key, []).append(call)
    for key, made in by_key.items():
        # A call that is answered while the key is read is concurrent with the reading.
        acked = [call for call in made if call.status == "ok"]
        outcome = _call(world, Command("get", key))
        if outcome.status != "ok":
            settlement.problems.append(
                f"key {key} cannot be read after healing: {outcome.status} {outcome.error}"
            )
            continue
        settlement.final_reads.append((key, outcome.value))
        problem = _wrong_value(key, made, acked, outcome.value)
        if problem:
            settlement.problems.append(problem)


def _wrong_value(key: str, made: list[Call], acked: list[Call], value: Any) -> str:
    """The acknowledged items missing from a key's last value; empty if there are none."""
    ops = {call.command.op for call in made} - {"get"}
    if ops == {"append"}:
        return _wrong_list(key, made, acked, value)
    if ops <= {"put", "cas"} and ops:
        written = [c.command.args[-1] for c in made if c.command.op != "get" and c.may_have_been]
        if value is None and any(call.command.op != "get" for call in acked):
            return f"key {key} has no value, and writes of it were acknowledged"
        if value is not None and value not in written:
            return f"key {key} has {value!r}, which was never written"
    return ""


def _wrong_list(key: str, made: list[Call], acked: list[Call], value: Any) -> str:
    items, owed = list(value or ()), {id(call) for call in acked}
    for call in made:
        if call.command.op != "append":
            continue
        item = call.command.args[0]
        count = items.count(item)
        if not count and id(call) in owed:
            return f"item {item!r} of {key} was acknowledged and is not there"
        if count and not call.may_have_been:
            return f"item {item!r} of {key} was refused and is there"
        if count > 1:
            return f"item {item!r} of {key} was appended once and is there {count} times"
    return ""


def _call(world: World, command: Command | Callable[[], Command]) -> Any:
    """Have the witness do a command, or one that is made anew for each try."""
    session = world.session(WITNESS)
    outcome: list[Any] = []
    for _ in range(CALL_TRIES):
        outcome.clear()
        now = command() if callable(command) else command
        session.submit(now, done=outcome.append)
        world.run_until(lambda: bool(outcome), 60 * SECOND)
        if outcome and outcome[0].status == "ok":
            break
    return outcome[0]
