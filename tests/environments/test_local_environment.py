"""What only the local environment promises: processes, addresses, streams, clocks, errors."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from arms import CUT, MS, NODES, PATIENCE_S, Local, until, within

from harness.environments import processes, record
from harness.environments.base import LinkFault
from harness.environments.clock import faketime
from harness.environments.local import local
from harness.errors import SetupError, UsageError

pytestmark = pytest.mark.real


async def held(env: Any, source: str, target: str) -> int:
    """How much of a byte stream a link holds back."""
    return int((await env.link_counters())[source, target]["held"])


# -- links -----------------------------------------------------------------------------------------


def test_frames_are_lost_in_a_cut_and_the_connection_survives(tmp_path: Path) -> None:
    arm = Local(tmp_path)

    async def body(env: Any) -> None:
        await arm.send("n1", "n2", 10)
        assert len((await arm.seen("n2", count=10))["n1"]) == 10
        await env.set_links({("n1", "n2"): CUT})
        await arm.send("n1", "n2", 7)
        await arm.send("n2", "n1", 4)
        assert len((await arm.seen("n1", count=4))["n2"]) == 4
        assert (await arm.decided("n1", "n2", 17))["dropped"] == 7
        assert await arm.seen("n2") == {}
        await env.set_links({})
        await arm.send("n1", "n2", 3)
        assert [n for n, _ in (await arm.seen("n2", count=3))["n1"]] == [0, 1, 2]

    within(arm, body)


def test_a_connection_made_during_a_cut_works_after_it(tmp_path: Path) -> None:
    arm = Local(tmp_path)

    async def body(env: Any) -> None:
        await env.set_links({("n1", "n3"): CUT})
        await arm.send("n1", "n3", 5)
        await arm.decided("n1", "n3", 5)
        assert await arm.seen("n3") == {}
        await env.set_links({})
        await arm.send("n1", "n3", 2)
        # The first frame says who speaks: held, not lost. The four after it are lost.
        assert [n for n, _ in (await arm.seen("n3", count=3))["n1"]] == [0, 0, 1]

    within(arm, body)


def test_bytes_are_held_by_a_cut_and_all_arrive_in_order(tmp_path: Path) -> None:
    arm = Local(tmp_path)

    async def body(env: Any) -> None:
        await arm.send("n1", "n2", 5)
        await arm.seen("n2", count=5)
        await env.set_links({("n1", "n2"): CUT})
        await arm.send("n1", "n2", 50)
        await until(lambda: held(env, "n1", "n2"))
        assert await arm.seen("n2") == {}
        await env.set_links({})
        assert [n for n, _ in (await arm.seen("n2", count=50))["n1"]] == list(range(50))

    within(arm, body, framing="bytes")


async def opened(at: tuple[str, int]) -> socket.socket:
    """A connection to an address, as soon as it accepts one."""
    found: list[socket.socket] = []

    async def accepts() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            found.append(socket.create_connection(at, PATIENCE_S))
        return bool(found)

    await until(accepts)
    return found[0]


def refuses(at: tuple[str, int]) -> bool:
    """Whether an address refuses connections."""
    try:
        socket.create_connection(at, PATIENCE_S).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it listened still, and was closed with the connection waiting
        return False
    return False


async def refused(at: tuple[str, int]) -> bool:
    """The same, to wait for."""
    return refuses(at)


@pytest.mark.parametrize("where", ["the node's address", "all addresses"])
def test_an_address_accepts_only_while_the_node_behind_it_does(where: str, tmp_path: Path) -> None:
    """RabbitMQ looks whether its own port is free before it listens on it."""
    arm = Local(tmp_path)

    async def body(env: Any) -> None:
        one, two = env.node("n1"), env.node("n2")
        host, port = one.peer_address("n2", 9017).split(":")
        at = (host, int(port))
        await env.parts.network.ready()
        assert refuses(at)
        there = two.address if where == "the node's address" else "0.0.0.0"
        for _ in range(3):
            with socket.create_server((there, 9017)) as server:
                (await opened(at)).close()
                server.accept()[0].close()
            await until(lambda: refused(at))

    within(arm, body)


def test_a_cut_does_not_tell_whether_the_node_behind_it_lives(tmp_path: Path) -> None:
    arm = Local(tmp_path)

    async def body(env: Any) -> None:
        one, two = env.node("n1"), env.node("n2")
        host, port = one.peer_address("n2", 9018).split(":")
        await env.parts.network.ready()
        await env.set_links({("n1", "n2"): CUT, ("n2", "n1"): CUT})
        with await opened((host, int(port))) as client:
            client.sendall(b"hello")
            await asyncio.sleep(0.1)
            with socket.create_server((two.address, 9018)) as server:
                server.settimeout(PATIENCE_S)
                await env.set_links({})
                served = await asyncio.to_thread(lambda: server.accept()[0])
                assert served.recv(10) == b"hello"
                served.close()

    within(arm, body)


def test_an_address_that_is_taken_is_said_at_once(tmp_path: Path) -> None:
    arm = Local(tmp_path)

    async def body(env: Any) -> None:
        host, port = env.node("n1").peer_address("n2", 9019).split(":")
        with (
            socket.create_server((host, int(port))),
            pytest.raises(SetupError, match="cannot listen"),
        ):
            await env.parts.network.ready()

    within(arm, body)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_healing_copes_with_connections_that_died_behind_a_cut(
    loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target reset a connection while nobody listened to it; its end is still held back."""
    if loop == "asyncio":
        # Most installations have no uvloop, and the proxy then runs on Python's own loop.
        (tmp_path / "hidden").mkdir()
        (tmp_path / "hidden" / "uvloop.py").write_text("raise ImportError")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
    arm = Local(tmp_path / "run")

    async def body(env: Any) -> None:
        one, two = env.node("n1"), env.node("n2")
        host, port = one.peer_address("n2", 9000).split(":")
        await env.parts.network.ready()
        both = {("n1", "n2"): CUT, ("n2", "n1"): CUT}
        with socket.create_server((two.address, 9000)) as server:
            server.settimeout(PATIENCE_S)
            for _ in range(5):
                client = await opened((host, int(port)))
                served = await asyncio.to_thread(lambda: server.accept()[0])
                await env.set_links(both)
                client.shutdown(socket.SHUT_WR)
                served.setblocking(False)
                for _ in range(20):
                    with contextlib.suppress(BlockingIOError):
                        served.send(bytes(100_000))
                    await asyncio.sleep(0.01)
                served.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                served.close()
                await env.set_links({})
                assert await env.prove_clean() == []
                client.close()

    within(arm, body)


