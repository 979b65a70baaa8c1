"""Leases, watches, transactions and read modes on simulated clusters, under crashes and cuts; each
by nodes of role ``core`` and of role ``data``, whose core is one of their groups."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.config import ClusterConfig
from cluster.core.lease import MARGIN
from cluster.simulation.network import LinkFault
from cluster.simulation.sessions import SimSession
from cluster.simulation.world import MS, SECOND, World
from cluster.wire import Command

TTL_NS = 2 * SECOND
OVER_NS = int(TTL_NS * (1 + MARGIN))
CUT = LinkFault(cut=True)


#: The roles whose clients have these services.
ROLES = ("core", "data")
_made = {"role": "core"}


@pytest.fixture(params=ROLES, autouse=True)
def role(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One body, an arm per role: the core by itself, and the core as a group of a data node."""
    monkeypatch.setitem(_made, "role", request.param)
    return str(request.param)


def world_of(seed: int = 1, **config: Any) -> World:
    world = World(seed=seed, config=ClusterConfig(**config), role=_made["role"])
    assert world.run_until(lambda: world.leader() is not None, 10 * SECOND)
    return world


def ask(
    world: World, op: str, key: str, *args: Any, session: SimSession | None = None, **how: Any
) -> Any:
    """One command, awaited: its value, or the error."""
    session = session or world.session("c1", timeout_ns=10 * SECOND)
    call = session.submit(Command(op, key, args), **how)
    assert world.run_until(lambda: bool(call.status), 60 * SECOND)
    return call.value if call.status == "ok" else f"{call.status}: {call.error}"


def leases(world: World) -> list[dict[str, Any]]:
    """The leases of clients: those of data nodes are no concern of these tests."""
    return [each for each in ask(world, "leases", "") if not each["lease"].startswith("node-")]


def follower_of(world: World) -> str:
    return next(node for node in world.nodes if node != world.leader())


# Leases


def test_a_lease_ends_with_its_keys_when_it_is_not_renewed() -> None:
    world = world_of()
    granted = ask(world, "lease-grant", "", TTL_NS)
    lease = granted["lease"]
    assert ask(world, "put", "a", 1, lease) == 1 and ask(world, "put", "b", 2, lease) == 1
    assert leases(world)[0]["keys"] == ["a", "b"]
    world.run_for(TTL_NS - 500 * MS)
    assert ask(world, "lease-renew", lease)["token"] == granted["token"]
    renewed_ns = world.now_ns
    world.run_for(TTL_NS)
    assert ask(world, "get", "a") == 1
    world.run_for(renewed_ns + OVER_NS + 500 * MS - world.now_ns)
    assert ask(world, "get", "a") is None and ask(world, "get", "b") is None
    assert leases(world) == []
    assert "it is over" in ask(world, "lease-renew", lease)
    assert "it is over" in ask(world, "put", "a", 3, lease)


def test_revoking_a_lease_deletes_its_keys_at_one_revision() -> None:
    world = world_of()
    lease = ask(world, "lease-grant", "mine", TTL_NS)["lease"]
    assert lease == "mine" and "already" in ask(world, "lease-grant", "mine", TTL_NS)
    for key in ("a", "b"):
        ask(world, "put", key, 1, lease)
    before = ask(world, "range", "")["revision"]
    assert ask(world, "lease-revoke", lease) == 2
    events = ask(world, "watch", "", {"after": before})["events"]
    assert [(event["type"], event["key"]) for event in events] == [("delete", "a"), ("delete", "b")]
    assert len({event["revision"] for event in events}) == 1


