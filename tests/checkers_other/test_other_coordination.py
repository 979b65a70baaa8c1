"""Goal: locks, leases, watches, logs and replicas are judged by what their users rely on.

Method: literal histories, one for each finding and each excuse.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from other_histories import MS, h, invalid, unchallenged, unknown, valid

from checkers.history import Event, Fault, History
from checkers.judges.convergence import convergence
from checkers.judges.election import election
from checkers.judges.lease import lease
from checkers.judges.lock import lock
from checkers.judges.log import kafka_log
from checkers.judges.log_pattern import log_pattern
from checkers.judges.watch import watch

# Locks --------------------------------------------------------------------------------------------


def test_lock_excludes() -> None:
    valid(lock()(h("op 0 acquire", "op 0 release", "op 1 acquire")))
    both = h("op 0 acquire", "op 1 acquire", "op 0 release")
    result = lock()(both)
    invalid(result, "two-holders", history=both)
    assert result.findings[0].sentence == (
        "Process 0 acquired the lock at 0.001 s and released it only at 0.004 s, and process 1 "
        "acquired it at 0.003 s."
    )
    invalid(lock()(h("op 0 acquire", "op 1 acquire")), "two-holders")
    # The release may have taken effect as soon as it was invoked, whatever came of it.
    valid(lock()(h("op 0 acquire", "0 release", "op 1 acquire", "0 info")))
    # An acquire of unknown outcome, or one still running, holds nothing for certain.
    unchallenged(lock()(h("op 0 acquire -> info", "op 1 acquire")), "not acquired twice")
    valid(lock()(h("0 acquire", "op 1 acquire", "op 1 release", "0 ok")))
    invalid(lock()(h("op 0 acquire a:", "op 1 acquire b:", "op 2 acquire a:")), "two-holders")
    unchallenged(lock()(h("op 0 acquire")), "not acquired twice")


def test_a_short_holder_within_a_long_one() -> None:
    history = h("op 0 acquire", "op 1 acquire", "op 1 release", "op 2 acquire", "op 0 release")
    result = lock()(history)
    assert [finding.ops for finding in result.findings] == [(0, 2, 8), (0, 6, 8)]


def test_fencing_tokens() -> None:
    free = lock(exclusive=False)
    valid(lock()(h("op 0 acquire -> 1", "op 0 release 1", "op 1 acquire -> {'token': 2}")))
    back = h("op 0 acquire -> 2", "op 0 release", "op 1 acquire -> 1")
    invalid(lock()(back), "token-backwards", history=back)
    invalid(free(h("op 0 acquire -> 2", "op 1 acquire -> 2")), "duplicate-token")
    valid(free(h("0 acquire", "op 1 acquire -> 2", "0 ok 1")))
    unknown(lock()(h("op 0 acquire -> [1]")), "a fencing token must be a finite number")


def test_fenced_writes() -> None:
    free = lock(exclusive=False)
    new, old = "op 1 write {'token': 2, 'v': 1}", "op 0 write {'token': 1, 'v': 2}"
    stale = h("op 0 acquire -> 1", "op 1 acquire -> 2", new, old)
    invalid(free(stale), "stale-token-accepted", history=stale)
    valid(free(h("op 0 acquire -> 1", "op 1 acquire -> 2", new, old + " -> fail")))
    valid(free(h("op 0 acquire -> 1", "op 1 acquire -> 2", old, new)))
    overlapping = h("0 write {'token': 1}", "op 1 write {'token': 2}", "0 ok")
    valid(free(overlapping))


def test_a_write_that_nobody_answered_ends_what_is_certain() -> None:
    held = h("op 0 acquire", "0 write {'v': 1}", "op 1 acquire", "0 info")
    valid(lock()(held))
    invalid(lock()(h("op 0 acquire", "0 write {'v': 1}", "op 1 acquire", "0 ok")), "two-holders")


def test_two_holders_of_what_expires_are_explained() -> None:
    both = h("op 0 acquire", "op 1 acquire", "op 0 release")
    plain, told = lock()(both).findings[0], lock(expires=True)(both).findings[0]
    assert not any("lease" in step.text for step in plain.because)
    assert "gives no mutual exclusion" in told.because[-1].text
    assert "fencing token" in told.because[-1].text


# Elections ----------------------------------------------------------------------------------------


def test_elections() -> None:
    """Terms grow, one candidate leads in each, and acts keep the order of terms."""
    led = ("op 0 campaign -> 1", "op 0 act {'token': 1}", "op 0 resign")
    then = ("op 1 campaign -> {'token': 2}", "op 1 act {'token': 2}")
    valid(election()(h(*led, *then)))
    unchallenged(election()(h("op 0 campaign -> 1")), "fewer than two terms were observed")
    twice = h("op 0 campaign -> 1", "op 1 campaign -> 1")
    invalid(election()(twice), "duplicate-token", history=twice)
    back = h("op 0 campaign -> 2", "op 1 campaign -> 1")
    invalid(election()(back), "token-backwards", history=back)
    # A leader that was stopped acts after the next one did: refused is right, accepted is wrong.
    late = ("op 0 campaign -> 1", *then, "op 0 act {'token': 1}")
    invalid(election()(h(*late)), "stale-token-accepted", history=h(*late))
    valid(election()(h(*late[:-1], late[-1] + " -> fail")))


def test_only_a_leader_acts() -> None:
    acted = "op 1 act {'token': 1}"
    for history in (
        h("op 0 campaign -> 1", acted),
        h("op 1 campaign -> 1", "op 1 resign", acted),
        h("op 1 campaign -> info", acted),
    ):
        invalid(election()(history), "act-of-no-leader", history=history)
    valid(election()(h("op 1 campaign -> 1", acted, "op 1 resign", "op 0 campaign -> 2")))


def test_elections_may_have_to_exclude() -> None:
    both = h("op 0 campaign -> 1", "op 1 campaign -> 2", "op 0 resign")
    valid(election()(both))
    found = election(exclusive=True)(both)
    invalid(found, "two-holders", history=both)
    assert found.findings[0].sentence == (
        "Process 0 was elected at 0.001 s and resigned only at 0.004 s, and process 1 was elected "
        "at 0.003 s."
    )
    assert "fencing token" in found.findings[0].because[-1].text


# Leases -------------------------------------------------------------------------------------------


def test_leases() -> None:
    """Events are a millisecond apart; a span runs from the grant's completion."""
    short = lease(ttl_s=0.002)
    valid(short(h("op 0 grant", "op 1 grant", "op 2 grant")))
    both = h("op 0 grant -> {'ttl_ms': 5}", "op 1 grant -> {'ttl_ms': 5}")
    result = lease()(both)
    invalid(result, "two-holders", history=both)
    # process 0 holds from 1 ms to 5 ms, process 1 from 3 ms to 7 ms
    assert result.findings[0].detail["overlap_ns"] == 2 * MS
    valid(lease(slack_s=0.002)(both))
    valid(lease(ttl_s=0.005)(h("op 0 grant", "op 0 release", "op 1 grant")))
    valid(lease(ttl_s=0.005)(h("op 0 grant", "0 release", "op 1 grant", "0 info")))
    renewed = h("op 0 grant", "op 0 renew", "op 2 release", "op 1 grant")
    invalid(lease(ttl_s=0.006)(renewed), "two-holders", history=renewed)
    valid(lease(ttl_s=0.006)(h("op 0 grant", "op 0 renew -> info", "op 2 release", "op 1 grant")))
    valid(lease(ttl_s=0.006)(h("op 0 grant", "op 0 grant", "op 0 grant")))