def test_who_dials_an_announced_address_is_found_out(tmp_path: Path) -> None:
    arm = Local(tmp_path)

    async def body(env: Any) -> None:
        await env.set_links({("n1", "n3"): CUT})
        await arm.send("n1", "n3", 5)
        await arm.send("n2", "n3", 5)
        assert list(await arm.seen("n3", count=5)) == ["n2"]
        await until(lambda: held(env, "n1", "n3"))
        assert await held(env, "n2", "n3") == 0
        await env.set_links({})
        assert len((await arm.seen("n3", count=5))["n1"]) == 5

    within(arm, body, framing="announced")


def test_a_delay_is_measured(tmp_path: Path) -> None:
    """No message is ever early, which no load can excuse; load can make any one late, so the
    quickest is what tells a delay from a longer one and from none, and a slow moment is sat out."""
    arm = Local(tmp_path)
    sent = 0

    async def quickest_s(fault: LinkFault, *, under_s: float) -> float:
        nonlocal sent
        await arm.env.set_links({("n1", "n2"): fault} if fault.delay_ns else {})
        for _ in range(10):
            sent += 20
            await arm.send("n1", "n2", 20)
            quickest = min(late for _, late in (await arm.seen("n2", count=20))["n1"])
            assert quickest >= fault.delay_ns / 1e9
            if quickest < under_s:
                return quickest
        raise AssertionError(f"of 200 messages the quickest of the last took {quickest:.3f} s")

    async def body(env: Any) -> None:
        await arm.send("n1", "n2", 1)
        await arm.seen("n2", count=1)
        await quickest_s(LinkFault(delay_ns=300 * MS), under_s=1.8)
        await quickest_s(LinkFault(delay_ns=1800 * MS), under_s=3.5)
        counted = (await env.link_counters())["n1", "n2"]
        assert counted["delayed"] == sent
        assert counted["bytes"] > 4 * counted["passed"], "each has its length before it"
        await quickest_s(LinkFault(), under_s=0.3)

    within(arm, body)


