"""``harness list``: the names that other commands take, and with ``-v`` what each of them is.

Everything said with ``-v`` is read from the thing itself: the first sentence of its docstring, the
options of its signature, the operations its generator really makes. Nothing is written twice.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from harness.errors import UsageError, nearest

if TYPE_CHECKING:
    from harness.terminal import Terminal

#: Operations of a workload that are looked at to say which functions it calls.
SAMPLED_OPS = 400


class Entry(msgspec.Struct, frozen=True):
    """One thing that has a name.

    Args:
        name: the name other commands take.
        about: what it is, in a sentence or two.
        options: its options with their defaults, as a person writes them.
        operations: what its clients do, or what it checks; empty where that is no question.
        values: option -> the words it may be, of those that are one of a few.
    """

    name: str
    about: str
    options: Mapping[str, Any] = {}
    operations: tuple[str, ...] = ()
    values: Mapping[str, Sequence[str]] = {}


def _first_paragraph(text: str | None) -> str:
    """The first paragraph of a docstring, in one line, without its markup."""
    paragraph = inspect.cleandoc(text or "").partition("\n\n")[0]
    paragraph = re.sub(r":\w+:`~?([^`]+)`", r"\1", paragraph).replace("``", "")
    return " ".join(paragraph.split())


def _options(made_of: Callable[..., Any], *, given: tuple[str, ...] = ()) -> dict[str, Any]:
    """Keyword options of a signature; ``given`` are those that the harness fills in."""
    parameters = inspect.signature(made_of).parameters.values()
    return {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in given
    }


def _registered(kind: str) -> list[tuple[str, Any, str]]:
    """Name, object and its module's first paragraph, of a kind that has a table."""
    from harness import registry

    found = []
    for name, place in sorted(registry.table(kind).items()):
        module = importlib.import_module(place.partition(":")[0])
        found.append((name, registry.find(kind, name), _first_paragraph(module.__doc__)))
    return found


def _databases() -> list[Entry]:
    entries, found = [], _registered("database")
    for name, made_of, about in found:
        options = _options(made_of, given=("objects", "nodes", "consensus", "ablate"))
        shared = [module for _, _, module in found].count(about) > 1
        own = _first_paragraph(made_of.__doc__)
        values = getattr(made_of, "option_values", {})
        entries.append(Entry(name, own if shared else about, options, values=values))
    return entries


def _workloads() -> list[Entry]:
    entries, found = [], _registered("workload")
    abouts = [about for _, _, about in found]
    for name, made_of, about in found:
        said = _first_paragraph(made_of.__doc__) if abouts.count(about) > 1 else _after_name(about)
        entries.append(Entry(name, said, _options(made_of), _operations(made_of())))
    return entries


def _after_name(text: str) -> str:
    """A sentence that begins with the name of its subject, without that name."""
    said = re.sub(r"^The (workload|checker) \S+?[:.]\s*", "", text)
    return said[:1].upper() + said[1:]


def _operations(workload: Any) -> tuple[str, ...]:
    """The functions that a workload's clients call, found by asking its generators."""
    from workloads.generator.simulate import simulate

    functions = set(workload.operations)
    for generator in (workload.generator, workload.final):
        if generator is not None:
            events = simulate(generator, limit=SAMPLED_OPS)
            functions |= {event.f for event in events if event.type == "invoke"}
    return tuple(sorted(functions))


def _nemeses() -> list[Entry]:
    from harness.nemesis import NEMESES, VARIANTS

    entries = []
    for name, place in sorted(NEMESES.items()):
        module = importlib.import_module(place.partition(":")[0])
        factory = getattr(module, place.partition(":")[2])
        own = _first_paragraph(factory.__doc__)
        about = _first_paragraph(module.__doc__) if len(own) < len(name) + 20 else own
        entries.append(Entry(name, about, {"kinds": ", ".join(VARIANTS[name]) or "none"}))
    return entries


def _environments() -> list[Entry]:
    entries = []
    for name, factory, about in _registered("environment"):
        taken = vars(inspect.getmodule(factory)).get("OPTIONS", {})
        known = taken if isinstance(taken, Mapping) else dict.fromkeys(taken, "")
        entries.append(Entry(name, about, known))
    return entries


def _ablations() -> list[Entry]:
    from cluster.ablations.registry import all_ablations

    return [
        Entry(ablation.name, f"{ablation.removes} Without it: {ablation.breaks}")
        for ablation in all_ablations()
    ]


