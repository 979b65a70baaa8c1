"""Changes of members: one by one, refused where they must be, and interrupted at every step."""

from __future__ import annotations

import pytest
from core_pump import Pump, get, put
from test_core_safety import Watcher

from cluster.channel.request_pipeline import RequestPipeline
from cluster.config import MS, ClusterConfig
from cluster.consensus.interface import SafetyViolation
from cluster.consensus.membership import (
    Configuration,
    Membership,
    incarnation_of,
    name_of,
    next_incarnation,
)
from cluster.consensus.membership_change import (
    ADD_LEARNER,
    PROMOTE,
    REMOVE,
    Change,
    MembershipChange,
    is_so,
    member_problem,
    next_configuration,
    objection,
    settled,
)
from cluster.consensus.raft import RaftParts
from cluster.core.replica import ReplicaParts
from cluster.wire import (
    AppendEntries,
    AppendReply,
    Command,
    Heartbeat,
    Recovering,
    RequestVote,
    Response,
)

FAST = ClusterConfig(snapshot_entries=6, snapshot_keep_entries=2, promote_lag_entries=4)


def begun(count: int = 3, *, config: ClusterConfig | None = None, **options: object) -> Pump:
    """A cluster that n1 leads, watched."""
    pump = Pump(count, config=config, **options)  # type: ignore[arg-type]
    Watcher(pump)
    pump.elect("n1")
    pump.run(100 * MS)
    return pump


def change(pump: Pump, op: str, member: str, *args: object, at: str = "") -> Response:
    id = pump.ask(at or pump.leader(), Command(op, member, args))
    pump.run(200 * MS)
    answer = pump.answer(id)
    assert answer is not None, f"{op} {member} is not answered"
    return answer


def grow(pump: Pump, member: str) -> None:
    """Add a new node, and let it count."""
    pump.join(member)
    assert change(pump, ADD_LEARNER, member).status == "ok"
    pump.run(300 * MS)
    answer = change(pump, PROMOTE, member)
    assert (answer.status, answer.error) == ("ok", "")


# -- rules -----------------------------------------------------------------------------------------


def test_member_ids_name_a_node_and_its_directory() -> None:
    assert (name_of("n2"), incarnation_of("n2"), next_incarnation("n2")) == ("n2", 1, "n2~2")
    assert (name_of("n2~3"), incarnation_of("n2~3")) == ("n2", 3)
    assert next_incarnation("n2~9") == "n2~10"
    for wrong in ("", "n2~", "n2~1", "n2~x", "~2", "n2~02", "a,b", "a=b", 7, "x" * 300):
        assert member_problem(wrong), wrong
    assert member_problem("n2~2") == ""


def test_a_change_of_voters_is_joint_and_one_of_learners_is_not() -> None:
    old = Configuration(("n1", "n2", "n3"))
    learning = next_configuration(old, Change(ADD_LEARNER, "n4", "h:1"))
    assert learning.voters == old.voters and learning.learners == ("n4",) and not learning.joint
    joint = next_configuration(learning, Change(PROMOTE, "n4"))
    assert joint.halves == (("n1", "n2", "n3", "n4"), ("n1", "n2", "n3"))
    assert settled(joint).halves == (("n1", "n2", "n3", "n4"),)
    assert settled(joint).address_of("n4") == "h:1"
    leaving = next_configuration(settled(joint), Change(REMOVE, "n4"))
    assert leaving.nodes == ("n1", "n2", "n3", "n4") and leaving.address_of("n4") == "h:1"
    assert settled(leaving) == Configuration(old.voters, retired=("n4",))
    assert is_so(settled(leaving), Change(REMOVE, "n4"))
    assert not is_so(old, Change(REMOVE, "n4"))


def test_a_removed_id_never_comes_back() -> None:
    gone = Configuration(("n1", "n3"), retired=("n2~2",))
    assert "add it as n2~3" in objection(gone, Change(ADD_LEARNER, "n2"))
    assert "add it as n2~3" in objection(gone, Change(ADD_LEARNER, "n2~2"))
    assert objection(gone, Change(ADD_LEARNER, "n2~3")) == ""
    back = next_configuration(gone, Change(ADD_LEARNER, "n2~3"))
    assert "n2~3 is a member" in objection(back, Change(ADD_LEARNER, "n2~4"))
    assert next_configuration(back, Change(REMOVE, "n2~3")).retired == ("n2~3",)