def test_frames_are_lost_and_duplicated_one_by_one(tmp_path: Path) -> None:
    arm = Local(tmp_path)

    async def body(env: Any) -> None:
        await arm.send("n1", "n2", 1)
        await arm.seen("n2", count=1)
        await env.set_links({("n1", "n2"): LinkFault(loss=0.5)})
        await arm.send("n1", "n2", 200)
        passed = (await arm.decided("n1", "n2", 201))["passed"] - 1
        numbers = [n for n, _ in (await arm.seen("n2", count=passed))["n1"]]
        assert 50 < len(numbers) == passed < 150 and numbers == sorted(set(numbers))
        await env.set_links({("n1", "n2"): LinkFault(duplicate=1.0, reorder=0.3)})
        await arm.send("n1", "n2", 100)
        numbers = [n for n, _ in (await arm.seen("n2", count=200))["n1"]]
        assert sorted(numbers) == sorted([*range(100), *range(100)])
        assert numbers != sorted(numbers)

    within(arm, body)


def test_what_was_sent_to_a_stopped_node_flows_when_it_goes_on(tmp_path: Path) -> None:
    arm = Local(tmp_path)

    async def body(env: Any) -> None:
        await arm.send("n1", "n2", 1)
        await arm.seen("n2", count=1)
        await env.pause("n2")
        await arm.send("n1", "n2", 500)
        await asyncio.sleep(0.2)
        await env.resume("n2")
        numbers = [n for n, _ in (await arm.seen("n2", count=500))["n1"]]
        assert numbers == list(range(500))

    within(arm, body)


def test_ports_nobody_named_are_mirrored_for_peers(tmp_path: Path) -> None:
    arm = Local(tmp_path)

    async def body(env: Any) -> None:
        one = env.node("n1")
        assert len(one.peers) == 2
        await one.run(sys.executable, "-c", "pass")
        dial = "import socket,sys;print(socket.create_connection((sys.argv[1],8001),1) and 'in')"
        for _ in range(50):
            done = await one.run(sys.executable, "-c", dial, one.peers[0], check=False)
            if done.exit_code == 0:
                break
        assert done.stdout.strip() == "in"

    within(arm, body)


# -- processes -------------------------------------------------------------------------------------


def test_a_killed_node_is_another_process_afterwards_and_no_zombie(tmp_path: Path) -> None:
    arm = Local(tmp_path)

    async def body(env: Any) -> None:
        first = (await env.kill("n1"))["pids"]
        assert [processes.stat(pid) for pid in first] == [None]
        second = (await env.start("n1"))["pids"]
        assert len(second) == 1 and second != first

    within(arm, body)


def test_children_of_a_node_are_killed_with_it(tmp_path: Path) -> None:
    async def main() -> None:
        env = local(nodes=["n1"], run_dir=tmp_path, seed=1)
        await env.setup()
        try:
            script = (
                "import subprocess,time;subprocess.Popen(['sleep','60'],start_new_session=True)"
            )
            await env.node("n1").spawn(sys.executable, "-c", f"{script};time.sleep(60)")

            async def both() -> bool:
                return len(env.node("n1").machine.everything()) == 2

            await until(both)
            await env.kill("n1")
            assert env.node("n1").machine.everything() == []
        finally:
            await env.teardown()

    asyncio.run(main())


def test_a_node_that_dies_at_start_shows_its_last_words(tmp_path: Path) -> None:
    async def main() -> None:
        env = local(nodes=["n1"], run_dir=tmp_path, seed=1)
        await env.setup()
        try:
            with pytest.raises(SetupError, match=r"(?s)exited with 3.*cannot open the moon"):
                await env.node("n1").spawn("sh", "-c", "echo cannot open the moon; exit 3")
                # A busy machine may not have come to it yet when it is first looked at.
                await env.node("n1").http_ok(8001, "/", within_s=PATIENCE_S)
            with pytest.raises(SetupError, match=r"'no-such-program'.*is it installed"):
                await env.node("n1").spawn("no-such-program")
        finally:
            await env.teardown()

    asyncio.run(main())