def _checkers() -> list[Entry]:
    from checkers.checker_choice import checkers_by_name, factory, options_of

    return [
        Entry(name, _about_checker(name, factory(name)), options_of(name))
        for name in sorted(checkers_by_name())
    ]


def _about_checker(name: str, factory: Callable[..., Any]) -> str:
    """The description of a checker: its own, or that of its family."""
    own = _after_name(_first_paragraph(factory.__doc__))
    if own:
        return own
    module = inspect.getmodule(factory)
    from checkers.isolation.consistency import FORBIDS
    from checkers.linearizability import models

    if module is not None and factory.__doc__:
        return _first_paragraph(module.__doc__)
    plain = name.removeprefix("linearizable-")
    if plain in models.NAMES:
        return f"Linearizability of: {_first_paragraph(models.NAMES[plain].__doc__)}"
    if name.removeprefix("transactional-") in {"causal", *FORBIDS}:
        return f"Transactions of reads and writes, at the level {name}."
    return "Transactions, by Elle's method; --consistency-model says the level."


def _models() -> list[Entry]:
    from checkers.checker_choice import options_of
    from checkers.linearizability import models

    return [
        Entry(name, _first_paragraph(factory.__doc__), _model_options(name, options_of))
        for name, factory in models.NAMES.items()
    ]


def _model_options(name: str, options_of: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    from checkers.checker_choice import checkers_by_name

    known = checkers_by_name()
    return options_of(name if name in known else f"linearizable-{name}")


KINDS: dict[str, Callable[[], list[Entry]]] = {
    "databases": _databases,
    "workloads": _workloads,
    "nemeses": _nemeses,
    "environments": _environments,
    "ablations": _ablations,
    "checkers": _checkers,
    "models": _models,
}


def _names(kind: str) -> list[str]:
    """Names of a kind; nothing is imported that only ``-v`` needs."""
    if kind in ("databases", "workloads", "environments"):
        from harness.registry import table

        return sorted(table(kind.removesuffix("s")))
    if kind == "nemeses":
        from harness.nemesis import names

        return names()
    return [entry.name for entry in KINDS[kind]()]


def list_(
    kind: Annotated[str | None, Parameter(help=f"One of {', '.join(KINDS)}.")] = None,
    *,
    env: Annotated[
        str | None,
        Parameter(name="--env", help="With `nemeses`: what each can do in this environment, here."),
    ] = None,
    verbose: Annotated[
        bool,
        Parameter(
            name=("--verbose", "-v"), negative=(), help="What each is, its options and operations."
        ),
    ] = False,
) -> int:
    """Names that can be given to other commands: of one kind one a line, or all in a table."""
    if kind is not None and kind not in KINDS:
        raise nearest("kind of thing to list", kind, KINDS)
    if env is not None:
        return _list_abilities(kind, env)
    from harness.terminal import Terminal

    if verbose:
        for each in [kind] if kind else KINDS:
            _print_entries(Terminal(), each)
    elif kind is not None:
        for name in _names(kind):
            print(name)
    else:
        _print_names(Terminal())
    return 0


def _print_names(console: Terminal) -> None:
    from harness.terminal import bare_table

    table = bare_table(narrow=1)
    for kind in KINDS:
        table.add_row(kind, ", ".join(_names(kind)))
    console.print(table)


def _print_entries(console: Terminal, kind: str) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(Text(kind, style="bold"))
    for entry in KINDS[kind]():
        console.print(Text(f"  {entry.name}", style="bold"))
        for line in _lines(entry):
            console.print(Padding(Text(line), (0, 0, 0, 6)))


def _lines(entry: Entry) -> list[str]:
    lines = [entry.about] if entry.about else []
    if entry.operations:
        lines.append(f"operations: {', '.join(entry.operations)}")
    if list(entry.options) == ["kinds"]:
        lines.append(f"kinds: {entry.options['kinds']}")
    elif entry.options:
        options = [f"{name}={_shown(value)}".rstrip("=") for name, value in entry.options.items()]
        lines.append(f"options: {', '.join(options)}")
    lines += [f"{option} is one of {', '.join(words)}" for option, words in entry.values.items()]
    return lines


def _shown(value: Any) -> str:
    """A default as a person would write it."""
    if value is None:
        return "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "(a function)" if callable(value) else str(value).replace(",", ", ")


def _list_abilities(kind: str | None, env: str) -> int:
    if kind not in (None, "nemeses"):
        raise UsageError(
            f"--env is {env!r}, which goes with `harness list nemeses` and not with {kind!r}"
        )
    from harness.commands.abilities import table
    from harness.terminal import Terminal

    Terminal().print(table(env))
    return 0
