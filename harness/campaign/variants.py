"""Variants in a comparison: each is a name and the fields of a TestSpec in which it differs.

    raft                                 a consensus of the reference cluster
    raft+A30+lease-reads                 with an ablation, and with a read mode
    quick: time-limit=5, keys=3          a name and fields, named as on the command line
    new: env-option.image=mykv:1.3       an option of the environment, the database or the workload

Used by ``harness compare``.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from harness.errors import UsageError, nearest
from harness.spec import (
    TestSpec,
    flag_of,
    flags,
    parse_list,
    parse_nodes,
    parse_options,
    read_fields,
    validated,
)

#: Words of a short variant that are no ablation, and the database option each stands for.
READ_MODES = {"lease-reads": "lease", "stale-reads": "stale"}
_OPTIONS = {
    "db-option": "db_options", "workload-option": "workload_options", "env-option": "env_options",
}  # fmt: skip
#: Fields of which each value has a table of its own, with all variants.
_TABLES = ("workload", "nemesis")
#: Fields that say nothing about what is compared, or that the comparison itself decides.
_OURS = frozenset({"seed", "test_count", "store", "name", "quiet", "plans", "leave_running"})


class Variant(msgspec.Struct, frozen=True):
    """One of the things compared.

    Args:
        name: how tables call it.
        fields: fields of the TestSpec that it sets; options are added to those of the base.
    """

    name: str
    fields: dict[str, Any]

    def applied(self, base: TestSpec) -> TestSpec:
        """The base with this variant's fields.

        Raises:
            UsageError: a value does not fit its field.
        """
        plain = {f: getattr(base, f) for f in base.__struct_fields__}
        for name, value in self.fields.items():  # of a file, perhaps, and then anything
            if name not in plain:
                raise UsageError(f"--variant {self.name}: there is no field {name!r}")
            options = name in _OPTIONS.values() and isinstance(value, dict)
            plain[name] = {**plain[name], **value} if options else value
        try:
            spec = msgspec.convert(plain, TestSpec, strict=False)
        except msgspec.ValidationError as error:
            raise UsageError(f"--variant {self.name}: {error}") from None
        return validated(spec)


def parse_variants(texts: list[str]) -> tuple[Variant, ...]:
    """All variants of a comparison, in the order given.

    Raises:
        UsageError: one cannot be read, or two have one name.
    """
    found = tuple(map(parse_variant, texts))
    names = [variant.name for variant in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--variant {name!r} is given twice; give one another name: 'x: ...'")
    return found


def parse_variant(text: str) -> Variant:
    """A variant from its text.

    Raises:
        UsageError: it cannot be read; the message says which word, and what was probably meant.
    """
    named = re.fullmatch(r"\s*([^\s:=][^:=]*?)\s*:\s*(.*)", text, re.DOTALL)
    if named is not None:
        return Variant(_name(named[1]), _fields(text, named[2]))
    if "=" in text:
        raise UsageError(f"--variant {text!r} has fields and no name; write 'name: {text.strip()}'")
    return Variant(_name(text.strip()), _short(text))


def _name(name: str) -> str:
    if not re.fullmatch(r"[\w.+~ -]{1,60}", name):
        raise UsageError(
            f"--variant {name!r} is no name for a variant: letters, digits, spaces, and . + ~ -"
        )
    return name


def _short(text: str) -> dict[str, Any]:
    """``raft+A30+lease-reads``: a consensus, and what is changed in it."""
    from cluster.ablations.registry import UnknownAblation, find
    from cluster.core.parts import CONSENSUS

    first, *words = [word.strip() for word in text.split("+")]
    if first not in CONSENSUS:
        raise nearest("--variant", first, CONSENSUS)
    fields: dict[str, Any] = {"consensus": first}
    ablate: list[str] = []
    for word in words:
        if word in READ_MODES:
            fields["db_options"] = {"read_mode": READ_MODES[word]}
            continue
        try:
            ablate.append(find(word).id)
        except UnknownAblation as error:
            known = ", ".join(READ_MODES)
            raise UsageError(f"--variant {text!r}: {error} (or one of {known})") from None
    if ablate:
        fields["ablate"] = tuple(ablate)
    return fields


def _fields(text: str, listed: str) -> dict[str, Any]:
    """``consensus=zab, db-option.read_mode=lease``: fields by their names as flags."""
    known = {
        flag_of(field.name).lstrip("-"): field.name
        for field in msgspec.structs.fields(TestSpec)
        if flags(field) is not None and field.name not in _OURS
    }
    given: dict[str, Any] = {}
    for pair in _pairs(text, listed):
        name, _, value = pair.partition("=")
        name, value = name.strip(), value.strip()
        group, dot, option = name.partition(".")
        if dot and group in _OPTIONS:
            options = given.setdefault(_OPTIONS[group], {})
            options |= parse_options(f"--variant {group}", [f"{option}={value}"])
        elif name in _TABLES:
            raise UsageError(
                f"--variant {text!r}: variants are compared under one {name}; give --{name} {value}"
                " for a table of it"
            )
        elif name == "image":  # of the environment docker; two versions of one's own database
            given.setdefault("env_options", {})["image"] = value
        elif name in known:
            given[known[name]] = _value(known[name], value)
        else:
            error = nearest(f"--variant {text!r}: field", name, known)
            raise UsageError(f"{error}; options are db-option.NAME, workload-option.NAME and "
                             "env-option.NAME")  # fmt: skip
    nodes = given.get("nodes", TestSpec().nodes)
    return read_fields(given, len(nodes))


def _pairs(text: str, listed: str) -> list[str]:
    """The ``name=value`` parts; a comma within a value (``n1,n2``) does not end it."""
    pairs: list[str] = []
    for part in listed.split(","):
        if "=" in part or not pairs:
            pairs.append(part.strip())
        else:
            pairs[-1] += "," + part
    for pair in pairs:
        if "=" not in pair or not pair.partition("=")[0].strip():
            raise UsageError(f"--variant {text!r} has {pair!r}; it should be field=value")
    return pairs


def _value(name: str, text: str) -> Any:
    if name == "nodes":
        return parse_nodes(text)
    if name in ("nemesis", "ablate"):
        return parse_list(text)
    return text
