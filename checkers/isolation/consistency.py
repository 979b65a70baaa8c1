"""Anomalies and consistency models: what implies what, and what a history refutes.

Two partial orders. Anomalies: finding one may mean having found another (every G-single is a G2).
Models: one may imply another (serializable implies repeatable read). Each model forbids some
anomalies of its own and everything that any model it implies forbids.

From the anomalies found, close upward; every model that forbids one is refuted, and so is every
model that implies a refuted one. What a reader wants is the *weakest* refuted (`not`), the rest of
the refuted (`also_not`), and the *strongest not refuted*.

Source: Adya's thesis; Elle's ``consistency_model.clj`` for the lattice and names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

#: model -> models it directly implies
IMPLIES: Mapping[str, tuple[str, ...]] = {
    "strict-serializable": (
        "serializable", "linearizable", "strong-snapshot-isolation",
        "strong-session-serializable",
    ),
    "linearizable": ("sequential",),
    "sequential": ("causal",),
    "strong-session-serializable": ("serializable", "strong-session-snapshot-isolation"),
    "strong-snapshot-isolation": ("strong-session-snapshot-isolation",),
    "strong-session-snapshot-isolation": ("snapshot-isolation", "transactional-causal"),
    "transactional-causal": ("causal", "causal-cerone"),
    "serializable": ("repeatable-read", "snapshot-isolation", "update-serializable"),
    "update-serializable": ("forward-consistent-view",),
    "snapshot-isolation": (
        "forward-consistent-view", "monotonic-atomic-view", "monotonic-snapshot-read",
        "parallel-snapshot-isolation", "prefix",
    ),
    "prefix": ("causal-cerone",),
    "parallel-snapshot-isolation": ("causal-cerone", "update-atomic"),
    "update-atomic": ("read-atomic",),
    "causal-cerone": ("read-atomic",),
    "read-atomic": ("monotonic-atomic-view",),
    "forward-consistent-view": ("consistent-view",),
    "consistent-view": ("cursor-stability", "monotonic-view"),
    "monotonic-snapshot-read": ("read-committed",),
    "monotonic-view": ("read-committed",),
    "repeatable-read": ("cursor-stability", "monotonic-atomic-view"),
    "cursor-stability": ("read-committed",),
    "monotonic-atomic-view": ("read-committed",),
    "read-committed": ("read-uncommitted",),
    "causal": ("PRAM", "writes-follow-reads"),
    "PRAM": ("monotonic-reads", "monotonic-writes", "read-your-writes"),
    "writes-follow-reads": (),
    "monotonic-reads": (),
    "monotonic-writes": (),
    "read-your-writes": (),
    "read-uncommitted": (),
}  # fmt: skip

#: model -> anomalies it forbids beyond those of the models it implies
FORBIDS: Mapping[str, tuple[str, ...]] = {
    "read-uncommitted": ("G0", "duplicate-elements", "cyclic-versions"),
    "read-committed": ("G1", "incompatible-order", "predicate-mismatch"),
    "cursor-stability": ("lost-update",),
    "monotonic-view": ("G-monotonic",),
    "monotonic-snapshot-read": ("G-MSR",),
    "consistent-view": ("G-single",),
    "forward-consistent-view": ("G-SIb",),
    "read-atomic": ("internal", "G1a", "future-read"),
    "update-atomic": ("lost-update",),
    "monotonic-atomic-view": ("internal", "future-read"),
    "repeatable-read": ("G2-item", "lost-update", "internal"),
    "snapshot-isolation": ("internal", "G1", "G-nonadjacent"),
    "strong-session-snapshot-isolation": ("G-nonadjacent-process", "G1-process", "G0-process"),
    "strong-snapshot-isolation": ("G-nonadjacent-realtime", "G1-realtime", "G0-realtime"),
    "serializable": ("G2", "predicate-read-miss", "internal"),
    "strong-session-serializable": ("G2-process",),
    "strict-serializable": ("G2-realtime",),
}  # fmt: skip


def _variants() -> dict[str, tuple[str, ...]]:
    """Anomaly -> anomalies it is a case of, for the cycle families and their variants."""
    bases = {
        "G0": ("G1c",),
        "G1c": ("G1",),
        "G-single-item": ("G-nonadjacent-item", "G-single"),
        "G-nonadjacent-item": ("G2-item", "G-nonadjacent"),
        "G2-item": ("G2",),
        "G-single": ("G-nonadjacent",),
        "G-nonadjacent": ("G2",),
        "G1": (),
        "G2": (),
    }
    closed: dict[str, tuple[str, ...]] = {}
    for name, parents in bases.items():
        closed[name] = (*parents, f"{name}-process")
        closed[f"{name}-process"] = (*(f"{p}-process" for p in parents), f"{name}-realtime")
        closed[f"{name}-realtime"] = tuple(f"{p}-realtime" for p in parents)
    return closed


#: anomaly -> anomalies that are then present too
CASE_OF: Mapping[str, tuple[str, ...]] = {
    **_variants(),
    "G1a": ("G1",),
    "G1b": ("G1",),
    "dirty-update": ("G1a",),
    "incompatible-order": ("G1a",),
    "garbage-read": ("G1a",),
    "lost-update": ("G2-item",),
    "internal": (),
    "future-read": ("G1c",),
    "duplicate-elements": (),
    "cyclic-versions": (),
    "predicate-read-miss": (),
    "predicate-mismatch": (),
}

ALIASES: Mapping[str, str] = {
    "PL-SS": "strict-serializable", "strong-serializable": "strict-serializable",
    "strict-1SR": "strict-serializable", "PL-3": "serializable", "PL-2.99": "repeatable-read",
    "PL-SI": "snapshot-isolation", "SI": "snapshot-isolation", "PL-2+": "consistent-view",
    "PL-2": "read-committed", "PL-1": "read-uncommitted", "RR": "repeatable-read",
    "PSI": "parallel-snapshot-isolation", "strong-SI": "strong-snapshot-isolation",
    "strong-session-SI": "strong-session-snapshot-isolation",
    "strong-session-PL-3": "strong-session-serializable",
}  # fmt: skip


def canonical(model: str) -> str:
    """The model's own name for an alias; the name itself if it is one.

    Raises:
        ValueError: no such model; the message lists those there are.
    """
    wanted = ALIASES.get(model, model)
    for known in IMPLIES:
        if known.lower() == wanted.lower():
            return known
    raise ValueError(
        f"unknown consistency model {model!r}; there are: {', '.join(sorted(IMPLIES))}"
    )


def _closure(start: Iterable[str], edges: Mapping[str, tuple[str, ...]]) -> set[str]:
    seen: set[str] = set()
    stack = list(start)
    while stack:
        name = stack.pop()
        if name not in seen:
            seen.add(name)
            stack.extend(edges.get(name, ()))
    return seen


@cache
def weaker_models(model: str) -> frozenset[str]:
    """The model and everything it implies."""
    return frozenset(_closure([model], IMPLIES))


@cache
def forbidden_by(model: str) -> frozenset[str]:
    """Every anomaly that refutes the model, cases included (G0 refutes read committed)."""
    named = {a for m in weaker_models(model) for a in FORBIDS.get(m, ())}
    return frozenset(a for a in CASE_OF if _closure([a], CASE_OF) & named) | frozenset(named)


def implied_anomalies(anomaly: str) -> frozenset[str]:
    """The anomaly and everything it is a case of."""
    return frozenset(_closure([anomaly], CASE_OF))


def refuted_models(anomalies: Iterable[str], broken: Iterable[str] = ()) -> frozenset[str]:
    """Every model that forbids one of the anomalies or is broken, or implies one that is."""
    found, models = set(anomalies), set(broken)
    return frozenset(m for m in IMPLIES if found & forbidden_by(m) or models & weaker_models(m))


def weakest_refuted(anomalies: Iterable[str], broken: Iterable[str] = ()) -> list[str]:
    """The refuted models that imply no other refuted one: Elle's `not`."""
    refuted = refuted_models(anomalies, broken)
    return sorted(m for m in refuted if not (weaker_models(m) - {m}) & refuted)


def strongest_standing(anomalies: Iterable[str], broken: Iterable[str] = ()) -> list[str]:
    """The transactional models not refuted that no other standing one implies."""
    found = set(anomalies)
    standing = set(IMPLIES) - refuted_models(found, broken)
    if found & forbidden_by("serializable"):
        standing.discard("update-serializable")  # its own anomaly, G-update, is not looked for
    transactional = weaker_models("strict-serializable") - weaker_models("linearizable")
    standing &= transactional
    return sorted(
        m for m in standing if not any(o != m and m in weaker_models(o) for o in standing)
    )
