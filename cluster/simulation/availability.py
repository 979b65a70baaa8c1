"""Trials of availability: a fault of which a system promises that it costs next to nothing.

No safety property notices a system that elects all the time, and the liveness phase asks only
whether it lives once every fault is gone. So a healed system is tried with one fault more, whose
consequences are known:

    lost-leader   the leader dies: another serves soon
    deaf-leader   the leader sends and hears nothing: it steps down, another serves (CheckQuorum)
    slow-disk     the leader's disk takes very long: its heartbeats do not, and it leads on
    rejoin        a follower returns from a long cut: the leader it finds leads on (PreVote)

Only promises of the configuration are checked: a deaf leader needs ``check_quorum``, and
``prevote`` too, since a deaf node that campaigns without asking deposes its successors; a rejoin
needs ``prevote``. A slow disk needs one of the two if a node runs that is no member any more: it
campaigns, and without them any candidate deposes a leader. A trial that fails is made once more,
for a lossy network may elect by itself; it counts if it fails twice.

Used by :mod:`cluster.simulation.swarm` after the liveness phase, and by tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.simulation.liveness import heal, member_nodes
from cluster.simulation.network import LinkFault
from cluster.simulation.world import MS, World
from cluster.wire import Command

#: The session that asks, and its key; no workload uses either.
WITNESS, WITNESS_KEY = "trial", "trial/served"
#: Election timeouts: until a service must be back; for which a follower is away; for which the
#: leader is watched once the follower is back.
SERVED_WITHIN, AWAY_FOR, WATCHED_FOR = 20, 4, 3
SLOW_DISK = "slow-disk"
#: Times a trial must fail.
TRIES = 2


def trials_for(world: World) -> tuple[str, ...]:
    """The trials that the world's configuration promises to stand: none unless the voters that run
    are a majority without the leader."""
    if not _can_spare_leader(world):
        return ()
    promised = ["lost-leader"]
    if not _stranger_deposes(world):
        promised.append(SLOW_DISK)
    if world.config.check_quorum and world.config.prevote:
        promised.append("deaf-leader")
    if world.config.prevote:
        promised.append("rejoin")
    return tuple(promised)


def _can_spare_leader(world: World) -> bool:
    leader = world.leader()
    status = world.status(leader) if leader is not None else None
    if status is None:
        return False
    voters = status.get("members") or list(world.nodes)
    running = [n for n in world.nodes if world.alive(n) and world.member(n) in voters]
    return not status.get("outgoing") and len(running) - (leader in running) > len(voters) // 2


def _stranger_deposes(world: World) -> bool:
    """Whether a node runs that the leader does not count among the members, and nothing keeps such
    a one from deposing leaders."""
    if world.config.check_quorum or world.config.prevote:
        return False
    leader = world.leader()
    status = (world.status(leader) if leader is not None else None) or {}
    members = {*status.get("members", world.nodes), *status.get("learners", ())}
    return any(world.alive(node) and world.member(node) not in members for node in world.nodes)


def hold_trial(world: World, name: str) -> str:
    """Hold a trial in a healed world.

    Args:
        world: healed and settled.
        name: one of :func:`trials_for`.

    Returns:
        What was promised and did not come, in a sentence; "" if the trial was stood, or could not
        be held.

    Raises:
        InvariantViolation: an invariant broke on the way.
    """
    said = ""
    for _ in range(TRIES):
        heal(world)
        if not world.run_until_every(lambda: world.leader() is not None, _timeouts(world, 20)):
            return ""
        world.run_for(_timeouts(world, 2))
        leader = world.leader()
        if leader is None or not _can_spare_leader(world):
            return ""
        if name == SLOW_DISK and _stranger_deposes(world):  # healing may have started one
            return ""
        said = _TRIALS[name](world, leader)
        heal(world)
        if not said:
            return ""
    return said


def _timeouts(world: World, number: int) -> int:
    return number * world.config.election_max_ns


def _served(world: World) -> bool:
    """Whether a write is acknowledged within ``SERVED_WITHIN`` election timeouts."""
    end_ns = world.now_ns + _timeouts(world, SERVED_WITHIN)
    # A lost dial is the network's fault: a client waits a second for it, and the trial has not.
    patience_ns = max(50 * MS, _timeouts(world, 1))
    session = world.session(WITNESS, attempt_ns=patience_ns)
    session.dial_ns = patience_ns
    while world.now_ns < end_ns:
        outcome: list[Any] = []
        left_ns = end_ns - world.now_ns
        command = Command("put", WITNESS_KEY, (world.now_ns,))
        session.submit(command, timeout_ns=left_ns, done=outcome.append)
        world.run_until(lambda: bool(outcome), left_ns)  # noqa: B023 - called before the next round
        if outcome and outcome[0].status == "ok":
            return True
    return False


def _lost_leader(world: World, leader: str) -> str:
    world.crash(leader)
    if _served(world):
        return ""
    return f"the leader {leader} died, and {SERVED_WITHIN} election timeouts later none serves"


def _deaf_leader(world: World, leader: str) -> str:
    others = [node for node in world.nodes if node != leader]
    world.network.set_links({(node, leader): LinkFault(cut=True) for node in others})
    if _served(world):
        return ""
    return (
        f"the leader {leader} hears no other node, and {SERVED_WITHIN} election timeouts later "
        "none serves"
    )


def _slow_disk(world: World, leader: str) -> str:
    before = _leading(world, leader)
    world.set_disk(leader, {"latency_ns": _timeouts(world, AWAY_FOR)})
    end_ns = world.now_ns + _timeouts(world, WATCHED_FOR)
    session = world.session(WITNESS, attempt_ns=max(50 * MS, _timeouts(world, 1)))
    command = Command("put", WITNESS_KEY, (world.now_ns,))
    session.submit(command, timeout_ns=2 * _timeouts(world, WATCHED_FOR))
    world.run_for(end_ns - world.now_ns)
    if _leading(world, leader) == before:
        return ""
    return f"the disk of the leader {leader} was slow, and another was elected"


def _rejoin(world: World, leader: str) -> str:
    others = [node for node in member_nodes(world) if node != leader]
    away = others[world.now_ns % len(others)]
    links = {(away, node) for node in world.nodes} | {(node, away) for node in world.nodes}
    before = _leading(world, leader)
    world.network.set_links({link: LinkFault(cut=True) for link in sorted(links)})
    world.run_for(_timeouts(world, AWAY_FOR))
    if _leading(world, leader) != before:
        return ""  # it elected by itself while nothing was wrong with a majority: see TRIES
    world.network.set_links({})
    world.run_for(_timeouts(world, WATCHED_FOR))
    if _leading(world, leader) == before:
        return ""
    return f"{away} came back from a cut, and the healthy leader {leader} was deposed by it"


def _leading(world: World, node: str) -> int:
    """The generation that a node leads; -1 if it leads none."""
    status = world.status(node)
    leads = status is not None and status["role"] == "leader"
    return int(status["generation"]) if status is not None and leads else -1


_TRIALS: dict[str, Callable[[World, str], str]] = {
    "lost-leader": _lost_leader,
    "deaf-leader": _deaf_leader,
    SLOW_DISK: _slow_disk,
    "rejoin": _rejoin,
}