def test_quorums_of_neighbouring_configurations_intersect() -> None:
    """Every pair of sets that decide at neighbouring steps of every change of up to five nodes."""
    from itertools import combinations, pairwise

    from cluster.consensus.membership import agreed_vote

    def quorums(found: Configuration) -> list[frozenset[str]]:
        sets = [
            frozenset(c) for n in range(len(found.nodes) + 1) for c in combinations(found.nodes, n)
        ]
        return [s for s in sets if agreed_vote(found, dict.fromkeys(s, True))]

    for count in range(1, 6):
        voters = tuple(f"n{i}" for i in range(count))
        for asked in (Change(PROMOTE, "n9"), Change(REMOVE, "n0")):
            start = Configuration(voters, ("n9",))
            if objection(start, asked):
                assert count == 1
                continue
            steps = [start, next_configuration(start, asked)]
            steps.append(settled(steps[-1]))
            for left, right in pairwise(steps):
                assert all(a & b for a in quorums(left) for b in quorums(right))


# -- the way of a change ---------------------------------------------------------------------------


def test_a_node_joins_catches_up_counts_and_leaves() -> None:
    pump = begun(config=FAST)
    for seq in range(1, 30):
        assert pump.do("n1", put("x", seq), seq=seq).status == "ok"
    grow(pump, "n4")
    told = change(pump, "members", "").value
    assert told["voters"] == ["n1", "n2", "n3", "n4"] and told["learners"] == []
    assert pump.nodes["n4"].state_hash() == pump.nodes["n1"].state_hash()
    assert pump.nodes["n4"].status()["members"] == ["n1", "n2", "n3", "n4"]
    assert change(pump, REMOVE, "n2").status == "ok"
    assert pump.nodes["n1"].configuration.voters == ("n1", "n3", "n4")
    assert pump.nodes["n2"].consensus.role == "learner", "it was told that it is no member any more"
    pump.crash("n3")
    pump.run(100 * MS)
    assert pump.do("n1", put("x", 99), seq=30).status == "ok", "n1 and n4 are a majority"


def test_asking_twice_changes_nothing_and_both_are_answered() -> None:
    pump = begun()
    pump.join("n4")
    first = pump.ask("n1", Command(ADD_LEARNER, "n4"))
    second = pump.ask("n1", Command(ADD_LEARNER, "n4"))
    pump.run(200 * MS)
    assert [pump.answer(id).status for id in (first, second)] == ["ok", "ok"]  # type: ignore[union-attr]
    last = pump.nodes["n1"].consensus.log.last_index
    assert change(pump, ADD_LEARNER, "n4").status == "ok"
    assert pump.nodes["n1"].consensus.log.last_index == last


def test_a_learner_takes_the_place_of_a_voter_in_one_change() -> None:
    pump = begun()
    pump.join("n4")
    assert change(pump, ADD_LEARNER, "n4").status == "ok"
    pump.run(300 * MS)
    before = pump.nodes["n1"].consensus.membership.current
    joint = next_configuration(before, Change(PROMOTE, "n4", instead_of="n3"))
    assert (joint.voters, joint.outgoing) == (("n1", "n2", "n4"), ("n1", "n2", "n3"))
    pump.isolate("n2", "n3")  # a majority of the old voters, and none of the new
    id = pump.ask("n1", Command(PROMOTE, "n4", ("n3",)))
    pump.run(200 * MS)
    assert pump.answer(id) is None
    pump.cut = set()
    pump.run(1_000 * MS)
    if pump.answer(id) is None or pump.answer(id).status != "ok":  # type: ignore[union-attr]
        assert change(pump, PROMOTE, "n4", "n3").status == "ok"
    found = pump.nodes[pump.leader()].consensus.membership.current
    assert (found.voters, found.outgoing) == (("n1", "n2", "n4"), ())
    assert found.is_retired("n3")


def test_without_joint_changes_one_voter_comes_or_goes_in_one_step() -> None:
    pump = begun(config=ClusterConfig(joint_changes=False))
    grow(pump, "n4")
    kinds = [
        Configuration.decode(entry.data).joint
        for entry in pump.nodes["n1"].consensus.log.between(1, 99)
        if entry.kind == "config"
    ]
    assert kinds == [False, False]
    assert change(pump, REMOVE, "n2").status == "ok"
    found = pump.nodes["n1"].consensus.membership.current
    assert (found.voters, found.is_retired("n2")) == (("n1", "n3", "n4"), True)