def test_the_witness_of_a_lease_renewed_many_times_is_short_and_stands_alone() -> None:
    kept = ["op 0 grant"] + ["op 0 renew"] * 50 + ["op 1 grant"]
    history = h(*kept)  # a millisecond for each event
    result = lease(ttl_s=0.004)(history)
    invalid(result, "two-holders", history=history)
    assert result.findings[0].ops == (0, 100, 102)  # the grant, the last renewal, the other grant
    invalid(lease(ttl_s=0.004)(history.select(result.findings[0].ops)), "two-holders")


def test_a_renewal_acknowledged_too_late_begins_a_new_span() -> None:
    late = h("op 0 grant", *["op 2 release"] * 5, "op 0 renew", "op 1 grant")
    invalid(lease(ttl_s=0.004)(late), "two-holders", history=late)
    valid(lease(ttl_s=0.004)(h("op 0 grant", *["op 2 release"] * 5, "op 1 grant", "op 2 release")))


def test_lease_tokens_and_evidence() -> None:
    tokens = h("op 0 grant -> {'ttl_ms': 2, 'token': 2}", "op 1 grant -> {'ttl_ms': 2, 'token': 1}")
    invalid(lease()(tokens), "token-backwards", history=tokens)
    unchallenged(lease(ttl_s=1)(h("op 0 grant")), "not granted twice")
    unknown(lease()(h("op 0 grant")), "given no ttl_s")
    timeless = History.from_events(
        [Event(0, -1, 0, "invoke", "grant"), Event(0, -1, 0, "ok", "grant")]
    )
    unknown(lease(ttl_s=1)(timeless), "about time")
    with pytest.raises(ValueError, match="negative"):
        lease(ttl_s=-1)