def test_a_node_that_dies_later_is_noticed_while_waiting_and_remembered(tmp_path: Path) -> None:
    async def main() -> None:
        env = local(nodes=["n1"], run_dir=tmp_path, seed=1)
        await env.setup()
        try:
            node = env.node("n1")
            waits = 'until [ -e "$1" ]; do sleep 0.05; done; echo out of luck; exit 7'
            await node.spawn("sh", "-c", waits, "sh", "/data/go")
            waiting = asyncio.create_task(node.http_ok(8001, "/", within_s=PATIENCE_S))
            await asyncio.sleep(0.2)
            (node.machine.data / "go").touch()
            with pytest.raises(SetupError, match=r"(?s)exited with 7.*out of luck"):
                await waiting
            assert env.deaths() == {"n1": ["sh exited with 7"]}
        finally:
            await env.teardown()

    asyncio.run(main())


def test_a_busy_port_is_named_with_who_has_it(tmp_path: Path) -> None:
    async def main() -> None:
        env = local(nodes=["n1"], run_dir=tmp_path, seed=1)
        await env.setup()
        try:
            node = env.node("n1")
            taken = rf"port 7001 of n1.*pid {os.getpid()} "
            with socket.create_server((node.address, 7001)), pytest.raises(SetupError, match=taken):
                await node.spawn("sleep", "9", ports=(7001,))
            await node.spawn("sleep", "9", ports=(7001,))
        finally:
            await env.teardown()

    asyncio.run(main())


def test_data_is_the_nodes_own_and_wipe_stays_inside(tmp_path: Path) -> None:
    async def main() -> None:
        env = local(nodes=["n1", "n2"], run_dir=tmp_path, seed=1)
        await env.setup()
        try:
            one, two = env.node("n1"), env.node("n2")
            await one.run("sh", "-c", 'echo hello > "$1"', "sh", "/data/file")
            assert (one.machine.data / "file").read_text() == "hello\n"
            assert not (two.machine.data / "file").exists()
            done = await one.run("echo", "--dir=/data/x", "/database")
            assert done.stdout == f"--dir={one.machine.data}/x /database\n"
            assert await one.collect(["/data/*"]) == ["file"]
            await one.wipe("/data")
            assert list(one.machine.data.iterdir()) == []
            for outside in ("/", "/data/../..", str(two.machine.data), "/etc"):
                with pytest.raises(UsageError, match="own directory"):
                    await one.wipe(outside)
            with pytest.raises(SetupError, match="exited with 1"):
                await one.run("false")
            with pytest.raises(SetupError, match="did not end within"):
                await one.run("sleep", "20", timeout_s=0.1)
        finally:
            await env.teardown()
        assert not one.machine.data.exists()

    asyncio.run(main())


def test_two_runs_at_a_time_do_not_collide(tmp_path: Path) -> None:
    async def main() -> None:
        both = [local(nodes=NODES, run_dir=tmp_path / "same", seed=1) for _ in range(2)]
        for env in both:
            await env.setup()
        try:
            assert both[0].node("n1").address != both[1].node("n1").address
        finally:
            for env in both:
                await env.teardown()

    asyncio.run(main())


def test_wrong_options_and_sizes_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'clock'"):
        local(nodes=NODES, run_dir=tmp_path, seed=1, options={"clocks": "on"})
    with pytest.raises(UsageError, match="1 to 14 nodes, not 15"):
        local(nodes=[f"n{i}" for i in range(15)], run_dir=tmp_path, seed=1)
    with pytest.raises(UsageError, match="on or off"):
        local(nodes=NODES, run_dir=tmp_path, seed=1, options={"clock": "maybe"})


# -- clocks ----------------------------------------------------------------------------------------