def test_what_cannot_be_is_refused_with_a_sentence() -> None:
    pump = begun()
    for op, member, args, said in (
        (PROMOTE, "n9", (), "n9 is no member; the members are n1, n2, n3"),
        (REMOVE, "n9", (), "n9 is no member"),
        (PROMOTE, "n9", ("n~x",), "neither a node's name nor NAME~N"),
        (PROMOTE, "n3", ("n9",), "n9 is no voter, so n3 cannot take its place"),
        (PROMOTE, "n3", ("n2",), "n3 is a voter already: remove n2 alone"),
        (ADD_LEARNER, "n1~2", (), "n1 is a member: remove it before n1~2 can join"),
        (ADD_LEARNER, "n~x", (), "neither a node's name nor NAME~N"),
        (ADD_LEARNER, "n4", ("nowhere",), "is not HOST:PORT"),
        ("transfer", "n9", (), "n9 is no voter that could lead"),
    ):
        answer = change(pump, op, member, *args)
        assert answer.status == "fail" and said in answer.error, answer
    alone = begun(1)
    assert "last voter" in change(alone, REMOVE, "n1").error
    answer = change(alone, "transfer", "")
    assert (answer.status, answer.error) == ("fail", "no other voter is heard; the voters are n1")
    pump.isolate("n3")
    pump.run(700 * MS)
    answer = change(pump, REMOVE, "n2", at="n1")
    assert answer.status == "fail" and "of which only n1 is heard" in answer.error


def test_a_removal_that_leaves_a_damaged_voter_in_a_majority_is_refused() -> None:
    """Its acknowledgements do not count before something is committed: it would never be repaired,
    and nothing would be committed any more."""
    pump = begun()
    leader = pump.nodes["n1"].consensus
    leader.step(pump.now, "n3", Recovering(leader.clock.generation, 0))
    refusal = leader.change_members(pump.now, Change(REMOVE, "n2"))
    assert refusal is not None and "of which only n1 is heard and undamaged" in refusal.why
    assert leader.change_members(pump.now, Change(REMOVE, "n3")) is None


def test_a_learner_that_never_answered_is_not_promoted() -> None:
    """It would be a voter that may not even exist."""
    pump = begun()
    pump.join("n4")
    pump.cut = {("n1", "n4"), ("n4", "n1")}
    assert change(pump, ADD_LEARNER, "n4").status == "ok"
    assert "n4 is not heard" in change(pump, PROMOTE, "n4").error
    pump.cut = set()
    pump.run(1_000 * MS)
    assert change(pump, PROMOTE, "n4").status == "ok"


def test_a_learner_far_behind_or_silent_is_not_promoted() -> None:
    pump = begun(config=FAST)
    pump.join("n4")
    assert change(pump, ADD_LEARNER, "n4").status == "ok"
    pump.cut = {("n1", "n4")}
    for seq in range(1, 9):
        pump.do("n1", put("x", seq), seq=seq)
    answer = change(pump, PROMOTE, "n4")
    assert answer.status == "fail" and "let it come within 4" in answer.error
    pump.cut = {("n1", "n4"), ("n4", "n1")}
    pump.run(1_000 * MS)
    assert "n4 is not heard" in change(pump, PROMOTE, "n4").error
    pump.cut = set()
    pump.run(1_000 * MS)
    assert change(pump, PROMOTE, "n4").status == "ok"


def test_a_learner_is_never_counted() -> None:
    pump = begun()
    pump.join("n4")
    pump.join("n5")
    assert change(pump, ADD_LEARNER, "n4").status == "ok"
    assert change(pump, ADD_LEARNER, "n5").status == "ok"
    pump.crash("n2")
    assert pump.do("n1", put("x", 1), seq=1).status == "ok", "two of three voters suffice"
    pump.crash("n3")
    id = pump.ask("n1", put("x", 2), seq=2)
    pump.run(200 * MS)
    assert pump.answer(id) is None, "a voter and two learners are no majority"
    pump.run(5_000 * MS)
    assert pump.nodes["n1"].consensus.role != "leader", "nor do learners confirm a leader"
    assert all(pump.nodes[name].consensus.role == "learner" for name in ("n4", "n5"))


