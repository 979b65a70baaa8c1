"""The workload: a generator, a final phase, and a checker of the history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


class Workload(msgspec.Struct, kw_only=True):
    """A workload; a plain function with keyword options returns one.

    Args:
        generator: generator of the main phase (see :mod:`workloads.generator`).
        checker: checks the history: a callable ``(History, *, budget=None) -> Result``.
        final: generator of the phase after healing and quiescence, or None.
        name: its name, as on the command line; filled in from the function's if empty.
        model: name of the checker's model for ``harness check``, written to the header.
        reads: names of the functions that do not change anything: an unhandled client error makes
            these ``fail`` and all others ``info``.
        refusals: how errors begin with which a working system refuses, ``the lock is held`` say: an
            operation that fails so is counted as answered.
        operations: names of the client operations it needs; a database that lacks one is refused
            before the run begins.
        objects: what its keys are, which says what ``read`` and ``add`` mean: ``register``,
            ``list``, ``set``, ``counter``, ``siblings``, ``ids``, ``queue``, ``log``, ``lock``,
            ``election``, ``lease``, ``watch``, ``bank``, ``scanned-set``, ``monotonic``, ``owned``,
            ``txn-list``, ``txn-register`` or ``txn-predicates``. A database that takes an option
            ``objects`` is given it.
        nemeses: nemeses that the generator's nemesis thread asks for, where they cannot be seen in
            it because a function makes them; nothing is planned for these beside the generator.
        judge_old_reads: makes the checker for a database whose reads may be of an older state, of
            how much older (seconds, perhaps infinite): its options say so, as ``read_mode`` does of
            the reference cluster. None where the workload is not about single reads.
        reads_within_s: how old a read may be by the checker; filled in by the harness.
        keys_description: one phrase on what keys and values are, for reports.
        claimed: the consistency models that its checker holds the transactions to; none for a
            workload that is not about them.
    """

    generator: Any
    checker: Callable[..., Any]
    final: Any = None
    name: str = ""
    model: str = ""
    reads: frozenset[str] = frozenset({"read"})
    refusals: tuple[str, ...] = ()
    operations: frozenset[str] = frozenset()
    objects: str = "register"
    nemeses: tuple[str, ...] = ()
    judge_old_reads: Callable[[float], Any] | None = None
    reads_within_s: float = 0.0
    keys_description: str = ""
    claimed: tuple[str, ...] = ()
