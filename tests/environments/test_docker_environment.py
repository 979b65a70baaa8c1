"""What only containers promise: sentences when Docker is not there, files, pods, compose."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from arms import CUT, MS, NODES, PATIENCE_S, until, within
from kernel_arms import docker_arm

from harness.environments.docker import docker
from harness.environments.machines.docker_daemon import Daemon
from harness.errors import SetupError, UsageError

pytestmark = pytest.mark.real
ROOT = Path(__file__).resolve().parents[2]


def test_no_daemon_and_no_image_are_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker_arm(tmp_path / "run")
    missing = docker(nodes=NODES, run_dir=tmp_path, seed=1, options={"image": "no-such-image:1"})
    with pytest.raises(SetupError, match=r"no image 'no-such-image:1': run `docker pull no-such"):
        missing.prepare(())
    monkeypatch.setattr("harness.environments.docker.IMAGE", "no-such-image:1")
    with pytest.raises(SetupError, match=r"build it with `bash scripts/docker_build.sh`"):
        missing.prepare(())
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    nobody = docker(nodes=NODES, run_dir=tmp_path, seed=1)
    with pytest.raises(SetupError, match="daemon, and it does not answer: start it with `sudo sys"):
        nobody.prepare(())
    with pytest.raises(UsageError, match="did you mean 'image'"):
        docker(nodes=NODES, run_dir=tmp_path, seed=1, options={"imge": "x"})


def test_a_paused_node_is_partitioned_and_killed_and_stays_partitioned(tmp_path: Path) -> None:
    arm = docker_arm(tmp_path / "run")

    async def body(env: Any) -> None:
        await arm.traffic()
        assert (await env.pause("n2"))["docker"] == "paused"
        await env.set_links({("n1", "n2"): CUT})
        await env.kill("n2")
        assert not await env.alive("n2")
        await env.start("n2")
        await env.node("n2").http_ok(8001, "/health", within_s=PATIENCE_S)
        assert await env.prove_clean() == ["n2 drops what comes from n1"]
        before = await env.link_counters()
        for source in ("n1", "n3"):
            await arm.ask(source, "/send", {"to": "n2", "count": 1})
        after = await env.link_counters()
        assert after["n1", "n2"]["dropped"] > before["n1", "n2"]["dropped"]
        assert after["n3", "n2"]["passed"] > before["n3", "n2"]["passed"]

    within(arm, body)


def test_commands_files_and_logs(tmp_path: Path) -> None:
    arm = docker_arm(tmp_path / "run", keep_data=True)

    async def body(env: Any) -> None:
        one = env.node("n1")
        done = await one.run(
            "sh", "-c", 'echo "$1"; echo no >&2; hostname', "sh", "it's $HOME; `x`"
        )
        assert (done.stdout, done.stderr) == ("it's $HOME; `x`\nn1\n", "no\n")
        with pytest.raises(SetupError, match=r"exited with 3"):
            await one.run("sh", "-c", "exit 3")
        with pytest.raises(SetupError, match="is it installed"):
            await one.run("no-such-program")
        began = time.monotonic()
        with pytest.raises(SetupError, match=r"did not end within 0\.5 s"):
            await one.run("sleep", "60", timeout_s=0.5)
        assert time.monotonic() - began < 50, "it was waited for"
        with pytest.raises(SetupError, match=r"(?s)ended at once.*out of luck"):
            await one.spawn("sh", "-c", "echo out of luck; exit 7")
            # A busy machine may not have come to it yet when it is first looked at.
            await one.http_ok(8001, "/", within_s=PATIENCE_S)
        await one.run("sh", "-c", "echo kept >/data/note")
        with pytest.raises(UsageError, match="own directory"):
            await one.wipe("/data/../etc")
        assert await one.collect(["/data/n*"]) == ["note"]
        # Another node's data is another volume, and nothing outside is reached.
        assert (await env.node("n2").run("ls", "/data")).stdout.split() == ["echo_store.py"]
        dial = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
        done = await one.run(sys.executable, "-S", "-c", dial, check=False)
        assert done.exit_code != 0 and ("unreachable" in done.stderr or "timed out" in done.stderr)

    within(arm, body)
    home = tmp_path / "run" / "nodes" / "n1"
    assert "listening" in (home / "log").read_text()
    assert (home / "data" / "note").read_text() == "kept\n"
    assert Daemon().left(arm.env.run_id) == []


def test_the_clock_of_a_foreign_process(tmp_path: Path) -> None:
    arm = docker_arm(tmp_path / "run", clock="on")

    async def offset_s() -> float:
        return float((await arm.ask("n1", "/time"))["wall_ns"] - time.time_ns()) / 1e9

    async def body(env: Any) -> None:
        if not env.parts.clocks.fake.library:
            pytest.skip("the image has no libfaketime")
        moved = await env.set_clock("n1", offset_ns=-90_000 * MS)
        assert abs(moved["offset_ns"] + 90_000 * MS) < 30_000 * MS
        assert await offset_s() == pytest.approx(-90, abs=30)
        await env.kill("n1")
        await env.start("n1")
        await env.node("n1").http_ok(8001, "/health", within_s=PATIENCE_S)
        assert await offset_s() == pytest.approx(-90, abs=30)
        await env.set_clock("n1", rate=11.0)

        async def ahead() -> bool:
            return await offset_s() > 40

        await until(ahead)
        await env.heal_all()
        assert await offset_s() == pytest.approx(0, abs=30)
        assert await env.prove_clean() == []

    within(arm, body, chaos=False)


PROJECT = "splitbraintest"


def compose() -> list[str]:
    """Docker's plugin, else the older program; skips where neither is here, or the network is not
    to be had."""
    words = ["docker", "compose"]
    if (
        shutil.which("docker") is None
        or subprocess.run([*words, "version"], capture_output=True).returncode
    ):
        if shutil.which("docker-compose") is None:
            pytest.skip("neither `docker compose` nor docker-compose is installed")
        words = ["docker-compose"]
    for network in Daemon().api.networks():
        blocks = [pool.get("Subnet") for pool in network["IPAM"]["Config"] or ()]
        if "10.77.0.0/24" in blocks and PROJECT not in network["Name"]:
            pytest.skip(f"the network {network['Name']} has the addresses of docker-compose.yml")
    return [*words, "-f", str(ROOT / "docker-compose.yml"), "-p", PROJECT]


def left_of_compose() -> list[str]:
    """What there is of the project."""
    api, label = Daemon().api, {"label": f"com.docker.compose.project={PROJECT}"}
    found = [each["Names"][0] for each in api.containers(all=True, filters=label)]
    found += [each["Name"] for each in api.networks(filters=label)]
    return found + [each["Name"] for each in api.volumes(filters=label)["Volumes"] or ()]


def client(words: list[str], service: str, *command: str) -> object:
    """The value of one command to a container's own cluster, once that serves."""
    script = 'python -m cluster.client --timeout 10 --nodes "$PEERS" "$@"'
    inside = [*words, "exec", "-T", service, "sh", "-c", script, "sh", *command]
    deadline = time.monotonic() + PATIENCE_S
    while True:
        done = subprocess.run(inside, capture_output=True, text=True)
        said = json.loads(done.stdout or '{"status": ""}')
        if said["status"] == "ok":
            return said["value"]
        assert time.monotonic() < deadline, (done.stdout, done.stderr)


