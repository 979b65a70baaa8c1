"""The map: records, routes, and learning it by State Watch."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.config import MS
from cluster.core.answers import Answer
from cluster.data.controller_election import ControllerElection
from cluster.data.partition_record import (
    LEAVING,
    MOVING,
    OWNED,
    Layout,
    Partition,
    decoded,
    encoded,
)
from cluster.data.partition_requests import PartitionRequests
from cluster.data.placement import Placement, Route
from cluster.data.placement_watch import AGAIN_NS, PlacementWatch
from cluster.data.registration import Registration
from cluster.data.replicated_groups import CORE, founding_groups
from cluster.wire import Command, Request

GROUPS = {g: m for g, m in founding_groups(["n1", "n2", "n3"]).items() if g != CORE}


def record(name: str, low: Any, high: Any, group: str = "g-n1", **fields: Any) -> Partition:
    return Partition(
        id=name, scheme=fields.pop("scheme", "ranges"), low=low, high=high, group=group,
        state=fields.pop("state", OWNED), **fields,
    )  # fmt: skip


def items(*records: Partition, layout: Any = None, revision: int = 5) -> list[dict[str, Any]]:
    rows = {each.key(): encoded(each) for each in records}
    rows["layout"] = layout or {"scheme": "ranges", "next": len(records)}
    return [
        {"key": key, "value": value, "created": revision, "modified": revision}
        for key, value in sorted(rows.items())
    ]


def learned(*records: Partition, layout: Any = None) -> Placement:
    placement = Placement("n1", GROUPS)
    assert placement.replace(5, items(*records, layout=layout))
    return placement


LEFT, RIGHT = record("p0", "", "m"), record("p1", "m", None, "g-n2", epoch=4)


def put(revision: int, partition: Partition) -> dict[str, Any]:
    return {"type": "put", "key": partition.key(), "revision": revision,
            "value": encoded(partition), "version": 2}  # fmt: skip


# -- records ---------------------------------------------------------------------------------------


def test_a_record_is_read_as_it_was_written() -> None:
    for each in (LEFT, record("p7", 3, 4, scheme="slots", state=MOVING, other="g-n2", epoch=9)):
        assert decoded(each.key(), encoded(each)) == each


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"scheme": "ranges"}, "partitions/p0 in the core is no partition: .*required field"),
        (7, "partitions/p0 in the core is no partition"),
        ({**encoded(LEFT), "state": "lost"}, "p0 has the unknown state 'lost'"),
        ({**encoded(LEFT), "other": "g-n2"}, "p0 is owned with 'g-n2'"),
        ({**encoded(LEFT), "epoch": 0}, "p0 has epoch 0"),
    ],
)
def test_a_record_that_was_never_written_is_refused(value: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decoded("partitions/p0", value)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"scheme": "hash"}, "the scheme 'hash' is neither 'slots' nor 'ranges'"),
        ({"scheme": "ranges", "splits": ("b", "a")}, "are not in order"),
        ({"scheme": "ranges", "splits": ("", "a")}, "one is empty"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Layout(**fields)


# -- routes ----------------------------------------------------------------------------------------


def test_keys_are_routed_by_range() -> None:
    placement = learned(LEFT, RIGHT)
    assert placement.route("") == placement.route("lz") == Route("p0", 1, "g-n1")
    assert placement.route("m") == Route("p1", 4, "g-n2")
    assert placement.route_range("c", "z") == [
        (Route("p0", 1, "g-n1"), "c", "m"), (Route("p1", 4, "g-n2"), "m", "z"),
    ]  # fmt: skip
    assert placement.route_range("n", None) == [(Route("p1", 4, "g-n2"), "n", None)]
    assert placement.owners() == {"p0": Route("p0", 1, "g-n1"), "p1": Route("p1", 4, "g-n2")}


def test_keys_are_routed_by_slot_and_a_scan_asks_every_partition() -> None:
    rows = [record(f"p{n}", n, n + 1, f"g-n{n % 3 + 1}", scheme="slots") for n in range(4)]
    placement = learned(*rows, layout={"scheme": "slots", "slots": 4, "next": 4})
    found = {placement.route(f"k{n}").partition for n in range(50)}  # type: ignore[union-attr]
    assert found == {"p0", "p1", "p2", "p3"}
    scan = placement.route_range("a", "b")
    assert scan is not None
    assert [(route.partition, low, high) for route, low, high in scan] == [
        (f"p{n}", "a", "b") for n in range(4)
    ]


def test_nothing_is_routed_before_the_map_is_whole() -> None:
    placement = Placement("n1", GROUPS)
    assert not placement.known
    assert placement.route("k") is None and placement.route_range("", None) is None
    rows = [each for each in items(LEFT) if each["key"] != "layout"]
    placement.replace(3, rows)
    assert placement.known and not placement.ready
    assert placement.route("k") is None
    whole = learned(record("p0", "", None, state="new"))
    assert whole.ready and whole.route("k") is None and whole.route_range("", None) is None


def test_a_partition_that_moves_is_routed_to_the_old_group_until_the_map_names_the_new() -> None:
    placement = learned(record("p0", "", None, state=MOVING, other="g-n3"))
    assert placement.route("k") == Route("p0", 1, "g-n1")
    assert placement.partitions["p0"].home == "g-n3"
    placement.apply(6, [put(6, record("p0", "", None, "g-n3", state=LEAVING, other="g-n1",
                                      epoch=2))])  # fmt: skip
    assert placement.route("k") == Route("p0", 2, "g-n3")


def test_a_map_that_does_not_tile_stops_the_node() -> None:
    with pytest.raises(ValueError, match="no range begins at 'm'"):
        learned(LEFT)
    slots = [record("p0", 0, 1, scheme="slots"), record("p1", 0, 2, scheme="slots")]
    with pytest.raises(AssertionError, match="slot 0 is of"):
        learned(*slots, layout={"scheme": "slots", "slots": 2})
    with pytest.raises(AssertionError, match="1 of 2 slots have a partition"):
        learned(slots[0], layout={"scheme": "slots", "slots": 2})


def test_an_older_map_and_an_older_epoch_are_not_taken() -> None:
    placement = learned(LEFT, RIGHT)
    assert not placement.replace(4, items(record("p0", "", None)))
    assert placement.route("z") == Route("p1", 4, "g-n2")
    with pytest.raises(AssertionError, match="is at an old epoch"):
        placement.apply(9, [put(9, record("p1", "m", None, "g-n3", epoch=3))])
    with pytest.raises(AssertionError, match="told late"):
        placement.apply(9, [put(5, RIGHT)])


def test_a_route_that_was_refused_is_not_given_again() -> None:
    placement = learned(LEFT, RIGHT)
    placement.refuse("p1", 3)  # of an older map
    assert placement.route("z") == Route("p1", 4, "g-n2") and not placement.waits
    placement.refuse("p1", 4)
    assert placement.route("z") is None and placement.route_range("", None) is None
    assert placement.route("a") is not None and placement.waits
    placement.apply(8, [put(8, record("p1", "m", None, "g-n3", epoch=5))])
    assert placement.route("z") == Route("p1", 5, "g-n3") and not placement.waits


# -- learning --------------------------------------------------------------------------------------


class Core:
    """A core that is answered by hand."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str, Command]] = []

    def ask(self, now_ns: int, group: str, command: Command, *, mode: str = "linearizable",
            timeout_ns: int, to: str = "") -> int:  # fmt: skip
        assert timeout_ns > 0
        self.asked.append((now_ns, group, command))
        return len(self.asked)

    def last(self, op: str) -> tuple[int, Any]:
        """Token and argument of the last question; it must be of this kind."""
        _, group, command = self.asked[-1]
        assert (group, command.op) == ("core", op), self.asked[-1]
        return len(self.asked), command.args[0] if command.args else None


