"""A run's directory from a stranger: replay, shrink, report and check treat its files as data.

Nothing that it names is imported or run unless the command line says so, no file from elsewhere is
shown, and whatever is in place of its files, each command ends with a sentence and a known code.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "environments"))
from forged import NASTY, SHELL, changed, places, shims, write

from checkers.core.regular_files import read_regular
from harness.campaign.replay import faults_of_run, spec_of_run
from harness.campaign.trust import Trust
from harness.cli import main
from harness.errors import UsageError
from harness.nemesis.base import Context, Plan
from harness.nemesis.packets import packets
from harness.spec import TestSpec
from harness.store import find_run

KNOWN = (0, 1, 2, 3, 254)
SECRET = "BEGIN PRIVATE KEY"
#: file of a run -> the commands that read it
FILES = {
    "environment.json": ("heal",),
    "spec.json": ("report", "replay"),
    "results.json": ("report",),
    "history.jsonl": ("check", "report"),
    "faults.jsonl": ("report", "heal"),
    "nodes": ("report",),
}
WORDS = "test --env sim --seed 7 --nemesis partition,kill --time-limit 1 --rate 20 --quiet --store"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated run."""
    store = tmp_path_factory.mktemp("recorded")
    assert main([*WORDS.split(), str(store)]) in (0, 2)
    return find_run("latest", store=str(store))


@pytest.fixture
def run_dir(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it, and a current directory that is a stranger's."""
    copied = tmp_path / "store" / "t" / "run"
    shutil.copytree(recorded, copied)
    here = tmp_path / "here"
    here.mkdir()
    (here / "evil.py").write_text("open('PWNED', 'w').close()\nclass Evil:\n    pass\n")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield copied
    sys.modules.pop("evil", None)


def with_spec(run_dir: Path, **fields: Any) -> Path:
    path = run_dir / "spec.json"
    write(path, {**json.loads(path.read_bytes()), **fields})
    return run_dir


# What a spec names --------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["replay", "shrink"])
@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"db": "evil:Evil"}, "import evil (database 'evil:Evil')"),
        ({"db": "subprocess:run", "db_options": {"args": "id"}}, "import subprocess (database"),
        ({"db": "harness.heal:os.system", "db_options": {"command": "id"}}, "import harness.heal"),
        ({"workload": "evil:Evil"}, "import evil (workload"),
        ({"client": "evil:Evil"}, "import evil (client"),
        ({"nemesis": ["kill", "evil:Evil"]}, "import evil (nemesis"),
        ({"env": "evil:Evil"}, "import evil (environment"),
        ({"client": "evil"}, "no module:attribute"),
        ({"client": "../evil:x"}, "no module:attribute"),
        ({"db": ".evil:x"}, "no module:attribute"),
        ({"db": "etcd", "db_options": {"binary": "./evil"}}, "use --db-option binary='./evil'"),
        ({"db": "consul", "db_options": {"binary": "reboot"}}, "binary='reboot'"),
        ({"db": "etcd", "db_options": {"args": ["--x"]}}, "use --db-option args=['--x']"),
        ({"env": "docker", "env_options": {"image": "evil"}}, "--env-option image='evil'"),
        ({"env": "ssh", "env_options": {"hosts": "a@b"}}, "--env ssh, which logs in to hosts"),
    ],
)
def test_what_is_not_ours_is_said_and_not_run(
    command: str, fields: Any, said: str, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(with_spec(run_dir, **fields))]) == 254
    complaint = capsys.readouterr().err
    assert said in complaint, complaint
    if "no module:attribute" not in said:
        assert f"`harness {command} " in complaint and "--trust" in complaint
    assert "evil" not in sys.modules and os.listdir(".") == ["evil.py"]


