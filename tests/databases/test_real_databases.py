"""Each database on the local environment: it starts, serves, says who leads, survives faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from real_clusters import NODES, PATIENCE_S, cluster, do, sure, until, value_of

from harness.databases.etcd import Etcd
from harness.databases.programs import ETCD
from harness.databases.pysyncobj import PySyncObj
from harness.databases.reference import Reference
from harness.environments.sim import sim
from harness.errors import SetupError, UsageError
from harness.nemesis.shapes import isolate

pytestmark = pytest.mark.real


def databases() -> list[Any]:
    return [
        pytest.param(Reference, id="reference"),
        pytest.param(Etcd, id="etcd"),
        pytest.param(
            lambda **options: PySyncObj(read_mode="replicated", **options),
            id="pysyncobj",
        ),
    ]


@pytest.mark.parametrize("make", databases())
def test_registers_and_leaders_and_a_cut_off_leader(make: Any, tmp_path: Path) -> None:
    db = make(op_timeout_s=10.0)

    async def body(env: Any) -> None:
        nodes = [env.node(name) for name in NODES]
        leaders = await until(lambda: db.primaries(nodes))
        assert len(leaders) == 1
        client = db.client()
        await client.open(env.node("n2"))
        assert await value_of(client, key="absent") is None
        await sure(client, "write", 1)
        await sure(client, "cas", [1, 2], shown=lambda value: bool(value == 2))
        assert (await do(client, "cas", [1, 3]))[0] == "fail"
        assert await value_of(client) == 2
        await client.close()

        shape = isolate(leaders, NODES)
        from harness.environments.base import LinkFault

        await env.set_links({link: LinkFault(cut=True) for link in shape.cut})
        others = [node for node in nodes if node.name not in leaders]

        async def another() -> list[str]:
            return [name for name in await db.primaries(others) if name not in leaders]

        await until(another)
        reader = db.client()
        await reader.open(others[0])
        await sure(reader, "write", 7)
        counters = await env.link_counters()
        lost = [counters[link]["dropped"] + counters[link]["held"] for link in shape.cut]
        assert sum(lost) > 0
        await env.heal_all()

        old = db.client()
        await old.open(env.node(leaders[0]))

        async def caught_up() -> bool:
            return await do(old, "read") == ("ok", 7)

        await until(caught_up)
        await old.close()
        await reader.close()

    cluster(tmp_path, db, body)


@pytest.mark.parametrize("make", databases()[1:])  # the reference cluster's are elsewhere
def test_what_was_acknowledged_survives_a_kill_of_all(make: Any, tmp_path: Path) -> None:
    db = make(op_timeout_s=10.0)

    async def body(env: Any) -> None:
        client = db.client()
        await client.open(env.node("n1"))
        await sure(client, "write", 5)
        for name in NODES:
            await env.kill(name)
        assert (await do(client, "read"))[0] == "fail"
        assert (await do(client, "write", 6))[0] in ("fail", "info")
        for name in NODES:
            await env.start(name)
        for name in NODES:
            await db.ready(env.node(name))
        again = db.client()
        await again.open(env.node("n3"))

        async def reads() -> Any:
            how, value = await do(again, "read")
            return (value,) if how == "ok" else None

        assert (await until(reads))[0] in (5, 6)
        await client.close()
        await again.close()

    cluster(tmp_path, db, body)


def test_pysyncobj_reads_stale_data_from_a_cut_off_node(tmp_path: Path) -> None:
    db = PySyncObj(op_timeout_s=10.0)

    async def body(env: Any) -> None:
        from harness.environments.base import LinkFault

        writer, reader = db.client(), db.client()
        (leader,) = await until(lambda: db.primaries([env.node(name) for name in NODES]))
        lonely = next(name for name in NODES if name != leader)
        await writer.open(env.node(leader))
        await reader.open(env.node(lonely))
        await sure(writer, "write", 1)

        async def arrived() -> bool:
            return await do(reader, "read") == ("ok", 1)

        await until(arrived)
        cut = isolate([lonely], NODES).cut
        await env.set_links({link: LinkFault(cut=True) for link in cut})
        await sure(writer, "write", 2)
        assert await value_of(reader) == 1
        await writer.close()
        await reader.close()

    cluster(tmp_path, db, body)


def test_the_reference_cluster_does_all_its_operations_on_real_nodes(tmp_path: Path) -> None:
    db = Reference(op_timeout_s=PATIENCE_S)  # whose clients know the token of its nodes
    cluster(tmp_path, db, lambda env: _all_operations(env, db))


def test_and_in_simulation(tmp_path: Path) -> None:
    env = sim(nodes=NODES, run_dir=tmp_path, seed=3)
    db = Reference()

    async def main() -> None:
        for name in NODES:
            await db.start(env.node(name))
            await db.ready(env.node(name))
        await _all_operations(env, db)
        assert len(await db.primaries([env.node(name) for name in NODES])) == 1

    env.runtime.run(main())


async def _all_operations(env: Any, db: Reference) -> None:
    client = db.client()
    await client.open(env.node("n1"))
    assert await do(client, "append", 1, key="list") == ("ok", 1)
    assert await do(client, "append", 2, key="list") == ("ok", 2)
    assert await do(client, "read", key="list") == ("ok", [1, 2])
    assert await do(client, "incr", 4, key="count") == ("ok", 4)
    assert await do(client, "add", 3, key="count") == ("ok", 3)
    assert await do(client, "read", key="count") == ("ok", 7)
    assert await do(client, "write", 1) == ("ok", 1)
    assert (await do(client, "incr", 1, key="list"))[0] == "fail"
    assert (await do(client, "delete"))[0] == "ok"
    assert await do(client, "read") == ("ok", None)
    await client.close()
    await _other_objects(env, db.token)


async def _other_objects(env: Any, token: str) -> None:
    async def client(objects: str) -> Any:
        db = Reference(objects=objects, op_timeout_s=PATIENCE_S)
        db.token = token  # the cluster's
        made = db.client()
        await made.open(env.node("n2"))
        return made

    counter, elements, queue = await client("counter"), await client("set"), await client("queue")
    ids = await client("ids")
    assert await do(counter, "read", key="c") == ("ok", 0)
    assert await do(elements, "read", key="s") == ("ok", [])
    assert await do(elements, "add", 5, key="s") == ("ok", 5)
    assert await do(elements, "read", key="s") == ("ok", [5])
    assert await do(queue, "dequeue", key="q") == ("ok", None)
    for value in (1, 2, 3):
        assert await do(queue, "enqueue", value, key="q") == ("ok", value)
    assert await do(queue, "dequeue", key="q") == ("ok", 1)
    assert await do(queue, "drain", key="q") == ("ok", [2, 3])
    assert await do(queue, "drain", key="q") == ("ok", [])
    first, second = await do(ids, "generate"), await do(ids, "generate")
    assert first[1] != second[1]
    for each in (counter, elements, queue, ids):
        await each.close()


def test_ablations_are_started_and_shown_in_the_status(tmp_path: Path) -> None:
    db = Reference(ablate="A30")

    async def body(env: Any) -> None:
        status = await db.status(env.node("n1"))
        assert status is not None and status["ablations"] and status["chaos"]

    cluster(tmp_path, db, body)


def test_wrong_options_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'stale'"):
        Reference(read_mode="stael")
    with pytest.raises(UsageError, match="serializable"):
        Etcd(read_mode="serialisable")
    with pytest.raises(UsageError, match="'replicated'"):
        PySyncObj(read_mode="replicate")
    with pytest.raises(SetupError, match="'/no/etcd' of etcd is not there"):
        ETCD.find("/no/etcd")
    with pytest.raises(UsageError, match="there is no ablation 'nothing-like-it'"):
        Reference(ablate="nothing-like-it")