def ok(value: Any) -> Answer:
    return ("ok", value, "")


def page(rows: list[dict[str, Any]], *, more: bool = False, revision: int = 5) -> Answer:
    return ok({"items": rows, "more": more, "count": len(rows), "revision": revision})


def watching(core: Core) -> PlacementWatch:
    watch = PlacementWatch(Placement("n1", GROUPS), core.ask)
    watch.tick(0)
    watch.on_answer(1, core.last("range")[0], *page(items(LEFT, RIGHT)))
    watch.tick(1)
    return watch


def test_a_watch_goes_on_from_the_revision_that_is_known() -> None:
    core = Core()
    watch = watching(core)
    token, options = core.last("watch")
    assert options == {"after": 5, "end": "requests0"}
    later = put(7, record("p0", "", "m", "g-n3", epoch=2))
    assert watch.on_answer(2, token, *ok({"events": [later], "revision": 9}))
    assert not watch.on_answer(2, token, *ok({"events": [later], "revision": 9}))  # twice
    assert watch.placement.revision == 9
    assert watch.placement.route("a") == Route("p0", 2, "g-n3")
    assert watch.placement.modified["partitions/p0"] == 7
    watch.tick(2)
    assert core.last("watch")[1]["after"] == 9


def test_a_watch_that_fails_is_asked_again_after_a_while_from_the_same_revision() -> None:
    core = Core()
    watch = watching(core)
    watch.on_answer(10, core.last("watch")[0], "fail", None, "timed out: n1 did not answer")
    watch.tick(10)
    assert len(core.asked) == 2
    assert watch.deadline_ns == 10 + AGAIN_NS
    watch.tick(10 + AGAIN_NS)
    assert core.last("watch")[1]["after"] == 5


