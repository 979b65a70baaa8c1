"""Mutation testing of the checkers: break them in one small way at a time, and see who notices.

    python bench/mutation.py [FOLDER_OR_FILE...] [--sample 40] [--seed 1] [--timeout-s 120]

A checker that a test suite cannot tell from a broken one is not tested. Each mutation flips a
comparison, shifts a number by one, swaps and/or or plus/minus, drops a ``not``, forces a condition,
or empties a statement, in a temporary copy of the project; then the fast tests of that part run,
stopping at the first failure. What survives is printed with its place: either a test is missing, or
the mutation changes nothing (an equivalent mutant, such as a different bound on what is shown).

Without arguments all of ``checkers`` is mutated, a sample at random. Numbers that only bound how
much is shown or how often a budget is asked (names in capitals) are left alone. Exit code 1 if
anything survived.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: part of the checkers -> the tests that should notice
TESTS = {
    "checkers/isolation": ["tests/checkers_txn"],
    "checkers/linearizability": ["tests/checkers_lin"],
    "checkers/history": ["tests/checkers_history"],
    "checkers": ["tests/checkers_other", "tests/checkers_lin", "tests/checkers_history"],
}

COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
OPERATE: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.Mult: ast.FloorDiv,
}  # fmt: skip

Change = tuple[str, Callable[[], None], Callable[[], None]]


def changes(node: ast.AST) -> Iterator[Change]:
    """The mutations of one node: what is said of it, how to do it, how to undo it."""
    if isinstance(node, ast.Compare):
        for at, op in enumerate(node.ops):
            other = COMPARE.get(type(op))
            if other is not None:
                yield _swap(node.ops, at, other())
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATE:
        yield _field(node, "op", OPERATE[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        yield _field(node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        yield _field(node, "op", ast.UAdd())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield _field(node, "operand", ast.UnaryOp(ast.Not(), node.operand))
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield _field(node, "value", node.value + 1)
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        yield _field(node, "value", not node.value)
    elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
        if not isinstance(node, ast.While):
            yield _field(node, "test", ast.Constant(True))
        yield _field(node, "test", ast.Constant(False))


def _field(node: ast.AST, name: str, new: object) -> Change:
    old = getattr(node, name)

    def do() -> None:
        setattr(node, name, new)

    def undo() -> None:
        setattr(node, name, old)

    return f"{_word(old)} -> {_word(new)}", do, undo


def _swap(items: list[ast.cmpop], at: int, new: ast.cmpop) -> Change:
    old = items[at]

    def do() -> None:
        items[at] = new

    def undo() -> None:
        items[at] = old

    return f"{_word(old)} -> {_word(new)}", do, undo


def _word(item: object) -> str:
    if isinstance(item, ast.expr):
        return ast.unparse(item)
    return type(item).__name__ if isinstance(item, ast.AST) else repr(item)


def statements(tree: ast.Module) -> Iterator[tuple[int, Change]]:
    """Calls and in-place changes left out, one at a time."""
    for node in ast.walk(tree):
        for body in (getattr(node, name, None) for name in ("body", "orelse")):
            if not isinstance(body, list):
                continue
            for at, statement in enumerate(body):
                is_call = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
                if is_call or isinstance(statement, (ast.AugAssign, ast.Continue, ast.Break)):
                    yield statement.lineno, _drop(body, at, statement)


def _drop(body: list[ast.stmt], at: int, statement: ast.stmt) -> Change:
    empty = ast.copy_location(ast.Pass(), statement)

    def do() -> None:
        body[at] = empty

    def undo() -> None:
        body[at] = statement

    return f"dropped: {ast.unparse(statement).splitlines()[0][:70]}", do, undo


def bounds(tree: ast.Module) -> set[ast.AST]:
    """Nodes that are no logic: module-level names in capitals, and type annotations."""
    kept: set[ast.AST] = set()
    for statement in tree.body:
        targets = getattr(statement, "targets", None) or [getattr(statement, "target", None)]
        if any(isinstance(t, ast.Name) and t.id.isupper() for t in targets):
            kept.update(ast.walk(statement))
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            hint = getattr(node, name, None)
            if isinstance(hint, ast.AST):
                kept.update(ast.walk(hint))
    return kept


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """Every mutant of a file: line, what changed, the mutated source."""
    tree = ast.parse(source)
    skipped = bounds(tree)
    places: list[tuple[int, Change]] = []
    for node in ast.walk(tree):
        if node not in skipped:
            places += [(getattr(node, "lineno", 0), change) for change in changes(node)]
    places += list(statements(tree))
    for line, (words, do, undo) in places:
        do()
        mutated = ast.unparse(ast.fix_missing_locations(tree))
        undo()
        yield line, words, mutated


def tests_of(file: Path) -> list[str]:
    """The test folders that should notice a change of this file."""
    name = file.as_posix()
    return next(tests for part, tests in TESTS.items() if name.startswith(part))


def notices(copy: Path, tests: list[str], timeout_s: float) -> str:
    """How the tests notice: ``failed``, ``hung``, or "" if they do not."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
               "-m", "not slow and not real", *tests]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, timeout=timeout_s, check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "hung"
    return "failed" if done.returncode else ""