# -- leaders and leaving ---------------------------------------------------------------------------


def test_a_removed_leader_finishes_answers_and_makes_room() -> None:
    pump = begun()
    answer = change(pump, REMOVE, "n1")
    assert answer.status == "ok" and answer.value["voters"] == ["n2", "n3"]
    assert pump.nodes["n1"].consensus.role == "learner"
    pump.run(1_000 * MS)
    leader = pump.leader()
    assert leader in ("n2", "n3")
    assert pump.do(leader, put("x", 1), seq=1).status == "ok"
    gap = [n.event for name, n in pump.notes if name == "n1"]
    assert gap[-1] == "stepped-down" and "left" in gap


def test_a_removed_leader_hands_over_without_an_election_timeout() -> None:
    pump = begun()
    began = pump.now
    pump.ask("n1", Command(REMOVE, "n1"))
    while not any(pump.nodes[n].consensus.role == "leader" for n in ("n2", "n3")):
        pump.run(MS)
        assert pump.now - began < pump.config.election_min_ns


def test_a_removed_node_left_running_disturbs_nobody() -> None:
    pump = begun()
    pump.isolate("n3")
    assert change(pump, REMOVE, "n3").status == "ok"
    pump.cut = set()  # it never learned of it, and is back
    generation = pump.nodes["n1"].consensus.clock.generation
    watch, campaigns = pump.after_event, 0

    def count(name: str) -> None:
        nonlocal campaigns
        campaigns += name == "n3" and pump.nodes["n3"].consensus.role == "candidate"
        watch(name)

    pump.after_event = count
    for seq in range(1, 30):
        pump.run(300 * MS)
        assert pump.do("n1", put("x", seq), seq=seq).status == "ok"
    assert campaigns and pump.nodes["n1"].consensus.clock.generation == generation


def test_without_the_protection_a_removed_node_disturbs() -> None:
    """The test above can fail: without PreVote and without standing by a leader (A59) it does."""
    pump = begun(config=ClusterConfig(prevote=False, check_quorum=False))
    pump.isolate("n3")
    assert change(pump, REMOVE, "n3").status == "ok"
    pump.cut = set()
    generation = pump.nodes["n1"].consensus.clock.generation
    pump.run(10_000 * MS)
    assert pump.nodes[pump.leader()].consensus.clock.generation > generation


def test_leadership_is_transferred_on_request() -> None:
    pump = begun()
    answer = change(pump, "transfer", "n3", at="n1")
    assert (answer.status, answer.value) == ("ok", "n3")
    assert pump.leader() == "n3"
    assert change(pump, "transfer", "n3", at="n1").status == "ok", "it is so already"
    assert change(pump, "transfer", "", at="n3").value in ("n1", "n2")


def test_a_transfer_that_fails_is_answered_so() -> None:
    pump = begun()
    pump.isolate("n3")
    pump.do("n1", put("x", 1), seq=1)
    id = pump.ask("n1", Command("transfer", "n3"))
    pump.run(1_000 * MS)
    answer = pump.answer(id)
    assert answer is not None and answer.status == "fail"
    assert "n3 did not take over in time; n1 leads" in answer.error


# -- crashes in the middle, and what the log forgets -----------------------------------------------


def test_a_joint_change_begun_by_a_dead_leader_is_finished_by_the_next() -> None:
    for lost in ("n1", "n2"):
        pump = begun(5)
        id = pump.ask("n1", Command(REMOVE, lost))
        while not pump.nodes["n3"].configuration.joint:
            pump.deliver()
        pump.crash("n1")
        pump.wire.clear()
        pump.elect("n3")
        pump.run(500 * MS)
        assert pump.nodes["n3"].configuration == Configuration(
            tuple(n for n in ("n1", "n2", "n3", "n4", "n5") if n != lost), retired=(lost,)
        )
        assert pump.answer(id) is None, "who asked the dead leader must ask again"
        assert change(pump, REMOVE, lost, at="n3").status == "ok"


def test_a_change_that_reached_nobody_is_undone() -> None:
    pump = begun()
    pump.isolate("n1")
    id = pump.ask("n1", Command(REMOVE, "n2"))
    assert pump.nodes["n1"].configuration.joint, "in force at append"
    pump.run(2_000 * MS)
    pump.cut = set()
    pump.run(2_000 * MS)
    assert pump.nodes["n1"].configuration == Configuration(("n1", "n2", "n3"))
    answer = pump.answer(id)
    assert answer is not None and answer.status == "unknown"


