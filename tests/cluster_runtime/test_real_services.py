"""The core's services with real processes, through the command line and the recipes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import WITHIN_S, Cluster, eventually

from cluster.client.asyncio_client import AsyncioClient
from cluster.client.recipes import Election, Lock
from cluster.wire import Command

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("services")) as made:
        made.leader()
        yield made


def argv(cluster: Cluster, *words: str) -> list[str]:
    nodes = ",".join(f"{n}={a}" for n, a in cluster.addresses.items())
    start = [sys.executable, "-m", "cluster.client", "--nodes", nodes]
    return [*start, *([] if "--timeout" in words else ["--timeout", "60"]), *words]


def client(cluster: Cluster, *words: str, code: int = 0, text: str | None = None) -> Any:
    """One command of the client; its answer, a list of lines if there are several."""
    done = subprocess.run(
        argv(cluster, *words), capture_output=True, text=True, timeout=WITHIN_S, input=text
    )
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    if code and not done.stdout:
        return done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines[0] if len(lines) == 1 else lines


def test_a_transaction_and_a_range(cluster: Cluster) -> None:
    asked = {"compare": [["t/x", "version", "==", 0]], "then": [["put", "t/x", 1]]}
    more = {**asked, "else": [["get", "t/x"]]}
    assert client(cluster, "txn", json.dumps(more))["value"] == {"succeeded": True, "results": [1]}
    assert "takes a JSON object, not '[]'" in client(cluster, "txn", "[]", code=254)
    again = client(cluster, "txn", "-", text=json.dumps(more))
    assert again["value"] == {"succeeded": False, "results": [1]}
    before = again["revision"]
    client(cluster, "put", "t/y", "2")
    found = client(cluster, "range", "t/", "--limit", "1")["value"]
    assert [item["key"] for item in found["items"]] == ["t/x"] and found["more"]
    old = client(cluster, "range", "t/", "--revision", str(before), "--keys-only")["value"]
    assert old["items"] == [{"key": "t/x"}]
    assert client(cluster, "get", "t/y", "--revision", str(before))["value"] is None
    assert "JSON object" in client(cluster, "txn", "[", code=254)
    assert "no part 'than'" in client(cluster, "txn", '{"than": []}', code=254)


def test_a_watch_prints_changes_as_they_come(cluster: Cluster) -> None:
    first = client(cluster, "put", "w/a", "1")["revision"]
    watching = subprocess.Popen(
        argv(cluster, "watch", "w/", "--after", str(first - 1), "--events", "3"),
        stdout=subprocess.PIPE,
        text=True,
    )
    client(cluster, "put", "w/b", "2")
    client(cluster, "delete", "w/a")
    out, _ = watching.communicate(timeout=WITHIN_S)
    events = [json.loads(line) for line in out.splitlines()]
    assert [(e["type"], e["key"]) for e in events] == [
        ("put", "w/a"), ("put", "w/b"), ("delete", "w/a"),
    ]  # fmt: skip


def test_a_leases_keys_end_with_it(cluster: Cluster) -> None:
    lease = client(cluster, "lease", "grant", "5")["value"]["lease"]
    client(cluster, "put", "l/a", "1", "--lease", lease)
    assert client(cluster, "lease", "renew", lease)["value"]["lease"] == lease
    eventually("the key is gone", lambda: client(cluster, "get", "l/a")["value"] is None)
    assert "it is over" in client(cluster, "lease", "renew", lease, code=1)["error"]
    held = client(cluster, "lease", "grant", "600", "--id", "mine")["value"]["token"]
    assert {"lease": "mine", "token": held, "ttl_ns": 600 * 10**9, "keys": []} in client(
        cluster, "lease", "list"
    )["value"]
    assert client(cluster, "lease", "revoke", "mine")["value"] == 0


def figures(cluster: Cluster, node: str) -> dict[str, float]:
    """The samples of a node's /metrics without labels, by name."""
    lines = cluster.get(node, "/metrics").splitlines()
    pairs = (line.split(" ") for line in lines if line and not line.startswith("#"))
    return {name.removeprefix("splitbrain_"): float(value) for name, value in pairs}


