"""A copy of the cluster in an image or on a host: the one that the report names, or a refusal."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.databases import source_digest
from harness.databases.reference import Reference
from harness.environments.base import Completed
from harness.errors import SetupError, UsageError

ROOT = Path(__file__).resolve().parents[2]


class Elsewhere:
    """A node in a container or on a host: it runs what it is given with its own copy."""

    name, nodes = "n2", ("n1", "n2", "n3")

    def __init__(self, copy: Path, address: str = "10.0.0.2") -> None:
        self.copy, self.address = copy, address
        self.ran = 0

    async def run(self, *argv: str, **how: Any) -> Completed:
        self.ran += 1
        done = subprocess.run(argv, cwd=self.copy, env={}, capture_output=True, text=True)
        assert done.returncode == 0 or not how.get("check", True), done.stderr
        return Completed(argv, done.returncode, done.stdout, done.stderr)


def copied(where: Path) -> Path:
    package = where / "cluster"
    for file in (ROOT / "cluster").rglob("*.py"):
        to = package / file.relative_to(ROOT / "cluster")
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(file.read_bytes())
    return where


def set_up(db: Reference, node: Elsewhere) -> None:
    asyncio.run(db.setup(node))  # type: ignore[arg-type]


def test_the_copy_of_this_version_is_taken_and_another_is_refused(tmp_path: Path) -> None:
    node = Elsewhere(copied(tmp_path))
    set_up(Reference(), node)
    lease = tmp_path / "cluster" / "core" / "lease.py"
    lease.write_text(lease.read_text() + "\n# another version\n")
    with pytest.raises(SetupError, match=r"cluster on n2 .*`bash scripts/docker_build.sh`") as said:
        set_up(Reference(), node)
    assert "\n" not in str(said.value)
    set_up(Reference(sources="any"), node)
    assert node.ran == 2
    with pytest.raises(UsageError, match="unknown sources 'al'"):
        Reference(sources="al")


class Bare(Elsewhere):
    """A node whose interpreter has no packages, whatever this machine's has."""

    async def run(self, *argv: str, **how: Any) -> Completed:
        return await super().run(argv[0], "-S", *argv[1:], **how)


def test_a_node_without_any_copy_is_refused_in_one_sentence(tmp_path: Path) -> None:
    node = Bare(tmp_path)
    with pytest.raises(
        SetupError, match=r"no copy .* on n2 \(there is no package 'cluster'"
    ) as said:
        set_up(Reference(), node)
    assert "docker_build.sh" in str(said.value) and "\n" not in str(said.value)
    assert len(str(said.value)) < 400


def test_a_node_on_loopback_is_this_version_and_is_not_asked(tmp_path: Path) -> None:
    node = Elsewhere(tmp_path, address="127.1.0.2")
    set_up(Reference(), node)
    assert node.ran == 0


def test_the_digest_is_of_names_and_texts(tmp_path: Path) -> None:
    own = source_digest.source_digest(ROOT / "cluster")
    assert own == source_digest.source_digest(source_digest.package_directory())
    package = copied(tmp_path) / "cluster"
    assert source_digest.source_digest(package) == own
    (package / "core" / "lease.py").rename(package / "core" / "rent.py")
    assert source_digest.source_digest(package) != own


def test_where_there_is_no_copy_the_script_says_so(tmp_path: Path) -> None:
    script = Path(source_digest.__file__).read_text()
    argv = [sys.executable, "-I", "-S", "-c", script]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "there is no package 'cluster' here" in done.stderr