def test_a_module_named_on_the_command_line_is_imported_and_no_other(
    run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_spec(run_dir, db="evil:Evil", client="evil2:Evil")
    assert main(["replay", str(run_dir), "--trust-module", "evil2"]) == 254
    assert not Path("PWNED").exists()
    said = capsys.readouterr().err
    assert "import evil (database 'evil:Evil')" in said and "import evil2" not in said
    assert "--trust-module evil --trust-module evil2" in said
    # Imported now; that it is no database is said as of any.
    assert main(["replay", str(with_spec(run_dir, client="")), "--trust-module", "evil"]) == 254
    assert Path("PWNED").exists()
    assert "without setup, start, ready, teardown" in capsys.readouterr().err


def test_options_that_the_code_checks_need_no_trust(run_dir: Path) -> None:
    options = {"read_mode": "serializable", "heartbeat_ms": 200}
    with_spec(run_dir, db="etcd", db_options=options, env="local", env_options={"clock": "off"})
    assert spec_of_run(run_dir).db_options == options
    with_spec(run_dir, db_options={"read_mode": SHELL})
    with pytest.raises(UsageError, match="read_mode"):
        spec_of_run(run_dir)
    assert spec_of_run(run_dir, Trust(everything=True)).db == "etcd"


def test_nothing_is_imported_from_a_strangers_directory(run_dir: Path) -> None:
    """Modules of ours and of others are looked for where they are installed."""
    for name in ("reports", "jinja2", "pyarrow", "numba", "rich", "sitecustomize"):
        shutil.copy("evil.py", f"{name}.py")
    for words in (["report", str(run_dir)], ["check", str(run_dir)], ["heal", str(run_dir)]):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "harness", *words], capture_output=True, timeout=120
        )
        assert done.returncode in KNOWN and not Path("PWNED").exists(), (words, done.stderr)


def test_a_fault_from_a_file_has_numbers_where_numbers_belong() -> None:
    """They become words of a script that root runs."""
    kind = {"kind": "rate", "rate_bytes_per_s": f"1; {SHELL}"}
    plan = Plan(1, "packets", 0, 1, "n1", kind)
    context = Context(env=None, db=None, rng=random.Random(1), nodes=["n1", "n2"])  # type: ignore[arg-type]
    with pytest.raises(msgspec.ValidationError, match="rate_bytes_per_s"):
        asyncio.run(packets().inject(context, plan))


# What lies in place of files ----------------------------------------------------------------------