def test_the_map_is_read_anew_when_changes_are_compacted() -> None:
    core = Core()
    watch = watching(core)
    told = "compacted: revision 5 is compacted; the oldest one left is 90"
    watch.on_answer(10, core.last("watch")[0], "fail", None, told)
    watch.tick(10 + AGAIN_NS)
    token, options = core.last("range")
    assert "revision" not in options
    watch.on_answer(11, token, *page(items(record("p0", "", None, epoch=9)), revision=95))
    assert watch.placement.route("z") == Route("p0", 9, "g-n1")
    assert "p1" not in watch.placement.partitions
    watch.tick(11)
    assert core.last("watch")[1]["after"] == 95


def test_pages_are_all_of_the_first_ones_revision() -> None:
    core = Core()
    watch = PlacementWatch(Placement("n1", GROUPS), core.ask, page=2)
    watch.tick(0)
    rows = items(LEFT, RIGHT)
    watch.on_answer(1, core.last("range")[0], *page(rows[:2], more=True, revision=6))
    assert not watch.placement.known
    token, options = core.last("range")
    assert (core.asked[-1][2].key, options["revision"]) == (rows[1]["key"] + "\0", 6)
    watch.on_answer(2, token, "fail", None, "compacted: revision 6 is compacted")
    watch.tick(2 + AGAIN_NS)
    assert core.asked[-1][2].key == "controller"  # from the beginning
    watch.on_answer(3, core.last("range")[0], *page(rows, revision=8))
    assert watch.placement.revision == 8 and watch.placement.ready


def test_a_refused_route_makes_the_map_be_read_until_it_is_newer() -> None:
    core = Core()
    watch = watching(core)
    watch.refuse("p1", 3)
    watch.tick(2)
    assert core.asked[-1][2].op == "watch"  # the map is newer than that already
    watch.refuse("p1", 4)
    watch.tick(3)
    token, _ = core.last("range")
    watch.on_answer(4, token, *page(items(LEFT, RIGHT), revision=6))  # no newer
    watch.tick(4)
    assert core.asked[-1][2].op == "range" and len(core.asked) == 3
    watch.tick(4 + AGAIN_NS)
    token, _ = core.last("range")
    moved = record("p1", "m", None, "g-n3", epoch=5)
    watch.on_answer(5, token, *page(items(LEFT, moved), revision=7))
    assert watch.placement.route("z") == Route("p1", 5, "g-n3")


def test_changes_told_late_do_not_undo_a_newer_map() -> None:
    core = Core()
    watch = watching(core)
    old_watch, _ = core.last("watch")
    watch.refuse("p1", 4)
    watch.tick(2)
    moved = record("p1", "m", None, "g-n3", epoch=6)
    watch.on_answer(3, core.last("range")[0], *page(items(LEFT, moved), revision=20))
    late = put(7, record("p1", "m", None, "g-n1", epoch=5))
    watch.on_answer(4, old_watch, *ok({"events": [late], "revision": 8}))
    assert watch.placement.revision == 20
    assert watch.placement.route("z") == Route("p1", 6, "g-n3")
    watch.tick(4)
    assert core.last("watch")[1]["after"] == 20


# -- registration ----------------------------------------------------------------------------------

TTL_NS = 900 * MS