@pytest.mark.parametrize("seed", range(4))
def test_a_new_leader_knows_how_long_leases_have_left(seed: int) -> None:
    world = world_of(seed)
    lease = ask(world, "lease-grant", "", TTL_NS)["lease"]
    granted_ns = world.now_ns
    ask(world, "put", "a", 1, lease)
    world.run_for(TTL_NS // 2)
    leader = world.leader()
    assert leader is not None
    world.crash(leader)
    while world.now_ns < granted_ns + TTL_NS - 100 * MS:
        world.run_for(50 * MS)
        assert world.leader() is None or ask(world, "get", "a") == 1
    world.run_for(granted_ns + OVER_NS + 2 * SECOND - world.now_ns)
    assert ask(world, "get", "a") is None


def test_restarts_do_not_keep_a_dead_clients_lease_alive() -> None:
    world = world_of()
    lease = ask(world, "lease-grant", "", TTL_NS)["lease"]
    ask(world, "put", "a", 1, lease)
    for _ in range(8):  # every time before it would end
        world.run_for(int(TTL_NS * 0.7))
        for node in world.nodes:
            world.crash(node)
        for node in world.nodes:
            world.restart(node)
    assert ask(world, "get", "a") is None


def test_a_lease_survives_a_snapshot_and_the_node_that_is_given_it() -> None:
    world = world_of(snapshot_entries=20, snapshot_keep_entries=0)
    behind = follower_of(world)
    world.crash(behind)
    lease = ask(world, "lease-grant", "", 60 * SECOND)["lease"]
    ask(world, "put", "a", 1, lease)
    for number in range(50):
        ask(world, "put", "b", number)
    world.restart(behind)
    world.run_for(3 * SECOND)
    assert world.run_until_every(
        lambda: world.state_hash(behind) == world.state_hash(str(world.leader())), SECOND
    )
    for node in world.nodes:
        if node != behind:
            world.crash(node)
            world.restart(node)
    assert ask(world, "lease-revoke", lease) == 1
    assert ask(world, "get", "a") is None


def test_a_client_may_not_end_leases_as_a_leader_does() -> None:
    world = world_of()
    lease = ask(world, "lease-grant", "", TTL_NS)["lease"]
    assert "there is no operation" in ask(world, "lease-expire", lease, 1)
    assert "the time to live is 1e-09 s" in ask(world, "lease-grant", "", 1)


# Watches


def test_a_watch_is_told_everything_once_wherever_it_asks() -> None:
    world = world_of()
    seen: list[int] = []
    after = [0]
    watcher = world.session("w", timeout_ns=20 * SECOND, attempt_ns=500 * MS)
    turn = iter(range(10_000))

    def poll(outcome: Any = None) -> None:
        if outcome is not None and outcome.status == "ok":
            seen.extend(e["value"] for e in outcome.value["events"])
            after[0] = outcome.value["revision"]
        node = world.nodes[next(turn) % 3]
        watcher.submit(Command("watch", "k", ({"after": after[0]},)), to=node, done=poll)

    poll()
    writer = world.session("c1", timeout_ns=10 * SECOND)
    for number in range(60):
        assert ask(world, "put", f"k{number % 3}", number, session=writer) >= 1
        if number in (20, 40):
            leader = world.leader()
            assert leader is not None
            world.crash(leader)
            world.run_for(SECOND)
            world.restart(leader)
    world.run_for(5 * SECOND)
    assert seen == list(range(60))


def test_a_watch_waits_and_then_says_how_far_it_has_looked() -> None:
    world = world_of()
    ask(world, "put", "x", 1)
    session = world.session("w", timeout_ns=10 * SECOND)
    call = session.submit(Command("watch", "k", ({"after": 1},)))
    world.run_for(400 * MS)
    assert not call.status
    ask(world, "put", "x", 2)
    world.run_until(lambda: bool(call.status), 5 * SECOND)
    assert call.value["events"] == [] and call.value["revision"] >= 3


def test_a_watch_below_the_compacted_revision_is_refused() -> None:
    world = world_of()
    for number in range(5):
        ask(world, "put", "k", number)
    newest = ask(world, "range", "")["revision"]
    ask(world, "compact", "", newest)
    assert "compacted" in ask(world, "watch", "k", {"after": newest - 2})
    assert ask(world, "watch", "k", {"after": newest})["events"] == []


def test_a_limit_never_divides_a_revision() -> None:
    world = world_of()
    first = ask(world, "range", "")["revision"]
    for _ in range(3):
        ask(world, "txn", "", [], [["put", "k1", 1], ["put", "k2", 2]], [])
    found = ask(world, "watch", "k", {"after": first, "limit": 3})
    assert len(found["events"]) == 4
    rest = ask(world, "watch", "k", {"after": found["revision"]})
    assert len(rest["events"]) == 2


# Read modes


def test_a_session_read_waits_for_what_the_session_has_seen() -> None:
    world = world_of()
    behind = follower_of(world)
    session = world.session("c1", timeout_ns=10 * SECOND)
    ask(world, "put", "x", 1, session=session)
    world.run_for(SECOND)
    others = [node for node in world.nodes if node != behind]
    world.network.set_links({(node, behind): CUT for node in others})
    ask(world, "put", "x", 2, session=session)
    assert ask(world, "get", "x", session=session, mode="stale", to=behind) == 1
    call = session.submit(Command("get", "x"), mode="session", to=behind)
    world.run_for(200 * MS)
    assert not call.status
    world.network.set_links({})
    assert world.run_until(lambda: bool(call.status), 10 * SECOND) and call.value == 2


def test_a_bounded_read_asks_the_leader_only_when_too_much_time_has_passed() -> None:
    world = world_of()
    node = follower_of(world)
    session = world.session("c1", timeout_ns=3 * SECOND)
    ask(world, "put", "x", 1, session=session)
    how = {"session": session, "mode": "bounded", "to": node, "staleness_ns": 2 * SECOND}
    assert ask(world, "get", "x", **how) == 1
    others = [other for other in world.nodes if other != node]
    world.network.set_links({(node, other): CUT for other in others})
    assert ask(world, "get", "x", **how) == 1  # fresh enough, with nobody to ask
    assert session._core.node == node


def test_a_read_at_a_revision_that_a_node_has_not_reached_is_refused_there() -> None:
    """The answers to reads name revisions that can be read, though no key changed at them."""
    world = world_of()
    node = follower_of(world)
    session = world.session("c1", timeout_ns=3 * SECOND)
    ask(world, "put", "x", 1, session=session)
    world.run_for(SECOND)
    seen = session._core.revision
    assert ask(world, "get", "x", seen, session=session) == 1
    others = [other for other in world.nodes if other != node]
    world.network.set_links({(node, other): CUT for other in others})
    ask(world, "put", "x", 2, session=session)
    newer = session._core.revision
    said = ask(world, "get", "x", newer, session=session, mode="stale", to=node)
    assert said.startswith(f"fail: future-revision: revision {newer} is not reached yet; ")
    assert ask(world, "get", "x", newer, session=session) == 2
    said = ask(world, "range", "", {"revision": newer + 1000}, session=session)
    assert f"future-revision: revision {newer + 1000}" in said


def test_an_unknown_mode_names_those_there_are() -> None:
    world = world_of()
    said = ask(world, "get", "x", mode="linear")
    assert "linearizable, lease, follower, session, bounded or stale" in said