@pytest.mark.parametrize(
    "profile,consensus,ask",
    [
        ("leaderless", "raft", ("l1", "l3")),
        pytest.param("data", "zab", ("d1", "d4"), marks=pytest.mark.slow),
        *(
            pytest.param("core", name, ("n1", "control"), marks=pytest.mark.slow)
            for name in ("raft", "multi-paxos", "zab", "viewstamped")
        ),
    ],
)
def test_compose_alone_gives_a_working_cluster(
    profile: str,
    consensus: str,
    ask: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    docker_arm(tmp_path / "run")
    words = compose()
    monkeypatch.setenv("CONSENSUS", consensus)
    # The core is what starts if nothing is named.
    chosen = ["--profile", profile] * (profile != "core")
    try:
        subprocess.run([*words, *chosen, "up", "-d"], check=True, capture_output=True)
        writer, reader = ask
        client(words, writer, "put", "x", "41")
        value = client(words, reader, "get", "x")
        assert value["values"] == [41] if isinstance(value, dict) else value == 41
    finally:
        subprocess.run([*words, "--profile", "*", "down", "-v"], check=True, capture_output=True)
    assert left_of_compose() == []


def test_the_way_down_in_the_documents_is_the_one_for_all_profiles() -> None:
    for name in ("docker-compose.yml", "docs/environments.md"):
        told = re.findall(r"docker compose ([^`\n]*)down -v", (ROOT / name).read_text())
        assert told == ["--profile '*' "], name
