"""The effect gate alone, and against a slow twin that looks through everything that happened.

The twin keeps one list of all messages ever given to the gate and one of all writes, and decides
anew after each event which messages should have left. It has no queue and no state to get wrong.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.host.effect_gate import EffectGate, GateBroken
from cluster.ports import Append, Effect, Note, Reply, SaveSnapshot, Send, SetTimer
from cluster.wire import Heartbeat, Response, Snapshot

BEAT = Heartbeat(1, 1, 1)
OK = Response(1, "ok")


def snapshot(io_id: int) -> SaveSnapshot:
    return SaveSnapshot(io_id, Snapshot(1, 1, ("n1",), b""), 1)


def gate_and_left() -> tuple[EffectGate, list[Any]]:
    left: list[Any] = []
    return EffectGate(leave=left.append, note=left.append), left


def test_a_message_leaves_after_the_write_it_promises_and_not_before() -> None:
    gate, left = gate_and_left()
    now, vote, answer = Send("n2", BEAT), Send("n3", BEAT, after=1), Reply(7, OK, after=2)
    assert gate.carry_out([Append(1), now, vote, Append(2), answer]) == -1
    assert left == [now]
    assert gate.take() == [Append(1), Append(2)]
    gate.persisted(1)
    assert left == [now, vote]
    gate.persisted(2)
    assert left == [now, vote, answer]
    gate.carry_out([vote])
    assert left[3:] == [vote], "its write is durable already"


def test_a_report_covers_all_earlier_writes_and_what_was_held_leaves_in_the_order_issued() -> None:
    gate, left = gate_and_left()
    held: list[Effect] = [
        Send("n2", BEAT, after=2),
        Reply(1, OK, after=1),
        Send("n3", BEAT, after=2),
    ]
    last = Send("n4", BEAT, after=3)
    gate.carry_out([Append(1), Append(2), Append(3), *held, last])
    gate.take()
    gate.persisted(2)
    assert left == held
    gate.persisted(2)
    assert left == held, "a report that says nothing new lets nothing leave again"


def test_a_snapshot_does_not_overtake_the_entries_before_it() -> None:
    gate, _ = gate_and_left()
    gate.carry_out([Append(1), snapshot(2)])
    gate.carry_out([Append(3)])
    assert gate.has_writes
    assert [write.io_id for write in gate.take()] == [1, 2, 3]
    assert not gate.has_writes and gate.take() == []
    with pytest.raises(GateBroken, match="write 5 is issued after write 3"):
        gate.carry_out([snapshot(5), Append(4)])


def test_the_last_timer_of_a_call_counts_and_notes_go_at_once() -> None:
    gate, left = gate_and_left()
    assert gate.carry_out([SetTimer(5), Note("word", {}), SetTimer(3)]) == 3
    assert gate.carry_out([]) == -1
    assert left == [Note("word", {})]


def test_nothing_leaves_a_closed_gate() -> None:
    gate, left = gate_and_left()
    gate.carry_out([Append(1), Send("n2", BEAT, after=1)])
    gate.take()
    gate.carry_out([Append(2)])
    gate.close()
    gate.persisted(1)
    assert gate.carry_out([Send("n2", BEAT), SetTimer(1), Append(3), Note("word", {})]) == -1
    assert gate.closed and gate.durable == 0 and left == [] and gate.take() == []


@pytest.mark.parametrize(
    ("effects", "sentence"),
    [
        ([Send("n2", BEAT, after=1)], "a Send waits for write 1, and write 0 is the last"),
        ([Append(1), Reply(1, OK, after=2)], "a Reply waits for write 2, and write 1 is the last"),
        ([Append(2)], "write 2 is issued after write 0"),
        ([Append(1), Append(1)], "write 1 is issued after write 1"),
        (["word"], "'word' is no effect"),
    ],
)
def test_a_core_that_breaks_the_contract_is_caught(effects: list[Any], sentence: str) -> None:
    gate, left = gate_and_left()
    with pytest.raises(GateBroken, match=sentence):
        gate.carry_out(effects)
    assert left == []


def test_a_host_that_breaks_the_contract_is_caught() -> None:
    gate, left = gate_and_left()
    gate.carry_out([Append(1), Append(2), Send("n2", BEAT, after=1)])
    with pytest.raises(GateBroken, match="write 1 is reported durable"):
        gate.persisted(1)  # it never took it
    gate.take()
    gate.persisted(2)
    with pytest.raises(GateBroken, match="reported durable after write 2"):
        gate.persisted(1)
    assert left == [Send("n2", BEAT, after=1)]


class SlowTwin:
    """All that happened, and what should have left by now."""

    def __init__(self) -> None:
        self.messages: list[Send | Reply] = []
        self.writes: list[int] = []
        self.taken: list[int] = []
        self.durable: list[int] = []
        self.left: list[Send | Reply] = []

    def let_leave(self) -> None:
        """Of all that has not left, in the order issued, what waits for no write or a durable one.

        A message is itself, not its content: the same one may be sent twice.
        """
        gone = {id(message) for message in self.left}
        self.left += [
            message
            for message in self.messages
            if id(message) not in gone and (message.after == 0 or message.after in self.durable)
        ]


def message_of(number: int, after: int) -> Send | Reply:
    return Send(f"n{number}", BEAT, after) if number % 3 else Reply(number, OK, after)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.floats(0, 1)),
        st.tuples(st.just("write"), st.floats(0, 1)),
        st.tuples(st.just("take"), st.just(0.0)),
        st.tuples(st.just("persisted"), st.floats(0, 1)),
    ),
    max_size=60,
)


@given(calls=st.lists(EVENTS, max_size=6))
def test_the_gate_agrees_with_its_slow_twin(calls: list[list[tuple[str, float]]]) -> None:
    gate, left = gate_and_left()
    twin = SlowTwin()
    for number, (kind, draw) in enumerate(chain.from_iterable(calls)):
        if kind == "send":  # for a write issued before, durable or not, or for none
            message = message_of(number, round(draw * len(twin.writes)))
            twin.messages.append(message)
            gate.carry_out([message])
        elif kind == "write":
            io_id = len(twin.writes) + 1
            twin.writes.append(io_id)
            gate.carry_out([Append(io_id) if draw < 0.8 else snapshot(io_id)])
        elif kind == "take":
            batch = [write.io_id for write in gate.take()]
            assert batch == twin.writes[len(twin.taken) :]
            twin.taken += batch
        elif twin.taken:
            done = max(len(twin.durable), round(draw * len(twin.taken)))
            twin.durable = twin.taken[:done]
            gate.persisted(done)
        twin.let_leave()
        assert [id(each) for each in left] == [id(each) for each in twin.left]