def test_the_services_measure_themselves(cluster: Cluster) -> None:
    leader = cluster.leader()
    before = figures(cluster, leader)
    named = {
        "lease_count", "watch_count", "watch_slow_total", "dedup_hits_total", "slow_apply_total",
        "read_index_seconds_count", "snapshot_seconds_count", "wal_fsync_seconds_count",
        "heartbeat_send_failures_total", "proposals_pending", "proposals_failed_total",
        "leader_changes_total", "term", "commit_index", "applied_index",
    }  # fmt: skip
    assert named <= set(before)

    async def used() -> None:
        async with AsyncioClient(cluster.addresses, timeout_s=WITHIN_S) as mine:
            granted = await mine.call(Command("lease-grant", "", (3_600_000_000_000,)))
            first = await mine.call(Command("put", "metered/1", (1,)))
            await mine.call(Command("put", "metered/2", (2,)))
            await mine.call(Command("get", "metered/1"))
            behind = {"after": first.revision - 1, "limit": 1}
            told = await mine.call(Command("watch", "metered/", (behind,)), node=leader)
            assert len(told.value["events"]) == 1
            bad = await mine.call(Command("cas", "metered/1", (7, 8)))
            assert (granted.status, bad.status) == ("ok", "fail")

    asyncio.run(used())
    leader = cluster.leader()
    now = {node: figures(cluster, node) for node in cluster.nodes}
    assert now[leader]["lease_count"] == before["lease_count"] + 1
    assert now[leader]["read_index_seconds_count"] >= 1
    for name in ("watch_slow_total", "proposals_failed_total", "leader_changes_total"):
        assert sum(each[name] for each in now.values()) >= 1, name


def test_locks_exclude_each_other_and_their_tokens_grow(cluster: Cluster) -> None:
    inside, most, tokens = [0], [0], []

    async def work(number: int) -> None:
        mine = AsyncioClient(cluster.addresses, timeout_s=60)
        async with mine, Lock(mine, "job", ttl_s=20) as lock:
            assert lock.valid
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            tokens.append(lock.token)
            await asyncio.sleep(0.05)
            inside[0] -= 1

    async def main() -> None:
        await asyncio.gather(*map(work, range(5)))

    asyncio.run(main())
    assert most == [1] and tokens == sorted(set(tokens)) and len(tokens) == 5