def registered(core: Core) -> Registration:
    mine = Registration("n1", "L", Placement("n1", GROUPS), core.ask, ttl_ns=TTL_NS)
    mine.tick(0)
    mine.on_answer(10 * MS, core.last("lease-grant")[0], *ok({"token": 3}))
    mine.tick(10 * MS)
    token, _ = core.last("txn")
    stat = {"modified": 4}
    mine.on_answer(20 * MS, token, *ok({"succeeded": True, "results": [1, stat]}))
    return mine


def test_a_node_counts_its_lease_from_the_moment_it_asked() -> None:
    core = Core()
    mine = registered(core)
    assert core.asked[0][2] == Command("lease-grant", "node-n1-L-1", (TTL_NS,))
    key, about, lease = core.asked[1][2].args[1][0][1:]
    assert (key, about, lease) == ("nodes/n1", {"lease": "node-n1-L-1"}, "node-n1-L-1")
    assert mine.registered
    assert mine.valid(TTL_NS - 1) and not mine.valid(TTL_NS)
    assert mine.deadline_ns == 10 * MS + TTL_NS // 3  # of the registration
    mine.tick(mine.deadline_ns)
    token, _ = core.last("lease-renew")
    mine.on_answer(500 * MS, token, *ok({}))
    assert mine.valid(310 * MS + TTL_NS - 1) and not mine.valid(310 * MS + TTL_NS)


def test_a_lease_that_ended_is_followed_by_one_of_another_name() -> None:
    core = Core()
    mine = registered(core)
    mine.tick(310 * MS)
    over = "there is no lease 'node-n1-L-1'; it is over, or never was"
    mine.on_answer(320 * MS, core.last("lease-renew")[0], "fail", None, over)
    assert not mine.registered and not mine.valid(320 * MS)
    mine.tick(420 * MS)
    assert core.asked[-1][2].key == "node-n1-L-2"


def test_a_renewal_that_is_lost_is_repeated_while_the_lease_lasts() -> None:
    core = Core()
    mine = registered(core)
    mine.tick(310 * MS)
    mine.on_answer(600 * MS, core.last("lease-renew")[0], "unknown", None, "timed out")
    assert mine.registered
    mine.tick(700 * MS)
    assert core.asked[-1][2] == Command("lease-renew", "node-n1-L-1")
    mine.on_answer(1_000 * MS, len(core.asked), "unknown", None, "timed out")
    mine.tick(1_100 * MS)  # by now the lease is over by the node's own clock
    assert core.asked[-1][2].key == "node-n1-L-2" and not mine.registered


@pytest.mark.parametrize("there", [None, "node-n1-K-7"])
def test_a_key_that_is_gone_or_of_a_life_before_is_written_again(there: str | None) -> None:
    core = Core()
    mine = registered(core)
    rows = [] if there is None else [
        {"key": "nodes/n1", "value": {"lease": there}, "created": 2, "modified": 9}
    ]  # fmt: skip
    mine._placement.replace(3, [])  # older than the registration: says nothing
    mine.tick(30 * MS)
    assert core.asked[-1][2].op == "txn" and mine.registered
    mine._placement.replace(9, rows)
    mine.tick(40 * MS)
    assert len(core.asked) == 3 and core.asked[-1][2].args[1][0][1] == "nodes/n1"
    assert not mine.registered


def test_a_controller_whose_lease_is_over_by_its_own_clock_acts_no_more() -> None:
    core = Core()
    mine = registered(core)
    placement = mine._placement
    election = ControllerElection("n1", mine, placement, core.ask)
    assert not election.should_stand(30 * MS)  # it knows no map
    placement.replace(4, [])
    election.tick(30 * MS)
    absent, create, _ = core.asked[-1][2].args
    assert absent == [["controller", "version", "==", 0]]
    claim = {"node": "n1", "lease": "node-n1-L-1"}
    assert create == [["put", "controller", claim, "node-n1-L-1"]]
    election.tick(31 * MS)
    assert len(core.asked) == 3  # once
    row = {"key": "controller", "value": claim, "created": 8, "modified": 8}
    placement.replace(8, [row])
    assert election.token(40 * MS) == election.token(TTL_NS - 1) == 8
    assert election.token(TTL_NS) == 0
    placement.replace(9, [{**row, "value": {"node": "n2", "lease": "x"}, "created": 9}])
    assert election.token(40 * MS) == 0


# -- requests of operators -------------------------------------------------------------------------