def put(path: Path, kind: str, secret: Path) -> None:
    """Put something else in a file's place."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "link":
            path.symlink_to(secret)
        case "directory":
            path.mkdir()
        case "huge":
            with path.open("wb") as file:
                file.truncate(1 << 40)
        case "deep":
            path.write_bytes(b'{"a":' * 50_000 + b"1" + b"}" * 50_000)


@pytest.mark.parametrize("kind", ["fifo", "device", "link", "directory", "huge", "deep"])
@pytest.mark.parametrize("name", FILES)
def test_whatever_lies_in_place_of_a_file_is_a_sentence(
    name: str, kind: str, run_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    put(run_dir / name, kind, secret)
    for command in FILES[name]:
        assert main([command, str(run_dir)]) in KNOWN, command
    printed = capfd.readouterr()
    shown = [path.read_text("utf-8", "replace") for path in run_dir.glob("*.[hmx]*")]
    assert not any(SECRET in text for text in [printed.out, printed.err, *shown])
    assert "bug in" not in printed.err and secret.read_text() == SECRET


def test_a_nodes_log_that_is_a_link_is_not_shown(run_dir: Path, tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere"
    secret.mkdir()
    for name in ("log", "events.jsonl"):
        (secret / name).write_text(f'{{"event":"{SECRET}"}}\n')
    node = run_dir / "nodes" / "n1"
    node.mkdir(parents=True, exist_ok=True)
    for name in ("log", "events.jsonl"):
        (node / name).unlink(missing_ok=True)
        (node / name).symlink_to(secret / name)
    (run_dir / "nodes" / "n9").symlink_to(secret)
    assert main(["report", str(run_dir)]) == 0
    for name in ("report.html", "summary.md", "junit.xml"):
        assert SECRET not in (run_dir / name).read_text()


def test_a_report_is_written_over_no_link(run_dir: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text(SECRET)
    for name in ("report.html", "summary.md", "junit.xml"):
        (run_dir / name).unlink(missing_ok=True)
        (run_dir / name).symlink_to(outside)
        for pid in (os.getpid(), 1):
            (run_dir / f".{name}.{pid}").symlink_to(outside)
    assert main(["report", str(run_dir)]) == 0
    assert outside.read_text() == SECRET and not (run_dir / "report.html").is_symlink()


def test_latest_leads_to_a_run_of_its_own_store(run_dir: Path, tmp_path: Path) -> None:
    store = tmp_path / "another"
    (store / "test").mkdir(parents=True)
    (store / "latest").symlink_to(run_dir)
    (store / "test" / "latest").symlink_to(run_dir)
    for name in ("latest", "test", str(store / "latest")):
        with pytest.raises(UsageError, match="leads out of"):
            find_run(name, store=str(store))
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(UsageError, match="there is no run"):
            find_run(name, store=str(store))


def test_few_descriptors_are_said(run_dir: Path, tmp_path: Path) -> None:
    commands = ["check @ @", "report @", "heal @", "replay @ -q", f"test --store {tmp_path}/s -q"]
    for words in commands:
        line = words.replace("@", str(run_dir))
        done = subprocess.run(
            ["sh", "-c", f'ulimit -n 20; exec "$0" -m harness {line}', sys.executable],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode in KNOWN, (words, done.stderr)
        if words.startswith("test"):
            assert "too many open files: 20 are allowed" in done.stderr and done.returncode == 3


# Every field --------------------------------------------------------------------------------------


def fuzz(run_dir: Path, tmp_path: Path, name: str, cases: int | None) -> None:
    """Put something wrong into each field of a JSON file, and run what reads it."""
    canary = tmp_path / "outside"
    canary.write_text(SECRET)
    given = json.loads((run_dir / name).read_bytes())
    every = [(path, new) for path in places(given) for new in NASTY]
    some = every if cases is None else random.Random(name).sample(every, cases)
    for path, new in some:
        write(run_dir / name, changed(given, path, new))
        for command in ("report",) if name == "results.json" else ("report", "replay"):
            assert main([command, str(run_dir)]) in KNOWN, (command, path, repr(new)[:60])
        assert canary.read_text() == SECRET and os.listdir(".") == ["evil.py"], (path, new)


@pytest.mark.parametrize("name", ["spec.json", "results.json"])
def test_no_field_of_a_file_breaks_a_command(
    name: str, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shims").mkdir()
    called = shims(tmp_path / "shims")
    monkeypatch.setenv("PATH", f"{tmp_path}/shims:{os.environ['PATH']}")
    fuzz(run_dir, tmp_path, name, 25)
    assert called.read_text() == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spec.json", "results.json"])
def test_no_field_of_any_file_breaks_a_command(name: str, run_dir: Path, tmp_path: Path) -> None:
    fuzz(run_dir, tmp_path, name, None)


def test_no_field_of_a_journal_breaks_a_replay(run_dir: Path) -> None:
    path = run_dir / "faults.jsonl"
    lines = path.read_bytes().splitlines()
    assert faults_of_run(run_dir)
    refused = 0
    for number, line in enumerate(lines):
        entry = json.loads(line)
        for place in places(entry):
            for new in NASTY:
                wrong = json.dumps(changed(entry, place, new)).encode()
                path.write_bytes(b"\n".join([*lines[:number], wrong, *lines[number + 1 :]]))
                try:
                    faults_of_run(run_dir)
                except UsageError as error:
                    refused += f"line {number + 1}: " in str(error)
    assert refused > 100


def test_amounts_beyond_reason_are_refused() -> None:
    from harness.spec import validated

    for field in ("time_limit_s", "nemesis_interval_s", "op_timeout_s", "rate_hz"):
        with pytest.raises(UsageError, match="surely a mistake"):
            validated(TestSpec(**{field: 1e300}))


def test_a_path_may_be_written_from_here_or_from_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's default is a relative path, and so are the paths of a run's files then."""
    monkeypatch.chdir(tmp_path)
    run = Path("store/test/run")
    run.mkdir(parents=True)
    (run / "spec.json").write_text("{}")
    for written in (run / "spec.json", Path("spec.json"), (tmp_path / run / "spec.json")):
        below = tmp_path / run if written.is_absolute() else run
        assert read_regular(written, limit=10, below=below) == b"{}"
    (tmp_path / "spec.json").write_text("secret")
    (run / "link.json").symlink_to(tmp_path / "spec.json")
    for written in (run / "link.json", Path("link.json"), Path("../spec.json"), Path("store")):
        with pytest.raises(OSError):
            read_regular(written, limit=10, below=run)