def test_a_lock_is_held_while_a_command_runs(cluster: Cluster) -> None:
    script = f"import sys, subprocess; sys.exit(subprocess.run({argv(cluster, 'get', 'lock/x')!r},"
    script += " stdout=subprocess.DEVNULL).returncode + 7)"
    done = subprocess.run(
        argv(cluster, "lock", "x", "--", sys.executable, "-c", script),
        capture_output=True, text=True, timeout=WITHIN_S,
    )  # fmt: skip
    assert done.returncode == 7, (done.stdout, done.stderr)
    assert json.loads(done.stdout)["token"] > 0
    assert client(cluster, "get", "lock/x")["value"] is None
    script = "import os; print(os.environ['SPLITBRAIN_FENCING_TOKEN'])"
    held, told = client(cluster, "lock", "x", "--ttl", "60", "--", sys.executable, "-c", script)
    assert held["token"] == told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_holder_that_is_asked_to_end_ends_its_command_and_gives_the_lock_back(
    cluster: Cluster, number: int
) -> None:
    script = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    words = ["lock", "ended", "--ttl", "600", "--", sys.executable, "-c", script]
    holder = subprocess.Popen(
        argv(cluster, *words), stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert holder.stdout is not None and '"ok"' in holder.stdout.readline()
    command = int(holder.stdout.readline())
    holder.send_signal(number)
    assert holder.wait(WITHIN_S) == 128 + number
    assert not Path(f"/proc/{command}").exists()
    holder.stdout.close()
    assert client(cluster, "get", "lock/ended")["value"] is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("words", [["lock", "queued"], ["elect", "queued", "me"]], ids=" ".join)
def test_a_candidate_that_is_interrupted_while_it_waits_leaves_no_lease(
    cluster: Cluster, words: list[str], number: int
) -> None:
    def leases() -> set[str]:
        return {each["lease"] for each in client(cluster, "lease", "list")["value"]}

    kind = "lock" if words[0] == "lock" else "election"
    client(cluster, "put", f"{kind}/queued", "true")  # it is taken, and stays so
    before = leases()

    def interrupted() -> bool:  # again, if a busy cluster did not answer in time
        waiting = subprocess.Popen(
            argv(cluster, *words, "--ttl", "600"),
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        eventually("it waits", lambda: leases() - before)
        waiting.send_signal(number)
        assert waiting.wait(WITHIN_S) == 128 + number
        left = leases() - before
        for each in left:
            client(cluster, "lease", "revoke", each)
        return not left

    eventually("no lease is left", interrupted)
    client(cluster, "delete", f"{kind}/queued")


def test_what_one_cluster_saved_begins_another_and_the_old_nodes_are_strangers_to_it(
    tmp_path: Path,
) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    file = str(tmp_path / "keys.jsonl")
    other = ["--cluster", "other"]
    with Cluster(tmp_path / "old", nodes=("n1", "n2")) as old:
        values = {"a": 1, "ü/b": {"x": [1, None]}, "c": "text", "l": [5, 6]}
        client(old, "txn", json.dumps({"then": [["put", *each] for each in values.items()]}))
        client(old, "lease", "grant", "600", "--id", "mine")
        client(old, "put", "leased", "1", "--lease", "mine")
        saved = client(old, "snapshot", "save", file)
        assert (saved["keys"], saved["left_out"]) == (4, 1)
        with Cluster(tmp_path / "new", *other, nodes=("n2",)) as new:
            client(new, *other, "txn", json.dumps({"then": [["put", "own", 7], ["put", "a", 0]]}))
            client(new, *other, "snapshot", "restore", file)
            told = client(new, *other, "snapshot", "restore", file)
            assert (told["keys"], told["saved_at_revision"]) == (4, saved["revision"])
            items = client(new, *other, "range", "")["value"]["items"]
            found = {item["key"]: (item["value"], item["lease"]) for item in items}
            wanted = {**values, "own": 7}
            assert found == {key: (value, "") for key, value in wanted.items()}, "twice is once"
            assert client(new, *other, "lease", "list")["value"] == []

            said = client(new, "--timeout", "1", "get", "a", code=3)
            assert "it belongs to cluster 'splitbrain'" in said["error"]
            old.kill("n1")
            assert "of cluster 'splitbrain', not to node 'n1' of" in old.refusal("n1", *other)
            peers = f"n1={old.addresses['n1']},n2={new.addresses['n2']}"
            old.start("n1", "--peers", peers)
            stranger = {"event": "link-refused", "reason": "it belongs to cluster 'splitbrain'"}
            eventually(
                "the new cluster refuses the old node",
                lambda: any(stranger.items() <= event.items() for event in old.events("n1")),
            )


def test_a_lock_that_is_held_is_in_no_snapshot(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    lease = client(cluster, "lease", "grant", "600")["value"]["lease"]
    client(cluster, "put", "lock/s", "true", "--lease", lease)
    assert client(cluster, "snapshot", "save", str(file))["left_out"] == 1
    client(cluster, "lease", "revoke", lease)
    client(cluster, "snapshot", "restore", str(file))
    assert client(cluster, "lock", "s", "--wait", "0", "--", "true")["status"] == "ok"


def test_a_read_is_not_older_than_the_revision_that_it_names(cluster: Cluster) -> None:
    seen = client(cluster, "put", "session", "1")["revision"]
    words = ["get", "session", "--mode", "session", "--node", "n3", "--min-revision"]
    assert client(cluster, *words, str(seen))["value"] == 1
    never = ["--timeout", "0.5", *words, str(seen + 1_000_000)]
    assert client(cluster, *never, code=3)["status"] == "fail"


def test_a_dead_leader_is_replaced(cluster: Cluster) -> None:
    dead = subprocess.Popen(
        argv(cluster, "elect", "e", "first", "--ttl", "2"), stdout=subprocess.PIPE, text=True
    )
    assert dead.stdout is not None and json.loads(dead.stdout.readline())["status"] == "ok"
    refused = client(cluster, "elect", "e", "second", "--wait", "0", code=1)
    assert "was not free" in refused["error"]
    dead.kill()
    dead.wait()

    async def lead() -> str | None:
        async with AsyncioClient(cluster.addresses, timeout_s=60) as mine:
            election = Election(mine, "e", "second", ttl_s=20)
            assert await election.campaign(timeout_s=60) and election.valid
            leader = await election.leader()
            await election.resign()
            return leader

    assert asyncio.run(lead()) == "second"


def test_a_snapshot_is_saved_and_restored(cluster: Cluster, tmp_path: Path) -> None:
    for number in range(5):
        client(cluster, "put", f"s/{number}", str(number))
    file = tmp_path / "keys.jsonl"
    saved = client(cluster, "snapshot", "save", str(file))
    assert saved["keys"] >= 5
    client(cluster, "put", "s/3", "99")
    client(cluster, "delete", "s/4")
    assert client(cluster, "snapshot", "restore", str(file))["keys"] == saved["keys"]
    items = client(cluster, "range", "s/")["value"]["items"]
    assert [item["value"] for item in items] == list(range(5))
    whole = file.read_bytes()
    client(cluster, "put", "s/0", '"kept"')
    file.write_bytes(whole[:-9])
    assert "is torn" in client(cluster, "snapshot", "restore", str(file), code=254)
    file.write_text('{"key": "s/0", "value": 0}\n')
    assert "is no snapshot of keys" in client(cluster, "snapshot", "restore", str(file), code=254)
    assert client(cluster, "get", "s/0")["value"] == "kept"
    said = client(cluster, "snapshot", "save", str(file), code=254)
    assert "there is such a file already" in said and "Traceback" not in said


def test_a_compacted_revision_is_refused_everywhere(cluster: Cluster) -> None:
    revision = client(cluster, "put", "c", "1")["revision"]
    client(cluster, "put", "c", "2")
    newest = client(cluster, "put", "c", "3")["revision"]
    assert client(cluster, "compact", str(newest))["value"] == newest
    refused = client(cluster, "get", "c", "--revision", str(revision), code=1)
    assert refused["error"].startswith("compacted")
    assert "compacted" in client(cluster, "watch", "c", "--after", str(revision), code=1)
    said = client(cluster, "get", "c", "--revision", str(newest + 1000), code=1)["error"]
    assert said.startswith(f"future-revision: revision {newest + 1000} is not reached yet; ")
    said = client(cluster, "range", "c", "--revision", str(newest + 1000), code=1)["error"]
    assert said.startswith("future-revision: ")
    read = json.dumps({"then": [["put", "c", 4], ["get", "c", newest + 1000]]})
    assert "operation 2 of the transaction: future-revision" in str(
        client(cluster, "txn", read, code=1)["error"]
    )
    assert client(cluster, "get", "c")["value"] == 3


@pytest.mark.parametrize("mode", ["session", "bounded", "follower", "stale"])
def test_any_node_answers_reads_in_the_mode_asked_for(cluster: Cluster, mode: str) -> None:
    client(cluster, "put", f"m/{mode}", "1")
    for node in cluster.nodes:
        words = ["get", f"m/{mode}", "--mode", mode, "--node", node, "--staleness", "60"]
        if mode == "stale":
            eventually("it is there", lambda w=words: client(cluster, *w)["value"] == 1)  # type: ignore[misc]
        elif mode != "session":  # this session has seen nothing of the write
            assert client(cluster, *words)["value"] == 1
        else:
            assert client(cluster, *words)["status"] == "ok"


def test_all_nodes_hash_alike(cluster: Cluster) -> None:
    client(cluster, "put", "h", "1")
    admins = ",".join(f"127.0.0.1:{port}" for port in cluster.admins.values())

    def alike() -> bool:
        done = subprocess.run(
            [sys.executable, "-m", "cluster.client", "--admin", admins, "hash"],
            capture_output=True, text=True, timeout=WITHIN_S,
        )  # fmt: skip
        return len({line.strip() for line in done.stdout.splitlines()}) == 1

    eventually("all nodes have applied the same", alike)
