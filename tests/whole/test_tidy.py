"""Style as a test: what a reader may rely on in every file of the five packages."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("cluster", "harness", "workloads", "checkers", "reports")
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 1000
CLASS_LINES_MAX, METHODS_MAX = 300, 25
#: what a sans-IO module may not import: the world comes in as arguments
WORLDLY = {"asyncio", "time", "random", "os", "logging", "socket", "threading", "subprocess"}
SANS_IO = (
    "cluster/consensus", "cluster/core", "cluster/channel", "cluster/clocks", "cluster/host",
    "cluster/log", "cluster/gossip", "cluster/data", "cluster/leaderless",
    "cluster/client/session.py", "cluster/client/routing.py", "cluster/client/session_name.py",
    "cluster/client/pending_command.py",
    "cluster/ports.py", "cluster/wire.py",
    "harness/interpreter/scheduler.py",
)  # fmt: skip


def modules() -> list[Path]:
    return sorted(
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if "__pycache__" not in path.parts
    )


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", modules(), ids=ids)
def test_module_is_tidy(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    lines = text.count("\n")
    assert lines <= MODULE_LINES_MAX, f"{lines} lines: split it"
    if lines > 5:
        assert ast.get_docstring(tree), "a module opens with prose that says what it is"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            size = (node.end_lineno or 0) - node.lineno + 1
            assert size <= FUNCTION_LINES_MAX, f"{node.name} has {size} lines"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except at line {node.lineno}"


def class_sizes() -> dict[str, tuple[int, int]]:
    """Lines and methods of every class, by ``file:name``."""
    sizes = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                own = (isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)) for n in node.body)
                lines = (node.end_lineno or 0) - node.lineno + 1
                sizes[f"{ids(path)}:{node.name}"] = (lines, sum(own))
    return sizes


def test_classes_are_small() -> None:
    for name, (lines, methods) in class_sizes().items():
        said = f"{name} has {lines} lines and {methods} methods: give it parts"
        assert lines <= CLASS_LINES_MAX and methods <= METHODS_MAX, said


@pytest.mark.parametrize("path", modules(), ids=ids)
def test_module_has_no_unfinished_places_and_no_pickle(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\b(TODO|FIXME|XXX|raise NotImplementedError)\b", text)
    assert not re.search(r"^\s*(import|from) (pickle|dill|marshal|shelve)\b", text, re.MULTILINE)


@pytest.mark.parametrize("path", modules(), ids=ids)
def test_public_functions_and_classes_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = [
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not any(ast.unparse(mark).endswith("overload") for mark in node.decorator_list)
    ]
    assert not bare, f"public names without a docstring: {', '.join(bare)}"


def sans_io_modules() -> list[Path]:
    return [p for p in modules() if str(p.relative_to(ROOT)).startswith(SANS_IO)]


@pytest.mark.parametrize("path", sans_io_modules(), ids=ids)
def test_cores_do_no_io(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"hash", "id", "open", "print"}, (
                f"{node.func.id}() at line {node.lineno}"
            )
        elif isinstance(node, (ast.AsyncFunctionDef, ast.Await)):
            raise AssertionError(f"await at line {node.lineno}")
    assert not imported & WORLDLY


def test_no_protocol_code_asks_whether_it_is_ablated() -> None:
    for path in modules():
        inside = path.relative_to(ROOT).parts
        if inside[0] == "cluster" and inside[1] not in {"ablations", "runtime", "simulation"}:
            assert not re.search(r"\bif .*ablat", path.read_text(encoding="utf-8")), path


def test_import_arrows_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_committed_file_is_free_of_machine_paths() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".sh", ".yml"} and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            assert "/work/" + "main" not in text and "/work/" + "venv" not in text, name
