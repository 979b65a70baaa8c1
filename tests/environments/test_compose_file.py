"""Goal: docker-compose.yml starts a node's command line that a node takes, for every consensus.

Method: what concerns a node is read from the file's text, since its format's parser is nobody's
dependency here; the variables are filled in as a shell would, and the node's own parser reads them.
Where a client of Compose is installed, it reads the whole file too.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from cluster.core.parts import CONSENSUS
from cluster.runtime.options import parse_options

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
ROLES = ("core", "data", "leaderless")


def services() -> dict[str, str]:
    """The text of each service, by name."""
    part = TEXT.split("\nservices:\n")[1].split("\nnetworks:\n")[0]
    blocks = re.split(r"(?m)^  (\w+):$", part)
    return dict(zip(blocks[1::2], blocks[2::2], strict=True))


def variables(service: str, consensus: str) -> dict[str, str]:
    """The environment of a service's container."""
    role, own = re.search(r"environment: \{<<: \*(\w+), (.*)\}", service).groups()  # type: ignore[union-attr]
    shared = re.search(rf"(?ms)^x-{role}: &{role}\n(.*?)\n\n", TEXT).group(1)  # type: ignore[union-attr]
    pairs = [line.strip().split(": ", 1) for line in shared.splitlines()]
    pairs += [pair.split(": ") for pair in own.split(", ")]
    found = dict(pairs)
    if role == "leaderless":
        assert found["CONSENSUS"] == "raft", "its nodes have no log to agree on"
        return found
    assert found["CONSENSUS"] == "${CONSENSUS:-raft}"
    return {**found, "CONSENSUS": consensus}


def argv(service: str, consensus: str) -> list[str]:
    """The arguments of the node's process."""
    script = re.search(r"- >-\n(.*?)\n  healthcheck", TEXT, re.DOTALL).group(1)  # type: ignore[union-attr]
    filled = variables(service, consensus)
    words = shlex.split(re.sub(r"\$\$(\w+)", lambda name: filled[name[1]], script))
    assert words[:4] == ["exec", "python", "-m", "cluster"]
    return words[4:]


@pytest.mark.parametrize("consensus", sorted(CONSENSUS))
def test_every_core_node_takes_its_command_line(consensus: str) -> None:
    for name in ("n1", "n2", "n3", "n4", "n5"):
        options = parse_options(argv(services()[name], consensus))
        assert (options.id, options.role, options.consensus) == (name, "core", consensus)
        assert options.peers[name] == options.listen and len(options.peers) == 5
        assert options.chaos


@pytest.mark.parametrize("role", ROLES)
def test_each_role_has_a_profile_with_five_nodes(role: str) -> None:
    mine = {}
    for name, text in services().items():
        profiles = re.search(r"profiles: \[(.*)\]", text)
        if name != "control" and role in (profiles[1] if profiles else "core").split(", "):
            mine[name] = argv(text, "zab")
    assert len(mine) == 5
    addresses = set()
    for name, words in mine.items():
        assert parse_options(words).role == role
        given = dict(zip(words[::2], words[1::2]))
        assert given["--role"] == role
        assert f"{given['--id']}={given['--listen']}" in given["--peers"].split(","), name
        assert f"ipv4_address: {given['--listen'].split(':')[0]}" in services()[name]
        addresses.add(given["--listen"])
    assert len(addresses) == 5


def test_the_core_is_what_starts_if_no_profile_is_named() -> None:
    assert "COMPOSE_PROFILES=core" in (ROOT / ".env").read_text().splitlines()
    assert all(role in services()["control"].split("networks")[0] for role in ROLES)


def test_compose_takes_the_file() -> None:
    for client in (["docker", "compose"], ["docker-compose"]):
        if (
            shutil.which(client[0])
            and not subprocess.run([*client, "version"], capture_output=True).returncode
        ):
            break
    else:
        pytest.skip("neither `docker compose` nor docker-compose is installed")
    words = [*client, "-f", str(ROOT / "docker-compose.yml"), "config"]
    # Docker finds its plugins by variables of the user's.
    environment = {**os.environ, "CONSENSUS": "zab"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "CONSENSUS: zab" in done.stdout
