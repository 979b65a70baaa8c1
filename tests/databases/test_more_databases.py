"""Every kind of objects on every real database, and what they are known for, on local nodes.

A database that is not installed is skipped with the way to get it.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from nats.js.errors import NotFoundError
from real_clusters import NODES, cluster, do, sure, until, value_of

from checkers.core.verdict import Verdict
from harness.api import run
from harness.databases.etcd import Etcd
from harness.databases.galera import Galera, find_provider
from harness.databases.nats import Nats
from harness.databases.postgres import Postgres, find_bin_dir
from harness.databases.programs import ETCD, NATS, POSTGRES, REDIS, Program
from harness.databases.redis import Redis
from harness.databases.zookeeper import ZooKeeper
from harness.errors import SetupError, UsageError
from harness.registry import find

pytestmark = pytest.mark.real


def needs(finder: Any, *, program: str = "") -> Any:
    """Skip unless what a database needs of the system's packages is here. What the test extra
    declares (clients, and the servers that come as wheels) is not asked for: it is a failure if it
    is missing."""
    lacks = program and shutil.which(program) is None
    why = f"{program} is not installed" if lacks else ""
    try:
        finder()
    except SetupError as error:
        why = why or str(error)
    return pytest.mark.skipif(bool(why), reason=why or "here")


def has_zookeeper() -> None:
    if not Path("/usr/share/java/zookeeper.jar").exists():
        raise SetupError("apt-get install zookeeper")


#: seconds an operation may take where the answer, and not its haste, is what is tested
PATIENCE_S = 20.0
#: clients of the test that runs, closed at its end
OPEN: list[Any] = []


async def opened(db: Any, node: Any) -> Any:
    client = db.client()
    await client.open(node)
    OPEN.append(client)
    return client


def on(run_dir: Path, db: Any, body: Any) -> None:
    """Run a body on a cluster and close what it opened."""

    async def closing(env: Any) -> None:
        try:
            await body(env)
        finally:
            for client in OPEN:
                await client.close()
            OPEN.clear()

    cluster(run_dir, db, closing)


async def appended(client: Any, value: int, key: Any = "x") -> None:
    """One element more, once."""
    await sure(client, "append", value, key, shown=lambda elements: value in elements)


async def swapped(client: Any, old: Any, new: Any) -> None:
    """One value instead of another, once."""
    await sure(client, "cas", [old, new], shown=lambda value: bool(value == new))


async def takes_turns(one: Any, other: Any) -> None:
    """A lock is given to one, then to the other, with a larger token; stale writes are refused."""
    how, first = await do(one, "acquire", key="l")
    assert how == "ok" and first["token"] > 0
    waiting = asyncio.create_task(do(other, "acquire", key="l"))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    assert (await do(one, "write", {"token": first["token"], "value": 1}, key="l"))[0] == "ok"
    assert (await do(one, "release", first["token"], key="l"))[0] == "ok"
    how, second = await waiting
    assert how == "ok" and second["token"] > first["token"]
    assert (await do(other, "write", {"token": second["token"], "value": 2}, key="l"))[0] == "ok"
    assert (await do(one, "write", {"token": first["token"], "value": 3}, key="l"))[0] == "fail"
    assert (await do(one, "release", None, key="l"))[0] == "fail"
    assert (await do(other, "release", second["token"], key="l"))[0] == "ok"


def test_etcd_keeps_lists_sets_watches_locks_and_leases(tmp_path: Path) -> None:
    async def body(env: Any) -> None:
        n1, n2 = env.node("n1"), env.node("n2")

        async def pair(objects: str, **options: Any) -> tuple[Any, Any]:
            db = Etcd(objects=objects, op_timeout_s=PATIENCE_S, **options)
            return await opened(db, n1), await opened(db, n2)

        one, other = await pair("list")
        assert await value_of(one) == []
        for first, second in ((1, 2), (3, 4)):
            await asyncio.gather(appended(one, first), appended(other, second))
        assert sorted(await value_of(other)) == [1, 2, 3, 4]
        one, other = await pair("set")
        await sure(one, "add", 7, key="s")
        assert await value_of(other, key="s") == [7]
        one, other = await pair("watch", watch_s=0.4)
        how, first = await do(one, "write", 1, key="k0")
        await do(one, "write", 2, key="k1")
        asked = {"from": first["revision"], "prefix": "k", "watcher": "w"}

        async def told_both() -> list[Any]:
            how, told = await do(other, "watch", asked, key=None)
            return told["events"] if how == "ok" and len(told["events"]) == 2 else []

        assert [(e["key"], e["value"]) for e in await until(told_both)] == [("k0", 1), ("k1", 2)]
        await takes_turns(*(await pair("lock", ttl_s=60)))
        one, other = await pair("lease")
        how, lease = await do(one, "grant", {"ttl_s": 20.0}, key="e")
        assert how == "ok" and lease["ttl_s"] >= 20
        assert (await do(other, "grant", {"ttl_s": 20.0}, key="e"))[0] == "fail"
        assert (await do(one, "renew", key="e"))[0] == "ok"
        assert (await do(one, "revoke", key="e"))[0] == "ok"
        assert (await do(other, "grant", {"ttl_s": 2.0}, key="e"))[0] == "ok"

    on(tmp_path, Etcd(), body)


@needs(has_zookeeper, program="java")
def test_zookeeper_keeps_registers_sets_queues_and_locks(tmp_path: Path) -> None:
    async def body(env: Any) -> None:
        nodes = [env.node(name) for name in NODES]
        leaders = await until(lambda: ZooKeeper().primaries(nodes))
        assert len(leaders) == 1

        async def pair(objects: str) -> tuple[Any, Any]:
            db = ZooKeeper(
                objects=objects, op_timeout_s=PATIENCE_S, session_s=10, read_mode="write"
            )
            return await opened(db, nodes[0]), await opened(db, nodes[1])

        one, other = await pair("register")
        assert await value_of(one) is None
        await sure(one, "write", 1)
        assert await value_of(other) == 1
        await swapped(other, 1, 2)
        assert (await do(one, "cas", [1, 3]))[0] == "fail"
        assert await value_of(one) == 2
        one, other = await pair("set")
        assert await value_of(one, key="s") == []
        await sure(one, "add", 4, key="s")
        assert await value_of(other, key="s") == [4]
        one, other = await pair("queue")
        for value in (1, 2, 3):
            assert (await do(one, "enqueue", value, key="q"))[0] == "ok"
        assert await do(other, "dequeue", key="q") == ("ok", 1)
        assert await do(one, "drain", key="q") == ("ok", [2, 3])
        assert await do(other, "dequeue", key="q") == ("ok", None)
        await takes_turns(*(await pair("lock")))

    on(tmp_path, ZooKeeper(), body)


@pytest.mark.slow
@needs(has_zookeeper, program="java")
@pytest.mark.parametrize(("read_mode", "tries"), [("sync", 6), ("write", 2)])
def test_zookeepers_deposed_leader_answers_sync_alone(
    read_mode: str, tries: int, tmp_path: Path
) -> None:
    """It does so until it looks, which it does every half tick: a race, so it is tried again."""

    async def body(env: Any) -> None:
        patient = ZooKeeper(read_mode=read_mode, session_s=30, op_timeout_s=PATIENCE_S)
        nodes = [env.node(name) for name in NODES]
        stale = False

        async def only_leader() -> list[str]:
            leaders = await patient.primaries(nodes)
            return leaders if len(leaders) == 1 else []

        for number in range(1, tries + 1):
            (old,) = await until(only_leader, within_s=100)
            others = [node for node in nodes if node.name != old]
            reader = await opened(patient, env.node(old))
            writer = await opened(ZooKeeper(session_s=4, op_timeout_s=PATIENCE_S), others[0])
            await sure(writer, "write", -number, within_s=100)
            assert await value_of(reader) == -number
            await env.pause(old)
            await until(lambda among=others: patient.primaries(among), within_s=100)
            await sure(writer, "write", number, within_s=100)  # it may have to connect again
            # Asked after the write was acknowledged, by a server that still believes it leads.
            asked = asyncio.create_task(do(reader, "read"))
            await asyncio.sleep(0.3)
            await env.resume(old)
            stale = await asked == ("ok", -number)
            if stale:
                break
            await asyncio.gather(*(patient.ready(node) for node in nodes))
        assert stale is (read_mode == "sync")

    on(tmp_path, ZooKeeper(tick_ms=2000), body)


@pytest.mark.slow
def test_redis_loses_what_a_cut_off_primary_acknowledged(tmp_path: Path) -> None:
    done = run(
        db="redis", workload="set", nemesis="partition-primaries", seed=11, time_limit_s=25.0,
        nemesis_interval_s=8.0, store=str(tmp_path), quiet=True, say=lambda line: None,
    )  # fmt: skip
    assert done.verdict is Verdict.INVALID, done.sentence
    assert "lost" in {finding.kind for finding in done.findings()}


def test_redis_keeps_registers_lists_counters_and_ids(tmp_path: Path) -> None:
    async def body(env: Any) -> None:
        node = env.node("n2")
        patient: dict[str, Any] = {"op_timeout_s": PATIENCE_S}
        register = await opened(Redis(**patient), node)
        assert await value_of(register) is None
        await swapped(register, None, 1)
        assert (await do(register, "cas", [2, 3]))[0] == "fail"
        await sure(register, "write", 5)
        assert await value_of(register) == 5
        items = await opened(Redis(objects="list", **patient), node)
        await appended(items, 1, key="l")
        assert await value_of(items, key="l") == [1]
        counter = await opened(Redis(objects="counter", **patient), node)
        assert await value_of(counter, key="c") == 0
        await sure(counter, "add", 4, key="c", shown=lambda total: bool(total == 4))
        assert await value_of(counter, key="c") == 4
        ids = await opened(Redis(objects="ids", **patient), node)
        assert (await do(ids, "generate"))[1] != (await do(ids, "generate"))[1]
        log = await opened(Redis(objects="log", **patient), node)
        for offset, value in enumerate((7, 8)):
            assert await do(log, "send", value, key="g") == ("ok", offset)
        assert await value_of(log, "poll", {"from": 1}, key="g") == [[1, 8]]

    # On a busy machine a primary may be silent for a while, and must stay the primary.
    on(tmp_path, Redis(down_after_ms=30_000), body)


def test_nats_keeps_queues_sets_and_logs(tmp_path: Path) -> None:
    async def body(env: Any) -> None:
        def with_objects(kind: str) -> Nats:
            return Nats(objects=kind, op_timeout_s=PATIENCE_S, ack_wait_s=60)

        one, other = [await opened(with_objects("queue"), env.node(n)) for n in ("n1", "n2")]
        for value in (1, 2, 3):
            await sure(one if value == 1 else other, "enqueue", value, key="q")

        async def taken() -> tuple[Any, ...]:
            how, value = await do(other, "dequeue", key="q")
            return (value,) if how == "ok" else ()

        assert await until(taken) == (1,)
        assert await do(one, "drain", key="q") == ("ok", [2, 3])
        elements = await opened(with_objects("set"), env.node("n3"))
        await sure(elements, "add", 4, key="s")
        assert await value_of(elements, key="s") == [4]
        one, other = [await opened(with_objects("log"), env.node(n)) for n in ("n1", "n3")]
        for value in (7, 8, 9):
            await sure(one, "send", value, key="g")
        assert await value_of(other, "poll", {"from": 1}, key="g") == [[1, 8], [2, 9]]
        assert await value_of(other, "poll", {"from": 3}, key="g") == []

    on(tmp_path, Nats(), body)


class Kept:
    """A stream's leader: its last sequence number each time it is asked, and its messages."""

    def __init__(self, lasts: list[int], messages: dict[int, int]) -> None:
        self.lasts, self.messages = lasts, messages

    async def stream_info(self, name: str) -> Any:
        last = self.lasts.pop(0) if len(self.lasts) > 1 else self.lasts[0]
        return SimpleNamespace(state=SimpleNamespace(last_seq=last))

    async def get_msg(self, name: str, sequence: int) -> Any:
        if sequence not in self.messages:
            raise NotFoundError(code=404, err_code=10037, description="no message found")
        return SimpleNamespace(data=str(self.messages[sequence]).encode())


