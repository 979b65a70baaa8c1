"""The parts of the shell that need no process: frames, HTTP, options, clock, host, metrics."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.ports import (
    Append,
    Effect,
    Note,
    Recovered,
    Reply,
    SaveSnapshot,
    Send,
    SetTimer,
)
from cluster.runtime.clock import SkewedClock
from cluster.runtime.frames import BadFrame, encode_frame, frame_decoder
from cluster.runtime.host import CoreHost
from cluster.runtime.http import BadRequest, parse_request
from cluster.runtime.metrics import Histogram
from cluster.runtime.node import SystemRng
from cluster.runtime.options import OptionError, parse_options
from cluster.runtime.refusals import LINES_AT_ONCE, Refusals
from cluster.wire import (
    Command,
    Entry,
    HardState,
    Heartbeat,
    Hello,
    Message,
    Request,
    Response,
)

FRAMES = [
    Hello("c", "n1", peer=True),
    Heartbeat(3, 1, 9),
    Request(1, "s", 1, 1, Command("put", "x", (None, [1, "a"]))),
    Heartbeat(3, 2, 9),
]


@given(cuts=st.lists(st.integers(0, 200), max_size=12))
def test_frames_survive_any_cut(cuts: list[int]) -> None:
    stream = b"".join(map(encode_frame, FRAMES))
    decoder, got, start = frame_decoder(), [], 0
    for end in [*sorted(c for c in cuts if c < len(stream)), len(stream)]:
        got += decoder.feed(stream[start:end])
        start = end
    assert [repr(f) for f in got] == [
        repr(f) if not isinstance(f, Request) else repr(got[2]) for f in FRAMES
    ]
    assert got[2].command.args == (None, [1, "a"])  # type: ignore[union-attr]


def test_a_frame_in_many_pieces_costs_what_it_is_long() -> None:
    """8 MB in pieces of 512 bytes: joined anew at each, that is 65 GB to copy."""
    value = "v" * (8 << 20)
    stream = encode_frame(Request(1, "s", 1, 1, Command("put", "x", (value,))))
    decoder, got = frame_decoder(), []
    began = time.process_time()
    for start in range(0, len(stream), 512):
        got += decoder.feed(stream[start : start + 512])
    assert time.process_time() - began < 10
    assert [frame.command.args for frame in got] == [(value,)]  # type: ignore[union-attr]
    assert decoder.held_bytes == 0


def test_one_frame_at_a_time_and_a_limit_that_changes_between() -> None:
    hello, request = FRAMES[0], Request(1, "s", 1, 1, Command("put", "x", ("v" * 9000,)))
    stream = encode_frame(hello) + encode_frame(request)
    decoder = frame_decoder(frame_bytes_max=4096)
    assert decoder.feed(stream[:5], messages_max=1) == []
    assert decoder.feed(stream[5:], messages_max=1) == [hello]
    decoder.frame_bytes_max = 10_000
    assert [type(frame) for frame in decoder.feed(b"")] == [Request]
    with pytest.raises(BadFrame, match="the most is 4096"):
        frame_decoder(frame_bytes_max=4096).feed(encode_frame(request))
    with pytest.raises(BadFrame, match="the most is 4"):
        frame_decoder(frame_bytes_max=4).feed(encode_frame(hello))


def test_a_frame_nested_too_deeply_is_a_bad_one() -> None:
    body = b"\x98\xa7request\x01\xa1s\x01\x01\x93\xa3put\xa1x" + b"\x91" * 200_000 + b"\xc0"
    with pytest.raises(BadFrame, match="nested too deeply"):
        frame_decoder().feed(len(body).to_bytes(4, "big") + body)


@given(body=st.binary(max_size=200), request=st.booleans())
def test_no_bytes_make_the_decoder_raise_anything_else(body: bytes, request: bool) -> None:
    if request:
        body = b"\x98\xa7request\x01\xa1s\x01\x01\x93\xa3put\xa1x" + body
    with contextlib.suppress(BadFrame):
        frame_decoder().feed(len(body).to_bytes(4, "big") + body)


def test_lines_about_refusals_are_limited_and_the_others_counted() -> None:
    now, lines = [0.0], []
    refusals = Refusals(lambda event, detail: lines.append((event, dict(detail))),
                        now_s=lambda: now[0])  # fmt: skip
    for _ in range(LINES_AT_ONCE + 7):
        refusals.add("refused", {"why": "x"})
    refusals.tell()
    assert lines == [("refused", {"why": "x"})] * LINES_AT_ONCE
    now[0] = 1.5
    refusals.add("refused", {"why": "y"})
    refusals.add("refused", {"why": "z"})
    assert lines[LINES_AT_ONCE:] == [("refused", {"why": "y", "left_out": 7})]
    now[0] = 3.0
    refusals.tell()
    refusals.tell()
    assert lines[-1] == ("refusals-left-out", {"left_out": 1})
    assert (len(lines), refusals.refused) == (LINES_AT_ONCE + 2, LINES_AT_ONCE + 9)


@pytest.mark.parametrize(
    "stream", [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\1\xc1", b"\0\0\0\2\x91\x01", b"\0\0\0\0"]
)
def test_foreign_streams_are_refused(stream: bytes) -> None:
    with pytest.raises(BadFrame):
        frame_decoder().feed(stream)


def test_http_requests_come_whole_or_not_yet() -> None:
    data = b"POST /chaos/clock?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}GET"
    for size in range(len(data) - 3):
        assert parse_request(data[:size]) is None
    found = parse_request(data)
    assert found is not None
    request, used = found
    assert (request.method, request.path, request.body) == ("POST", "/chaos/clock", b"{}")
    assert (request.keep_alive, data[used:]) == (True, b"GET")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
        (b"POST /chaos/clock HTTP/1.1\r\nOrigin: http://a\r\n\r\n", 403),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000, 431),
    ],
)
def test_bad_http_is_refused(data: bytes, status: int) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_request(data)
    assert caught.value.status == status


GOOD = ["--id", "n1", "--listen", "127.0.0.1:1", "--peers", "n1=127.0.0.1:1", "--data", "d"]


def test_good_options() -> None:
    options = parse_options([*GOOD, "--election-ms", "200,400", "--heartbeat-ms", "20"])
    assert options.data == Path("d")
    assert options.config.election_min_ns == 200_000_000
    assert options.config.heartbeat_ns == 20_000_000
    ablated = parse_options([*GOOD, "--ablate", "a01", "--unsafe-ablation"])
    assert ablated.ablations == ("A01-acknowledgement-before-sync",)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--ablate", "A01"], "add --unsafe-ablation"),
        (["--ablate", "A01x", "--unsafe-ablation"], "did you mean"),
        (["--listen", "0.0.0.0:1"], "--tls-ca"),
        (["--admin", "0.0.0.0:1"], "no authentication"),
        (["--listen", "nowhere"], "not HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "not HOST:PORT"),
        (["--id", "n9"], "not in --peers n1"),
        (["--peers", "n1=127.0.0.1:1,n1=127.0.0.1:2"], "twice"),
        (["--peers", "n1"], "not NODE=HOST:PORT"),
        (["--role", "cor"], "did you mean 'core'"),
        (["--consensus", "paxos"], "did you mean 'multi-paxos'"),
        (["--election-ms", "600"], "not LOW,HIGH"),
        (["--heartbeat-ms", "700"], "do not prevent elections"),
        (["--segment-bytes", "0"], "too small"),
        (["--tls-ca", "x"], "all three or none"),
        (["--nonsense"], "nonsense"),
        (["--cluster", ""], "needs a name"),
        (["--token-file", "/nowhere/token"], "cannot be read"),
    ],
)
def test_wrong_options_are_one_sentence(more: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        parse_options([*GOOD, *more])
    assert "\n" not in str(caught.value)


def test_remote_listening_is_allowed_when_said_so() -> None:
    assert parse_options([*GOOD, "--listen", "0.0.0.0:1", "--allow-remote"]).listen.port == 1
    files = ["--tls-ca", "a", "--tls-cert", "b", "--tls-key", "c"]
    assert parse_options([*GOOD, "--listen", "0.0.0.0:1", *files]).tls is not None


def test_a_clock_with_a_wrong_rate_never_goes_back() -> None:
    now = [1_000]
    clock = SkewedClock(monotonic=lambda: now[0], wall=lambda: now[0])
    now[0] = 2_000
    clock.set(offset_ns=-500, rate=0.5)
    assert (clock.monotonic_ns(), clock.wall_ns()) == (2_000, 1_500)
    now[0] = 3_000
    assert clock.monotonic_ns() == 2_500
    assert clock.true_delay_ns(2_600) == 200
    clock.set(offset_ns=0, rate=10.0)
    now[0] = 3_010
    assert clock.monotonic_ns() == 2_600
    assert clock.true_delay_ns(0) == 0
    with pytest.raises(ValueError, match="above 0"):
        clock.set(offset_ns=0, rate=-1.0)


def test_histograms_are_cumulative() -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.observe(0.75, times=2)
    for value in (1.5, 9.0):
        histogram.observe(value)
    assert list(histogram.lines("h"))[1:] == [
        'h_bucket{le="1"} 2',
        'h_bucket{le="2"} 3',
        'h_bucket{le="+Inf"} 4',
        "h_sum 12.000000",
        "h_count 4",
    ]


class ScriptedCore:
    """A core that returns what the test put in ``script``, and records its calls."""

    def __init__(self) -> None:
        self.script: list[list[Effect]] = []
        self.calls: list[tuple[Any, ...]] = []

    def _take(self, *call: Any) -> list[Effect]:
        self.calls.append(call)
        return self.script.pop(0) if self.script else []

    def start(self, now_ns: int, recovered: Recovered) -> list[Effect]:
        return self._take("start")

    def on_message(self, now_ns: int, source: str, message: Message) -> list[Effect]:
        if isinstance(message, Heartbeat) and message.round < 0:
            raise ZeroDivisionError("a bug")
        return self._take("message", source)

    def on_tick(self, now_ns: int) -> list[Effect]:
        return self._take("tick", now_ns)

    def on_persisted(self, now_ns: int, io_id: int) -> list[Effect]:
        return self._take("persisted", io_id)

    def on_client(self, now_ns: int, connection: int, request: Request) -> list[Effect]:
        return self._take("client", connection, request.id)

    def on_clients(self, now_ns: int, requests: list[tuple[int, Request]]) -> list[Effect]:
        return self._take("clients", [(c, r.id) for c, r in requests])

    def on_disconnect(self, now_ns: int, connection: int) -> list[Effect]:
        return self._take("disconnect", connection)

    def status(self) -> dict[str, Any]:
        return {}

    def state_hash(self) -> str:
        return ""


class Recorder:
    """The outside of a host: what left, in order."""

    def __init__(self) -> None:
        self.left: list[Any] = []

    def send(self, to: str, frame: bytes, message: Message) -> None:
        self.left.append(("send", to, frame))

    def answer(self, connection: int, response: Response) -> None:
        self.left.append(("answer", connection, response.id))

    def persist(self, write: Append | SaveSnapshot) -> None:
        self.left.append(("persist", write.io_id))

    def note(self, note: Note) -> None:
        self.left.append(("note", note.event))

    def turn_ended(self) -> None:
        return

    def broken(self, error: Exception) -> None:
        self.left.append(("broken", type(error).__name__))


def hosted() -> tuple[CoreHost, ScriptedCore, Recorder]:
    core, outside = ScriptedCore(), Recorder()
    return CoreHost(core, clock=SkewedClock(), outside=outside), core, outside


BEAT = Heartbeat(1, 1, 1)


def test_what_depends_on_a_write_leaves_after_it_and_not_before() -> None:
    host, core, outside = hosted()
    entry = Entry(1, 1, "noop")
    core.script = [
        [
            Append(1, HardState(1, ""), (entry,)),
            Send("n2", BEAT),
            Send("n3", BEAT, after=1),
            Append(2),
            Reply(7, Response(70, "ok"), after=2),
            Note("word", {}),
        ]
    ]
    host.message("n2", BEAT)
    frame = encode_frame(BEAT)
    before = [("send", "n2", frame), ("note", "word"), ("persist", 1), ("persist", 2)]
    assert outside.left == before
    host.persisted(1)
    assert outside.left[4:] == [("send", "n3", frame)]
    host.persisted(2)
    assert outside.left[5:] == [("answer", 7, 70)]
    core.script = [[Send("n2", BEAT, after=2)]]
    host.message("n2", BEAT)
    assert outside.left[6:] == [("send", "n2", frame)]
    assert core.calls == [
        ("message", "n2"),
        ("persisted", 1),
        ("persisted", 2),
        ("message", "n2"),
    ]


def test_a_core_that_breaks_the_gate_is_silenced() -> None:
    host, core, outside = hosted()
    core.script = [[Send("n2", BEAT), Send("n3", BEAT, after=1)]]
    host.message("n2", BEAT)
    host.message("n2", BEAT)
    assert outside.left[1:] == [("broken", "GateBroken")]
    assert core.calls == [("message", "n2")]


def test_a_write_that_was_never_issued_cannot_be_durable() -> None:
    host, core, outside = hosted()
    core.script = [[Append(1), Send("n3", BEAT, after=1)]]
    host.message("n2", BEAT)
    host.persisted(2)
    host.persisted(1)
    assert outside.left == [("persist", 1), ("broken", "GateBroken")]
    assert core.calls == [("message", "n2")]


def test_a_raising_core_is_silenced() -> None:
    host, core, outside = hosted()
    core.script = [[Append(1), Send("n2", BEAT, after=1)]]
    host.message("n2", BEAT)
    host.message("n2", Heartbeat(1, -1, 1))
    host.persisted(1)
    host.message("n2", BEAT)
    assert outside.left == [("persist", 1), ("broken", "ZeroDivisionError")]
    assert core.calls == [("message", "n2")]


def test_requests_of_one_turn_share_a_call_and_the_gone_are_left_out() -> None:
    async def run() -> list[tuple[Any, ...]]:
        host, core, _ = hosted()

        def ask(connection: int, id: int) -> None:
            host.request(connection, Request(id, "s", id, 1, Command("get", "x")))

        ask(1, 10)  # alone: enters at once
        ask(1, 11)
        ask(2, 20)
        ask(3, 30)
        host.disconnected(2)
        await asyncio.sleep(0.01)
        return core.calls

    assert asyncio.run(run()) == [
        ("clients", [(1, 10)]),
        ("disconnect", 2),
        ("clients", [(1, 11), (3, 30)]),
    ]


def test_while_clients_wait_messages_enter_after_the_requests_of_their_turn_in_order() -> None:
    async def run() -> list[tuple[Any, ...]]:
        host, core, _ = hosted()

        def ask(connection: int, id: int) -> None:
            host.request(connection, Request(id, "s", id, 1, Command("get", "x")))

        ask(1, 10)
        host.message("n2", BEAT)  # one client waits: at once
        assert core.calls == [("clients", [(1, 10)]), ("message", "n2")]
        ask(2, 20)
        await asyncio.sleep(0.01)
        core.calls.clear()
        host.message("n3", BEAT)
        ask(3, 30)
        host.message("n2", BEAT)
        assert core.calls == []
        host.disconnected(1)  # what is counted begins anew, and a message overtakes none
        host.message("n3", BEAT)
        await asyncio.sleep(0.01)
        return core.calls

    assert asyncio.run(run()) == [
        ("disconnect", 1),
        ("clients", [(3, 30)]),
        ("message", "n3"),
        ("message", "n2"),
        ("message", "n3"),
    ]


def test_nothing_gathered_enters_a_host_that_was_halted() -> None:
    async def run() -> list[tuple[Any, ...]]:
        host, core, _ = hosted()
        for connection in (1, 2, 3):
            host.request(connection, Request(connection, "s", 0, 1, Command("get", "x")))
        await asyncio.sleep(0.01)
        core.calls.clear()
        host.message("n2", BEAT)
        host.halt()
        await asyncio.sleep(0.01)
        return core.calls

    assert asyncio.run(run()) == []


def test_the_timer_fires_once_and_never_early() -> None:
    async def run() -> tuple[list[tuple[Any, ...]], int]:
        host, core, _ = hosted()
        due = host.clock.monotonic_ns() + 20_000_000
        core.script = [[SetTimer(due + 10_000_000_000), SetTimer(due)], []]
        host.message("n2", BEAT)
        await asyncio.sleep(0.08)
        return core.calls, due

    calls, due = asyncio.run(run())
    assert [call[0] for call in calls] == ["message", "tick"]
    assert calls[1][1] >= due


def test_a_faster_clock_brings_the_timer_forward() -> None:
    async def run() -> list[str]:
        host, core, _ = hosted()
        core.script = [[SetTimer(host.clock.monotonic_ns() + 3_000_000_000)]]
        host.message("n2", BEAT)
        host.clock.set(offset_ns=0, rate=100.0)
        host.clock_changed()
        await asyncio.sleep(0.1)
        return [call[0] for call in core.calls]

    assert asyncio.run(run()) == ["message", "tick"]


def test_a_timer_that_is_due_fires_though_each_turn_of_the_loop_brings_an_input() -> None:
    async def run() -> int:
        host, core, _ = hosted()
        due = host.clock.monotonic_ns()
        for turn in range(200):
            core.script = [[SetTimer(due)]]  # as a core says, whose timer is late
            host.message("n2", BEAT)
            await asyncio.sleep(0)
            if core.calls[-1][0] == "tick":
                return turn
        return -1

    assert asyncio.run(run()) in (0, 1)


def test_a_timer_moved_to_a_later_time_does_not_fire_at_the_earlier_one() -> None:
    async def run() -> tuple[list[tuple[Any, ...]], int]:
        host, core, _ = hosted()
        now = host.clock.monotonic_ns()
        due = now + 60_000_000
        core.script = [[SetTimer(now + 10_000_000)], [SetTimer(due)]]
        host.message("n2", BEAT)
        host.message("n2", BEAT)
        while len(core.calls) < 3:
            await asyncio.sleep(0.01)
        return core.calls, due

    calls, due = asyncio.run(run())
    assert [call[0] for call in calls] == ["message", "message", "tick"]
    assert calls[2][1] >= due


class TurnRecorder(Recorder):
    """Records the ends of turns too: then what was gathered leaves the process."""

    def turn_ended(self) -> None:
        self.left.append("turn")


class SteppingCore(ScriptedCore):
    """A core that works in steps; what is left to do is in ``second``."""

    def __init__(self, left: list[Any]) -> None:
        super().__init__()
        self.in_steps = False
        self.second: list[Effect] | None = None
        self._left = left

    @property
    def unfinished(self) -> object:
        return self.second

    def more(self, now_ns: int) -> list[Effect]:
        done, self.second = self.second or [], None
        self._left.append("more")
        return done

    def on_persisted(self, now_ns: int, io_id: int) -> list[Effect]:
        self._left.append("persisted")
        return super().on_persisted(now_ns, io_id)


def test_what_comes_first_of_a_core_in_steps_has_left_when_it_does_the_rest() -> None:
    outside = TurnRecorder()
    core = SteppingCore(outside.left)
    host = CoreHost(core, clock=SkewedClock(), outside=outside)
    assert core.in_steps
    core.script = [[Append(1), Send("n2", BEAT)]]
    core.second = [Reply(7, Response(70, "ok")), Append(2), Send("n3", BEAT, after=1)]
    host.message("n2", BEAT)
    frame = encode_frame(BEAT)
    first = [("send", "n2", frame), "turn", ("persist", 1)]
    rest = ["more", ("answer", 7, 70), "turn", ("persist", 2)]
    assert outside.left == first + rest
    host.persisted(1)  # an acknowledgement does not wait for what the core makes of it
    assert outside.left[7:] == [("send", "n3", frame), "turn", "persisted"]


def test_a_real_node_draws_from_the_whole_range_and_nothing_else() -> None:
    rng = SystemRng()
    assert {rng.between(3, 5) for _ in range(400)} == {3, 4, 5}
    assert rng.between(7, 7) == 7
    wide = {rng.between(1, (1 << 62) - 1) for _ in range(100)}
    assert len(wide) == 100 and max(wide) > 1 << 58 and len({w & 255 for w in wide}) > 50
    assert rng.between(1, 1 << 62) != SystemRng().between(1, 1 << 62), "two nodes must not agree"