def files_of(arguments: list[str]) -> list[Path]:
    """Python files under the arguments, relative to the project."""
    found: list[Path] = []
    for argument in arguments or ["checkers"]:
        path = (ROOT / argument).resolve()
        if not path.exists():
            raise SystemExit(f"{argument!r} is no file or folder of the project")
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return [path.relative_to(ROOT) for path in found]


def copy_project(target: Path) -> None:
    """What the tests of the checkers need, the command and its reports too, without caches."""
    ignored = shutil.ignore_patterns("__pycache__", ".git", ".hypothesis", "*.pyc")
    for name in (
        "checkers",
        "workloads",
        "reports",
        "harness",
        "cluster",
        "docs",
        "bench",
        "tests",
    ):
        shutil.copytree(ROOT / name, target / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", target)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="*", help="files or folders under checkers")
    parser.add_argument("--sample", type=int, default=40, help="how many mutants; 0 for all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout-s", type=float, default=180.0)
    parser.add_argument("--tests", nargs="*", help="tests to run instead of the part's own")
    options = parser.parse_args()
    everything = [
        (file, *mutant)
        for file in files_of(options.paths)
        for mutant in mutants((ROOT / file).read_text())
    ]
    rng = random.Random(options.seed)
    chosen = rng.sample(everything, min(options.sample or len(everything), len(everything)))
    print(f"{len(chosen)} of {len(everything)} mutants", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        copy_project(copy)
        survivors = run(copy, chosen, options.timeout_s, options.tests)
    print(f"{len(survivors)} of {len(chosen)} survived")
    for line in survivors:
        print(f"  {line}")
    sys.exit(1 if survivors else 0)


def run(
    copy: Path, chosen: list[tuple[Path, int, str, str]], timeout_s: float, tests: list[str] | None
) -> list[str]:
    """Try each mutant; returns the survivors' descriptions."""
    for part in sorted({str(tests or tests_of(file)) for file, *_ in chosen}):
        named = ast.literal_eval(part)
        if notices(copy, named, 10 * timeout_s):
            raise SystemExit(f"the tests {' '.join(named)} fail without any mutation")
    survivors: list[str] = []
    for number, (file, line, words, mutated) in enumerate(chosen, 1):
        original = (copy / file).read_text()
        (copy / file).write_text(mutated)
        began_s = time.monotonic()
        outcome = notices(copy, tests or tests_of(file), timeout_s)
        (copy / file).write_text(original)
        place = f"{file}:{line} {words}"
        if not outcome:
            survivors.append(place)
        took_s = time.monotonic() - began_s
        print(f"{number:4d} {outcome or 'SURVIVED':8s} {took_s:6.1f} s  {place}", flush=True)
    return survivors


if __name__ == "__main__":
    main()