def test_a_nats_stream_is_read_of_its_leader_across_what_it_lost() -> None:
    def polled(kept: Kept, first: int, most: int | None = None) -> Any:
        client = Nats(objects="log").client()
        client._stream = kept
        return asyncio.run(client._from("log-x", first, most=most))

    whole = {sequence: -sequence for sequence in range(1, 251)}
    assert polled(Kept([250], whole), 1) == list(whole.items())
    assert polled(Kept([250], whole), 1, most=3) == [(1, -1), (2, -2), (3, -3)]
    assert polled(Kept([250], whole), 251) == []
    del whole[7]
    assert [sequence for sequence, _ in polled(Kept([250], whole), 6)][:2] == [6, 8]
    # Between two questions another server came to lead, with less.
    with pytest.raises(ConnectionError, match="another server leads the stream"):
        polled(Kept([250, 6], {1: -1}), 1)


LEVELS = [
    pytest.param("read-committed", "rw-register", Verdict.INVALID, "lost-update"),
    pytest.param("repeatable-read", "write-skew", Verdict.INVALID, "G2-item"),
    pytest.param("serializable", "list-append", Verdict.VALID, ""),
    pytest.param("serializable", "write-skew", Verdict.VALID, "", marks=pytest.mark.slow),
    pytest.param("read-committed", "bank", Verdict.INVALID, "wrong-total", marks=pytest.mark.slow),
    pytest.param("repeatable-read", "bank", Verdict.VALID, "", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("isolation", "workload", "verdict", "anomaly"), LEVELS)
def test_postgres_isolates_as_its_level_says(
    isolation: str, workload: str, verdict: Verdict, anomaly: str, tmp_path: Path
) -> None:
    # So many operations, not so many seconds: a slow machine finds what a quick one does. Clients
    # that think between their statements overlap whoever is scheduled when.
    load = find("workload", workload)(rate_hz=1000)
    load.generator = load.generator.limit(300)
    done = run(
        db="postgres", db_options={"isolation": isolation, "think_ms": 2}, workload=load, nodes=1,
        seed=4, time_limit_s=60.0, store=str(tmp_path), quiet=True, no_report=True,
        say=lambda line: None,
    )  # fmt: skip
    assert done.verdict is verdict, done.sentence
    if anomaly:
        assert anomaly in {finding.kind for finding in done.findings()}


def has_galera() -> None:
    find_provider()


@pytest.mark.slow
@needs(has_galera)
def test_galera_certifies_and_is_stale_unless_it_waits(tmp_path: Path) -> None:
    async def body(env: Any) -> None:
        nodes = [env.node("n1"), env.node("n2")]

        async def pair(objects: str) -> tuple[Any, Any]:
            db = Galera(objects=objects, op_timeout_s=PATIENCE_S, sync_wait=7)
            return await opened(db, nodes[0]), await opened(db, nodes[1])

        one, other = await pair("register")
        assert await value_of(one) is None
        await swapped(one, None, 1)
        assert await value_of(other) == 1
        assert (await do(other, "cas", [2, 3]))[0] == "fail"
        one, other = await pair("set")
        await sure(one, "add", 7, key="s")
        assert await value_of(other, key="s") == [7]
        one, other = await pair("txn-list")
        assert (await do(one, "txn", [["append", "l", 1], ["r", "l", None]]))[1][1][2] == [1]
        assert (await do(other, "txn", [["append", "l", 2], ["r", "l", None]]))[1][1][2] == [1, 2]
        one, other = await pair("bank")
        assert (await do(one, "open", {"a": 5, "b": 5}))[0] == "ok"
        assert (await do(other, "transfer", {"from": "a", "to": "b", "amount": 9}))[0] == "fail"
        assert (await do(other, "transfer", {"from": "a", "to": "b", "amount": 2}))[0] == "ok"
        assert await value_of(one) == {"a": 3, "b": 7}

    on(tmp_path, Galera(), body)


def test_wrong_uses_get_a_sentence() -> None:
    with pytest.raises(UsageError, match="sync_wait is 99"):
        Galera(sync_wait=99)
    with pytest.raises(SetupError, match="galera"):
        find_provider("/no/galera.so")
    with pytest.raises(UsageError, match="think_ms is -1"):
        Postgres(think_ms=-1)
    with pytest.raises(UsageError, match="give --nodes 1"):
        Postgres(nodes=["n1", "n2"])
    with pytest.raises(UsageError, match="'repeatable-read'"):
        Postgres(isolation="repeatable-reads")
    with pytest.raises(UsageError, match="'queue', which etcd does not offer"):
        Etcd(objects="queue")
    with pytest.raises(UsageError, match="'local'"):
        ZooKeeper(read_mode="loca")
    with pytest.raises(SetupError, match="no initdb"):
        find_bin_dir("/nowhere")


@pytest.mark.parametrize("program", [ETCD, NATS, POSTGRES, REDIS], ids=lambda each: each.name)
def test_a_program_that_is_not_there_is_said_with_the_way_to_get_it(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = msgspec.structs.replace(program, name="no-such-program", places=(), inside=())
    with pytest.raises(SetupError, match=rf"{program.title}.*pip install.*apt-get install"):
        bare.find()
    for named, way in (("wheel", "pip install"), ("debian", "apt-get install")):
        with pytest.raises(SetupError, match=f"not installed: `{way}"):
            bare.find(named)
    assert bare.there() == ""


def test_a_wheels_program_is_found_without_an_activated_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scripts = tmp_path / "bin"
    scripts.mkdir()
    program = scripts / "nats-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(scripts))
    bare = msgspec.structs.replace(NATS, places=())
    monkeypatch.setenv("PATH", "/nowhere")
    assert bare.find() == bare.find("wheel") == str(program)
    # An environment that is activated has its scripts on the path: still the wheel's.
    monkeypatch.setenv("PATH", str(scripts))
    with pytest.raises(SetupError, match="Debian's NATS is not installed"):
        bare.find("debian")


@pytest.mark.slow
@pytest.mark.parametrize("workload", ["register", "append", "set", "watch"])
def test_etcd_is_valid_under_every_fault(workload: str, tmp_path: Path) -> None:
    run(
        db="etcd", workload=workload, nemesis="partition,kill,pause", seed=11, time_limit_s=20.0,
        nemesis_interval_s=3.0, store=str(tmp_path), quiet=True, say=lambda line: None,
    ).assert_valid()  # fmt: skip


@pytest.mark.slow
@needs(has_zookeeper, program="java")
def test_zookeeper_reads_are_stale_without_sync(tmp_path: Path) -> None:
    done = run(
        db="zookeeper", db_options={"read_mode": "local"}, nemesis="partition", seed=11,
        time_limit_s=25.0, nemesis_interval_s=6.0, store=str(tmp_path), quiet=True,
        say=lambda line: None,
    )  # fmt: skip
    assert done.verdict is Verdict.INVALID, done.sentence


@pytest.mark.slow
@pytest.mark.parametrize("fencing", [False, True])
def test_an_etcd_lock_has_two_holders_under_pause_and_fencing_saves_it(
    fencing: bool, tmp_path: Path
) -> None:
    done = run(
        db="etcd", workload="lock", workload_options={"hold_s": 8, "fencing": fencing}, keys=20,
        concurrency=60, nemesis="pause:one", seed=11, time_limit_s=30.0, nemesis_interval_s=7.0,
        store=str(tmp_path), quiet=True, say=lambda line: None,
    )  # fmt: skip
    assert done.verdict is (Verdict.VALID if fencing else Verdict.INVALID), done.sentence