# Watches ------------------------------------------------------------------------------------------

PUTS = (
    "op 0 put x: 'a' -> {'revision': 1}",
    "op 0 put y: 'b' -> {'revision': 2}",
    "op 0 put x: 'c' -> {'revision': 3}",
)


def watched(*events: list[object], start: int = 1, more: str = "") -> str:
    return f"op 5 watch {{'from': {start}{more}}} -> {list(events)}"


def test_watch() -> None:
    every = watched([1, "x", "a"], [2, "y", "b"], [3, "x", "c"])
    valid(watch()(h(*PUTS, every)))
    valid(watch()(h(*PUTS, watched([1, "x", "a"], [3, "x", "c"], more=", 'key': 'x'"))))
    gap = h(*PUTS, watched([1, "x", "a"], [3, "x", "c"]))
    result = watch()(gap)
    invalid(result, "gap", history=gap)
    assert result.findings[0].ops == (2, 6)
    invalid(watch()(h(*PUTS, watched([2, "y", "b"], [1, "x", "a"], [3, "x", "c"]))), "out-of-order")
    twice = watched([1, "x", "a"], [1, "x", "a"], [2, "y", "b"])
    invalid(watch()(h(*PUTS, twice)), "duplicate-event")
    invalid(watch()(h(*PUTS, watched([1, "x", "zzz"]))), "uncommitted-event")
    invalid(watch()(h(*PUTS, watched([2, "y", "b"], start=3))), "before-start")
    invalid(watch()(h(PUTS[0], watched([2, "x", "a"], start=2))), "wrong-revision")
    unchallenged(watch()(h(*PUTS)), "no watcher received")
    unknown(watch()(h(watched([1, "x"]))), "an event is [revision, key, value]")
    unknown(watch()(h("op 5 watch {'from': 'now'} -> []")), "from must be a revision")


def test_watchers_agree() -> None:
    history = h(
        "op 4 watch {'from': 1} -> [[1, 'x', 'a']]", "op 5 watch {'from': 1} -> [[1, 'x', 'b']]"
    )
    invalid(watch()(history), "disagreement", history=history)
    proof = h(
        "op 4 watch {'from': 1} -> [[1, 'x', 'a'], [2, 'x', 'b']]",
        "op 5 watch {'from': 1} -> [[2, 'x', 'b']]",
    )
    invalid(watch()(proof), "gap", history=proof)


def test_resumed_watches_are_one_stream() -> None:
    first = watched([1, "x", "a"])
    valid(watch()(h(*PUTS, first, watched([2, "y", "b"], [3, "x", "c"], start=2))))
    invalid(watch()(h(*PUTS, first, watched([3, "x", "c"], start=2))), "gap")
    repeated = watched([1, "x", "a"], [2, "y", "b"], start=2)
    invalid(watch()(h(*PUTS, first, repeated)), "duplicate-event")