def test_a_node_restarts_with_the_configuration_of_its_log_and_of_its_snapshot() -> None:
    pump = begun(config=FAST)
    grow(pump, "n4")
    assert change(pump, REMOVE, "n2").status == "ok"
    for name in ("n1", "n3", "n4"):
        pump.crash(name)
        pump.restart(name)
        assert pump.nodes[name].configuration.voters == ("n1", "n3", "n4")
    pump.run(2_000 * MS)
    leader = pump.leader()
    for seq in range(1, 20):
        assert pump.do(leader, put("x", seq), seq=seq).status == "ok"
    pump.run(200 * MS)
    for name in ("n1", "n3", "n4"):
        assert pump.stores[name].snapshot is not None
        assert all(entry.kind != "config" for entry in pump.stores[name].entries.values())
        pump.crash(name)
        pump.restart(name)
        found = pump.nodes[name].configuration
        assert found == Configuration(("n1", "n3", "n4"), retired=("n2",))
    pump.run(2_000 * MS)
    assert "was removed" in change(pump, ADD_LEARNER, "n2").error


def test_a_snapshot_brings_the_configuration_to_a_node_that_was_away() -> None:
    pump = begun(5, config=FAST)
    pump.crash("n5")
    grow(pump, "n6")
    for seq in range(1, 20):
        pump.do("n1", put("x", seq), seq=seq)
    pump.restart("n5")
    pump.run(500 * MS)
    assert pump.nodes["n5"].consensus.snapshot_index > 0
    assert pump.nodes["n5"].configuration == pump.nodes["n1"].configuration


def test_a_wiped_voter_comes_back_as_somebody_else() -> None:
    pump = begun(config=FAST)
    for seq in range(1, 10):
        pump.do("n1", put("x", seq), seq=seq)
    pump.crash("n2")  # its disk is gone for good
    assert change(pump, REMOVE, "n2", at="n1").status == "ok"
    grow(pump, "n2~2")
    assert pump.nodes["n1"].configuration.voters == ("n1", "n2~2", "n3")
    pump.crash("n3")
    pump.run(100 * MS)
    assert pump.do("n1", get("x")).value == 9


# -- Ongaro's bug ----------------------------------------------------------------------------------


class SingleServerWithoutTheRule(MembershipChange):
    """A56: single-server changes, and no wait for an entry of one's own generation."""

    def may_change_members(self, membership: Membership, mark: int) -> str:
        return ""

    def changed_configuration(self, current: Configuration, change: Change) -> Configuration:
        return settled(next_configuration(current, change))


class Unchecked(Membership):
    """Without the assertion that notices: what would happen must be seen."""

    def follows(self, configuration: Configuration) -> bool:
        return True


def append_only_to(pump: Pump, source: str, *targets: str) -> None:
    """Let one leader's entries reach these nodes alone, and their answers come back."""
    for _ in range(30):
        pump.now += 50 * MS
        pump.tick(source)
        while pump.wire:
            sender, to, message = pump.wire[0]
            among = {sender, to} <= {source, *targets}
            if among and not isinstance(message, RequestVote):
                pump.deliver(0)
            else:
                pump.wire.pop(0)


def lead(pump: Pump, name: str, *voters: str) -> bool:
    """Stand for election with these voters, and send nothing else; whether it was elected."""
    for _ in range(5):
        pump.now += pump.config.election_max_ns
        pump.wire.clear()
        pump.tick(name)
        while pump.wire:
            sender, to, message = pump.wire[0]
            if {sender, to} <= {name, *voters} and not isinstance(
                message, AppendEntries | AppendReply
            ):
                pump.deliver(0)
            else:
                pump.wire.pop(0)
        if pump.nodes[name].consensus.role == "leader":
            pump.wire.clear()
            return True
    return False