def test_libfaketime_moves_the_wall_clock_only_and_survives_a_restart(tmp_path: Path) -> None:
    arm = Local(tmp_path, clock="on")

    async def offset_s() -> float:
        """Theirs less ours, as exact as the quickest of some answers; monotonic clocks agree."""
        best_s, found_s = PATIENCE_S, 0.0
        for _ in range(100):
            before_ns, before_mono_ns = time.time_ns(), time.monotonic_ns()
            theirs = await arm.ask("n1", "/time")
            after_ns, after_mono_ns = time.time_ns(), time.monotonic_ns()
            assert before_mono_ns - 10 * MS <= theirs["monotonic_ns"] <= after_mono_ns + 10 * MS
            if (took_s := (after_ns - before_ns) / 1e9) < best_s:
                best_s, found_s = took_s, (theirs["wall_ns"] - (before_ns + after_ns) / 2) / 1e9
            if best_s < 0.2:
                break
        return float(found_s)

    async def body(env: Any) -> None:
        moved = await env.set_clock("n1", offset_ns=-90_000 * MS)
        # Read from a process of its own, which answers when it is scheduled.
        assert abs(moved["offset_ns"] + 90_000 * MS) < 30_000 * MS
        assert await offset_s() == pytest.approx(-90, abs=0.5)
        await env.kill("n1")
        await env.start("n1")
        await env.node("n1").http_ok(8001, "/health", within_s=PATIENCE_S)
        assert await offset_s() == pytest.approx(-90, abs=0.5)
        await env.heal_all()
        assert await offset_s() == pytest.approx(0, abs=0.5)
        await env.set_clock("n1", rate=11.0)

        async def ahead() -> bool:
            return await offset_s() > 2

        await until(ahead)

    within(arm, body, chaos=False)
    assert not (tmp_path / "nodes" / "n1" / "faketime").exists()


def test_the_self_test_of_libfaketime_passes_and_notices_a_sham(tmp_path: Path) -> None:
    found = faketime.library()
    assert found is not None
    assert faketime.self_test(found, tmp_path) == ""
    sham = faketime.self_test(tmp_path / "nothing.so", tmp_path)
    assert "instead of 100 s" in sham
    assert list(tmp_path.iterdir()) == []


def test_programs_libfaketime_cannot_reach_are_refused_with_the_reason(tmp_path: Path) -> None:
    import struct

    static = tmp_path / "static"
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 2, 62, 1)
    header += struct.pack("<QQQ", 0, 64, 0) + struct.pack("<IHHHHHH", 0, 64, 56, 1, 0, 0, 0)
    static.write_bytes(header + struct.pack("<I", 1) + bytes(52))
    static.chmod(0o755)
    assert "statically linked" in faketime.why_not(str(static))
    dynamic = tmp_path / "go"
    dynamic.write_bytes(header + struct.pack("<I", 3) + bytes(52) + b"\xff Go buildinf:")
    dynamic.chmod(0o755)
    assert "Go program" in faketime.why_not(str(dynamic))
    assert faketime.why_not(sys.executable) == ""

    async def main() -> None:
        env = local(nodes=["n1"], run_dir=tmp_path / "run", seed=1)
        env.prepare({"clock"})
        await env.setup()
        try:
            with pytest.raises(SetupError, match=r"clock fault on n1 is impossible.*statically"):
                await env.node("n1").spawn(str(static))
        finally:
            await env.teardown()

    asyncio.run(main())


def test_a_stopped_nodes_clock_is_set_when_it_goes_on(tmp_path: Path) -> None:
    arm = Local(tmp_path)

    async def body(env: Any) -> None:
        await env.pause("n2")
        assert (await env.set_clock("n2", offset_ns=5_000 * MS))["deferred"]
        await env.resume("n2")
        assert (await arm.ask("n2", "/chaos/clock", {}))["offset_ns"] == 5_000 * MS
        await env.heal_all()
        assert (await arm.ask("n2", "/chaos/clock", {}))["offset_ns"] == 0

    within(arm, body)


# -- the record ------------------------------------------------------------------------------------


def test_the_record_names_processes_while_they_run_and_is_clean_after(tmp_path: Path) -> None:
    arm = Local(tmp_path)

    async def body(env: Any) -> None:
        found = record.load(tmp_path)
        assert found is not None and found.state == "running"
        roles = sorted(each.role for each in found.processes)
        assert roles == ["node", "node", "node", "proxy", "watchdog"]
        assert all(processes.running(each.process) for each in found.processes)
        assert found.harness is not None and found.harness.pid == os.getpid()

    within(arm, body)
    found = record.load(tmp_path)
    assert found is not None and found.state == "clean" and found.processes == []
    assert processes.of_run(found.run_id) == []


def test_a_signal_is_never_sent_to_a_recycled_pid() -> None:
    me = processes.identify(os.getpid())
    assert me is not None
    earlier = processes.ProcessId(me.pid, me.start_ticks - 1)
    assert not processes.running(earlier)
    assert not processes.send(earlier, signal.SIGKILL)
    assert processes.stop_all([earlier]) == []
