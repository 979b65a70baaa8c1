"""No modules import each other in a circle. Imports for types alone and inside functions count."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("cluster", "harness", "workloads", "checkers", "reports")


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.Module, modules: set[str], folder: str = "") -> Iterator[str]:
    """The modules of ours that a module of this folder imports anywhere in its text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            assert node.level < 2, "no module imports from a folder above its own"
            source = ".".join(filter(None, (folder * node.level, node.module)))
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                if inner in modules:
                    yield inner
                elif source in modules:
                    yield source


def graph() -> dict[str, set[str]]:
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    modules = {name_of(path) for path in paths}
    found = {}
    for path in paths:
        tree, folder = ast.parse(path.read_text(encoding="utf-8")), name_of(path.parent / "_")
        name = name_of(path)
        found[name] = set(imported(tree, modules, folder.removesuffix("._"))) - {name}
    return found


def in_circles(graph: dict[str, set[str]]) -> set[str]:
    """The modules from which an import path leads back to themselves."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        left = list(graph[start])
        while left:
            module = left.pop()
            if module not in seen:
                seen.add(module)
                left += graph[module]
        return seen

    return {module for module in graph if module in reachable(module)}


def test_a_circle_is_seen() -> None:
    assert in_circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {"b", "c"}
    tree = ast.parse("def f():\n    from x import y\nimport z\nfrom x.v import w")
    assert set(imported(tree, {"x", "x.y", "x.v", "z"})) == {"x.y", "x.v", "z"}
    tree = ast.parse("from . import y\nfrom .v import w")
    assert set(imported(tree, {"x", "x.y", "x.v"}, "x")) == {"x.y", "x.v"}


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert in_circles(graph()) == set()