def ongaro_2015(consensus: RaftParts) -> tuple[Pump, list[Response | None]]:
    """S1 appends C + S5 for itself and S5; S2 leads, changes to C - S1 and commits that with
    S3; S1 returns and leads by the votes of S4 and S5."""
    config = ClusterConfig(prevote=False, check_quorum=False)
    parts = ReplicaParts(consensus=consensus)
    pump = Pump(4, config=config, parts=parts)
    Watcher(pump)
    pump.join("n5")
    lead(pump, "n1", "n2", "n3", "n4")
    append_only_to(pump, "n1", "n2", "n3", "n4")
    assert change(pump, ADD_LEARNER, "n5").status == "ok"
    pump.crash("n1")  # the change is asked of a leader whose own generation has committed nothing
    pump.restart("n1")
    assert lead(pump, "n1", "n2", "n3", "n4")
    asked = [pump.ask("n1", Command(PROMOTE, "n5"))]
    append_only_to(pump, "n1", "n5")
    assert lead(pump, "n2", "n3", "n4")
    append_only_to(pump, "n2", "n3")
    asked.append(pump.ask("n2", Command(REMOVE, "n1")))
    append_only_to(pump, "n2", "n3")
    if lead(pump, "n1", "n4", "n5"):
        append_only_to(pump, "n1", "n4", "n5")
    return pump, [pump.answer(id) for id in asked]


def test_ongaros_schedule_is_harmless_with_the_rule() -> None:
    pump, (first, second) = ongaro_2015(RaftParts())
    assert first is not None and first.status == "retry"
    assert "no entry of this leadership is committed" in first.error
    assert second is not None and second.status == "retry", "nor has n2, with n3 alone, of four"
    assert {n.configuration.voters for n in pump.nodes.values()} == {("n1", "n2", "n3", "n4")}


def test_ongaros_bug_forks_without_the_rule() -> None:
    with pytest.raises((AssertionError, SafetyViolation), match="committed"):
        ongaro_2015(RaftParts(change=SingleServerWithoutTheRule, membership=Unchecked))


def test_a_change_without_a_joint_configuration_stops_the_node_that_makes_it() -> None:
    with pytest.raises(AssertionError, match="without a joint configuration"):
        ongaro_2015(RaftParts(change=SingleServerWithoutTheRule))


def test_a_read_that_waited_for_a_voter_that_left_is_answered() -> None:
    """Found by a simulated run: the last answer to wait for was that of a node removed meanwhile,
    and nothing looked at the read again."""
    pump = begun(2)
    pump.ask("n1", Command(REMOVE, "n2"))
    while not pump.nodes["n1"].configuration.joint:
        pump.deliver()
    id = pump.ask("n1", get("x"))
    while pump.nodes["n1"].configuration.joint:
        position = next(i for i, (_, _, m) in enumerate(pump.wire) if not isinstance(m, Heartbeat))
        pump.deliver(position)
    pump.isolate("n2")
    assert pump.answer(id) is None
    pump.run(200 * MS)
    answer = pump.answer(id)
    assert answer is not None and answer.status == "ok"


def test_members_are_told_only_as_far_as_they_are_committed() -> None:
    """Found by a simulated run: the leader that was to go answered with its newest configuration,
    was wiped for not being in it, and with it went the only copy of the entry which said so."""
    pump = begun(2)
    ask = Command("members", "")
    pump.ask("n1", Command(REMOVE, "n1"))
    while pump.nodes["n1"].configuration.voters != ("n2",) or pump.nodes["n1"].configuration.joint:
        pump.deliver()
    pump.wire = [item for item in pump.wire if not isinstance(item[2], AppendEntries)]
    id = pump.ask("n1", ask)
    while pump.answer(id) is None:
        pump.deliver()
    told = pump.answer(id)
    assert told is not None and told.status == "ok"
    assert told.value["voters"] == ["n2"] and told.value["outgoing"] == ["n1", "n2"], "half done"
    pump.run(500 * MS)
    told = change(pump, "members", "", at="n2")
    assert (told.value["voters"], told.value["outgoing"]) == (["n2"], [])


def test_a_refusal_halves_the_window_and_news_widens_it() -> None:
    pipeline = RequestPipeline(1, window=8, now_ns=0)
    pipeline.sent(1, 0)
    assert pipeline.acknowledged(1, 0)

    def fill() -> int:
        count = 0
        while pipeline.can_send():
            pipeline.sent(pipeline.next, 0)
            count += 1
        return count

    assert fill() == 8
    assert pipeline.refused(5, 2)
    pipeline.sent(2, 0)
    assert pipeline.acknowledged(2, 0) and fill() == 5