class Asked:
    """A node that was asked to split at "m", by hand; its registration is by hand as well."""

    def __init__(self) -> None:
        self.core = Core()
        self.mine = registered(self.core)
        self.requests = PartitionRequests(
            "n1", "L", self.mine._placement, self.mine, self.core.ask, leader=lambda group: "n2"
        )
        request = Request(7, "c", 1, 1, Command("partition-split", "m"), timeout_ns=100 * MS)
        self.requests.on_client(50 * MS, 3, request)
        self.token, _ = self.core.last("put")
        self.key = self.core.asked[-1][2].key

    def shown(self, revision: int, outcome: str = "") -> None:
        """The map shows the request, with an outcome if there is one."""
        value = {**self.core.asked[self.token - 1][2].args[0], "outcome": outcome}
        row = {"key": self.key, "value": value, "created": 5, "modified": revision}
        self.mine._placement.replace(revision, [row])

    def said(self) -> list[tuple[int, str]]:
        replies = self.requests.take()
        return [(reply.connection, reply.response.status) for reply in replies]


def test_an_outcome_is_told_once_and_the_request_deleted() -> None:
    at = Asked()
    at.requests.on_answer(60 * MS, at.token, *ok(1))
    at.shown(6)
    at.requests.tick(70 * MS)
    assert at.said() == []
    at.shown(7, "ok")
    at.requests.tick(80 * MS)
    assert at.said() == [(3, "ok")]
    assert at.core.asked[-1][2] == Command("delete", at.key)
    at.requests.tick(90 * MS)
    assert at.said() == [] and at.requests.deadline_ns == NEVER_NS


def test_a_request_whose_deletion_failed_is_deleted_again() -> None:
    at = Asked()
    at.requests.on_answer(60 * MS, at.token, "unknown", None, "n2 did not answer")
    assert at.said() == [(3, "unknown")], "the node has given it up, and yet it may come"
    at.shown(7, "ok")
    for number in range(1, 4):
        at.requests.tick(number * 1_000 * MS)
        at.requests.tick(number * 1_000 * MS + MS)
        token, _ = at.core.last("delete")
        deletions = [each for each in at.core.asked if each[2] == Command("delete", at.key)]
        assert len(deletions) == number, "one at a time"
        at.requests.on_answer(number * 1_000 * MS + MS, token, "unknown", None, "")
    assert at.said() == []


@pytest.mark.parametrize("status", ["fail", "unknown"])
def test_a_request_that_is_refused_after_the_client_gave_up_is_told_to_nobody(status: str) -> None:
    at = Asked()
    assert at.requests.deadline_ns == 150 * MS
    at.requests.tick(150 * MS)
    assert at.said() == [(3, "unknown")] and at.requests.deadline_ns == NEVER_NS
    at.requests.on_answer(200 * MS, at.token, status, None, "there is no lease 'x'")
    at.requests.tick(210 * MS)
    assert at.said() == []


def test_a_request_that_is_done_after_the_client_gave_up_is_deleted() -> None:
    at = Asked()
    at.requests.on_answer(60 * MS, at.token, *ok(1))
    at.requests.tick(150 * MS)
    assert at.said() == [(3, "unknown")]
    at.shown(9, "fail")
    at.requests.tick(160 * MS)
    assert at.said() == [] and at.core.asked[-1][2] == Command("delete", at.key)


def test_a_request_ends_with_its_nodes_lease() -> None:
    at = Asked()
    at.mine.lease = "node-n1-L-2"
    at.shown(6)
    at.requests.tick(60 * MS)
    assert at.said() == []  # it is still there
    at.mine._placement.replace(8, [])
    at.requests.tick(70 * MS)
    assert at.said() == [(3, "unknown")]
    at.requests.on_answer(80 * MS, at.token, "fail", None, "there is no lease 'node-n1-L-1'")
    assert at.said() == []


def test_a_connection_that_is_gone_is_told_nothing() -> None:
    at = Asked()
    at.requests.on_disconnect(3)
    at.shown(6, "ok")
    at.requests.tick(60 * MS)
    assert at.said() == [] and at.core.asked[-1][2].op == "delete"


def test_a_grant_that_is_answered_after_its_time_is_no_lease() -> None:
    core = Core()
    mine = Registration("n1", "L", Placement("n1", GROUPS), core.ask, ttl_ns=TTL_NS)
    mine.tick(0)
    mine.on_answer(TTL_NS, core.last("lease-grant")[0], *ok({"token": 3}))
    assert mine.lease == "" and not mine.valid(TTL_NS)