def test_bookmarks_and_deletions() -> None:
    told = "op 5 watch {'from': 1} -> {'events': [], 'revision': 3}"
    unknown(watch()(h(told)), "no watcher received")
    behind = "op 5 watch {'from': 1} -> {'events': [[1, 'x', 'a']], 'revision': 2}"
    invalid(watch()(h(*PUTS, behind)), "gap")
    nothing = "op 0 delete z: None -> {'revision': 1}"
    valid(watch()(h(PUTS[0], nothing, watched([1, "x", "a"]))))
    gone = "op 0 delete x: None -> {'revision': 2, 'deleted': 1}"
    deleted = {"revision": 2, "key": "x", "type": "delete"}
    valid(watch()(h(PUTS[0], gone, f"op 5 watch {{'from': 1}} -> [[1, 'x', 'a'], {deleted}]")))
    after = "op 6 watch {'from': 1} -> {'events': [[1, 'x', 'a']], 'revision': 2}"
    invalid(watch()(h(PUTS[0], gone, after)), "gap")


# Logs ---------------------------------------------------------------------------------------------


def test_log() -> None:
    sends = ["op 0 send a: 'x' -> 0", "op 0 send a: 'y' -> [1, 'y']"]
    both = "op 1 poll a: -> [[0, 'x'], [1, 'y']]"
    valid(kafka_log()(h(*sends, both)))
    unseen = kafka_log()(h(*sends, "op 1 poll a: -> [[0, 'x']]"))
    valid(unseen)
    assert unseen.stats["unseen"] == 1
    known = h("op 0 send a: 'x' -> 0", "0 send a: 'y'", both, "0 info")
    assert kafka_log()(known).reason == (
        "2 values were polled of 1 log; 1 send was acknowledged, and 1 may have happened"
    )
    lost = h(*sends, "op 1 poll a: -> [[1, 'y']]")
    invalid(kafka_log()(lost), "lost-write", history=lost)
    invalid(kafka_log()(h(*sends, both, "op 1 poll a: -> [[1, 'z']]")), "aborted-read",
            "inconsistent-offset", "nonmonotonic-poll")  # fmt: skip
    doubled = h(*sends, both, "op 2 poll a: -> [[2, 'x']]")
    invalid(kafka_log()(doubled), "duplicate", history=doubled)
    failed = h("op 0 send a: 'x' -> fail", "op 1 poll a: -> [[0, 'x']]")
    invalid(kafka_log()(failed), "aborted-read", history=failed)
    valid(kafka_log()(h("op 0 send a: 'x' -> info", "op 1 poll a: -> [[0, 'x']]")))
    unchallenged(kafka_log()(h(*sends)), "no value was polled")
    unknown(kafka_log()(h("op 1 poll a: -> 7")), "a poll gives a list")
    unknown(kafka_log()(h("op 0 send a: 'x' -> 'y'")), "an offset is a whole number")


def test_log_order() -> None:
    sends = [f"op 0 send a: {n} -> {n}" for n in range(3)]
    all_three = "op 9 poll a: -> [[0, 0], [1, 1], [2, 2]]"
    backwards = h(*sends, all_three, "op 1 poll a: -> [[1, 1]]", "op 1 poll a: -> [[0, 0]]")
    invalid(kafka_log()(backwards), "nonmonotonic-poll", history=backwards)
    again = ["op 1 poll a: -> [[1, 1]]", "op 1 assign", "op 1 poll a: -> [[0, 0]]"]
    skip = h(*sends, all_three, "op 1 poll a: -> [[0, 0]]", "op 1 poll a: -> [[2, 2]]")
    invalid(kafka_log()(skip), "poll-skip", history=skip)
    invalid(kafka_log()(h(*sends, all_three, "op 1 poll a: -> [[0, 0], [2, 2]]")), "int-poll-skip")
    invalid(
        kafka_log()(h(*sends, all_three, "op 1 poll a: -> [[1, 1], [0, 0]]")),
        "int-nonmonotonic-poll",
    )
    late = h("op 0 send a: 1 -> 5", "op 1 send a: 2 -> 3", "op 9 poll a: -> [[3, 2], [5, 1]]")
    invalid(kafka_log()(late), "nonmonotonic-send", history=late)
    sent = 'op 0 txn [["send", "a", 1], ["send", "a", 2]] -> '
    sent += '[["send", "a", [OFFSETS, 1]], ["send", "a", [OFFSETS, 2]]]'
    for first, second, judge in ((5, 3, invalid), (3, 5, valid)):
        offsets = sent.replace("OFFSETS", str(first), 1).replace("OFFSETS", str(second), 1)
        pairs = sorted([[first, 1], [second, 2]])
        both = h(offsets, f"op 9 poll a: -> {pairs}")
        judge(kafka_log()(both), *["int-nonmonotonic-send"] * (judge is invalid))
    with_assign = [line.replace("assign", "assign a: 0") for line in again]
    valid(kafka_log()(h(*sends, all_three, *with_assign)))


