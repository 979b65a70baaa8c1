"""Predicate reads where the order of versions is unknown: what they say, and whether an order fits.

A predicate read has a version of every key in its version set (Adya), the initial one included,
which matches nothing. So if every version that transactions left of a key matches, a read that did
not return the key read its initial version: :func:`missed_reads`. Where some version does not
match, which one it read is open, and nothing is inferred.

Whatever was inferred, an order of all transactions decides it: replayed one after another, or start
by start and commit by commit, every predicate read has to return exactly what matches then:
:func:`why_unmatched`.

Source: Adya, *Weak Consistency*, section 4.2. For :mod:`checkers.isolation.serializability.serial`
and :mod:`checkers.isolation.weak_levels`.
"""

from __future__ import annotations

from collections.abc import Iterable

from checkers.core.budget import Meter
from checkers.history import freeze
from checkers.isolation.inference.rw_register import RwRegister
from checkers.isolation.predicates.matching import in_words, matches, matches_key
from checkers.isolation.transaction_table import WRITE

#: Keys looked at between looks at the budget.
KEYS_PER_LOOK = 4096


def missed_reads(register: RwRegister, meter: Meter) -> Iterable[tuple[int, int]]:
    """(transaction, key) of each read of an initial version that a predicate read amounts to."""
    txns, predicates = register.txns, register.predicates.table
    if not predicates.reads:
        return
    always: dict[str, list[int]] = {}
    written = sorted(set(txns.mop_key[txns.mop_kind == WRITE].tolist()))
    for number, read in enumerate(predicates.reads):
        if meter.spent(1):
            return
        code = repr(freeze(read.predicate))
        if code not in always:
            always[code] = [
                key
                for key in written
                if not register.versions.ambiguous[key]
                and matches_key(read.predicate, txns.keys[key])
                and not register.missed.misses(key, read.predicate)
            ]
        if always[code]:
            settled = predicates.settled(number)
            yield from ((read.txn, key) for key in always[code] if key not in settled)


def why_unmatched(
    register: RwRegister, points: Iterable[tuple[int, bool, bool]], meter: Meter
) -> str:
    """Replay an order; "" if every predicate read returns what matches, else one that does not.

    Args:
        register: the history.
        points: transaction, whether it reads here, whether its writes take effect here.
        meter: the budget; once it is spent the answer is its reason.
    """
    txns, predicates = register.txns, register.predicates.table
    asked: dict[int, list[int]] = {}
    for number, read in enumerate(predicates.reads):
        asked.setdefault(read.txn, []).append(number)
    state: dict[int, object] = {}
    for txn, reads, commits in points:
        for number in asked.get(txn, ()) if reads else ():
            wrong = _unmatched(register, number, state, meter)
            if wrong:
                return wrong
        if commits:
            for mop in txns.mops_of(txn):
                if txns.mop_kind[mop] == WRITE:
                    state[int(txns.mop_key[mop])] = txns.mop_value[mop]
    return ""


def _unmatched(register: RwRegister, number: int, state: dict[int, object], meter: Meter) -> str:
    """A key that one predicate read should have returned; its items are reads, checked as such."""
    txns, predicates = register.txns, register.predicates.table
    read, found = predicates.reads[number], predicates.found(number)
    begin = predicates.starts[number]
    own = {
        int(txns.mop_key[mop]): txns.mop_value[mop]
        for mop in range(begin, begin + read.before)
        if txns.mop_kind[mop] == WRITE
    }
    for count, (key, value) in enumerate({**state, **own}.items()):
        if count % KEYS_PER_LOOK == 0 and meter.spent(1):
            return meter.reason
        if key not in found and matches(read.predicate, txns.keys[key], value):
            return (
                f"in the one looked at, a read of {in_words(read.predicate)} should have returned "
                f"key {txns.keys[key]!r}"
            )
    return ""
