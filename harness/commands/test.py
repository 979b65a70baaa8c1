"""``harness test``: a command whose flags are the fields of :class:`harness.spec.TestSpec`."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from cyclopts import Parameter

from harness.spec import TestSpec, flags, parse_list, parse_nodes, parse_options, read_fields
from harness.text_columns import aligned


def _annotation(field: msgspec.structs.FieldInfo, names: tuple[str, ...], text: str) -> Any:
    """The description of a flag for cyclopts."""
    kind = typing.get_args(field.type)[0] if hasattr(field.type, "__metadata__") else field.type
    if field.name in ("nodes", "concurrency") or field.name.endswith("_s"):
        kind = str
    elif field.name in _LISTS or field.name.endswith("_options"):
        kind = list[str]
    show = field.name not in ("seed", "rate_hz", "keys") and field.default not in ("", False)
    shown = _shown_default(field) if show else None
    more = f"{text} [default: {shown}]" if shown else text
    return Annotated[kind, Parameter(name=names, help=more, negative=(), show_default=False)]


_LISTS = ("nemesis", "ablate")


def _shown_default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default
    if isinstance(value, tuple):
        return "3" if field.name == "nodes" else ""
    if isinstance(value, float):
        return f"{value:g}s" if field.name.endswith("_s") else f"{value:g}"
    return "" if value in (msgspec.NODEFAULT, None) else str(value)


def _signature() -> inspect.Signature:
    parameters = []
    for field in msgspec.structs.fields(TestSpec):
        flag = flags(field)
        if flag is not None:
            parameters.append(
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=None,
                    annotation=_annotation(field, *flag),
                )
            )
    return inspect.Signature(parameters)


def spec_of(given: dict[str, Any]) -> TestSpec:
    """A spec from what the command line gave; fields that were not given have their defaults.

    Raises:
        UsageError: a value that cannot be read.
    """
    fields: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name == "nodes":
            fields[name] = parse_nodes(value)
        elif name in _LISTS:
            fields[name] = parse_list(value)
        elif name.endswith("_options"):
            fields[name] = parse_options(f"--{name[:-1].replace('_', '-')}", value)
        else:
            fields[name] = value
    return TestSpec(**read_fields(fields, len(fields.get("nodes", TestSpec().nodes))))


def _test(**given: Any) -> int:
    """Run a test: a workload against a database, under faults, checked and reported.

    Prints seed, commit and the resolved command first, then shows progress; writes a run directory
    with history, verdict and report under the store. Exit code: 0 valid, 1 violation found,
    2 unknown, 3 infrastructure failed, 254 usage.
    """
    from harness.runner import run_many

    spec = spec_of(given)
    outcomes = run_many(spec)
    if len(outcomes) > 1:
        print(summary(outcomes))
    from checkers.core.verdict import Verdict

    return Verdict.merge_all(outcome.verdict for outcome in outcomes).exit_code


#: Width of a sentence in the table of runs; the run's own summary has all of it.
SENTENCE_CHARS_MAX = 60


def summary(outcomes: list[Any]) -> str:
    """A table with a line per run, and the number of runs per verdict."""
    rows = [("verdict", "seed", "faults that bit", "why")]
    for outcome in outcomes:
        why = outcome.sentence
        if len(why) > SENTENCE_CHARS_MAX:
            why = why[: SENTENCE_CHARS_MAX - 3] + "..."
        bit = str(outcome.evidence.get("faults_bit", ""))
        rows.append((outcome.verdict.name, str(outcome.seed), bit, why))
    lines = ["", f"{len(outcomes)} runs:", *(f"  {line}" for line in aligned(rows))]
    verdicts = [outcome.verdict.value for outcome in outcomes]
    counts = [
        f"{verdicts.count(each)} {each}"
        for each in ("valid", "unknown", "invalid")
        if each in verdicts
    ]
    return "\n".join([*lines, f"  in all: {', '.join(counts)}"])


def _with_signature(function: Callable[..., int]) -> Callable[..., int]:
    signature = _signature()
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    function.__annotations__["return"] = int
    return function


test = _with_signature(_test)
test.__name__ = "test"