def test_log_of_several_in_one_operation() -> None:
    send = "op 0 txn [['send', 1, 'x'], ['poll']] -> [['send', 1, [0, 'x']], ['poll', {'1': []}]]"
    valid(kafka_log()(h(send, "op 1 poll [['poll']] -> [['poll', {'1': [[0, 'x']]}]]")))
    wrong = h(send, "op 1 poll [['poll']] -> [['poll', {'1': [[0, 'y']]}]]")
    invalid(kafka_log()(wrong), "aborted-read", "inconsistent-offset", history=wrong)


# Convergence --------------------------------------------------------------------------------------


def test_convergence() -> None:
    write = "op 0 write 1"
    valid(convergence()(h(write, "op 1 read -> 1", "op 2 read -> 1")))
    apart = h(write, "op 1 read -> 1", "op 2 read -> 0")
    invalid(convergence()(apart), "diverged", history=apart)
    valid(convergence()(h(write, "op 1 read -> 1", "op 2 read -> 0", "op 2 read -> 1")))
    early = h("op 1 read -> 0", write, "op 1 read -> 1", "op 2 read -> 1")
    valid(convergence()(early))
    unknown(convergence()(h(write, "op 1 read -> 1")), "fewer than two replicas")
    unknown(convergence()(h("op 1 read -> 1", "op 2 read -> 0", write)), "fewer than two")
    during = [Fault(1, "partition", 0, 10 * MS)]
    unknown(convergence()(h(write, "op 1 read -> 1", "op 2 read -> 0", faults=during)), "fewer")
    lists = h(write, "op 1 read -> [1, 2]", "op 2 read -> [2, 1]")
    invalid(convergence()(lists), "diverged")
    valid(convergence(unordered=True)(lists))


def test_replicas_are_nodes_where_known() -> None:
    def read(process: int, node: str, value: int) -> list[Event]:
        return [
            Event(0, -1, process, "invoke", "read", None, None, node),
            Event(0, -1, process, "ok", "read", None, value),
        ]

    valid(convergence()(History.from_events(read(0, "a", 1) + read(1, "b", 1))))
    unknown(convergence()(History.from_events(read(0, "a", 1) + read(1, "a", 2))), "fewer")


# Logs of nodes ------------------------------------------------------------------------------------


def test_log_pattern(tmp_path: Path) -> None:
    logs = tmp_path / "nodes" / "n1"
    logs.mkdir(parents=True)
    unknown(log_pattern(directory=tmp_path)(h()), "no log")
    (logs / "node.log").write_bytes(b"fine\n\xff\xfe odd bytes\n" + b"x" * 200_000 + b"\nend\n")
    (logs / "ignored.bin").write_bytes(b"panic: no")
    valid(log_pattern(directory=tmp_path)(h()))
    (logs / "node.err").write_text("starting\npanic: index out of range\n")
    result = log_pattern()(h(header={"directory": str(tmp_path)}))
    assert result.findings[0].detail["line"] == 2
    assert "node.err, line 2, matches" in result.reason
    assert log_pattern("end", directory=tmp_path)(h()).findings[0].detail["line"] == 4
    valid(log_pattern("starting", directory=tmp_path, expect="present")(h()))
    silent = log_pattern("ready", directory=tmp_path, expect="present")(h())
    assert silent.findings[0].kind == "log-silent"
    unknown(log_pattern(files=[tmp_path / "none.log"])(h()), "could not be read")
    with pytest.raises(ValueError, match="no regular expression"):
        log_pattern("(")
    with pytest.raises(ValueError, match="neither"):
        log_pattern("x", expect="maybe")  # type: ignore[arg-type]
