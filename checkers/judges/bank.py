"""A bank: transfers move money, they neither make nor destroy it.

Vocabulary: ``transfer`` (input: ``{"from":a, "to":b, "amount":n}``), ``read`` (output: a dict of
all accounts' balances, or a list of ``[account, balance]``). Every read must have the same total:
the one given, or the history header's ``total``, or else that of the first read. Balances must not
be negative unless that is allowed. Under snapshot isolation and stronger no read may fail this.

Source: the ``bank`` test of Jepsen.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Any

from checkers.core.budget import Meter
from checkers.core.checker import Checker
from checkers.core.findings import Judgement, Row, as_number, at, make, refuse, rows, token, who
from checkers.core.verdict import Because, Finding
from checkers.history import OK, History
from checkers.history.columns import short

VOCABULARY = frozenset(("open", "transfer", "read"))


def bank(
    *,
    total: int | float | None = None,
    accounts: Collection[object] | None = None,
    negative_balances: bool = False,
) -> Checker:
    """The checker ``bank``.

    Args:
        total: the sum of all balances; None to take it from the header or the first read.
        accounts: the accounts a read must have; None not to check that.
        negative_balances: whether a balance may be below zero.
    """

    def check_history(history: History, meter: Meter) -> Judgement:
        return _judge(history, meter, total, accounts, negative_balances)

    return make("bank", check_history, vocabulary=VOCABULARY, keyed=False, trivial=("transfer",))


def _judge(
    history: History,
    meter: Meter,
    total: int | float | None,
    accounts: Collection[object] | None,
    negative_balances: bool,
) -> Judgement:
    expected = total if total is not None else _total_of(history.header)
    source = "given" if expected is not None else "that of the first read"
    names = None if accounts is None else {str(account) for account in accounts}
    first: Row | None = None
    findings: list[Finding] = []
    reads = transfers = 0
    for row in rows(history, meter):
        transfers += row.f == "transfer" and row.outcome == OK
        if row.f != "read" or row.outcome != OK:
            continue
        reads += 1
        balances = _balances(history, row)
        if names is not None and {str(account) for account in balances} != names:
            findings.append(_wrong_accounts(history, row, balances, names))
            continue
        missing = [account for account, balance in balances.items() if balance is None]
        if missing:
            findings.append(_no_balance(history, row, missing))
            continue
        found = sum(
            as_number(history, row.complete, balance, f"the balance of account {account}")
            for account, balance in balances.items()
        )
        if expected is None:
            expected, first = found, row
        if found != expected:
            findings.append(_wrong_total(history, row, first, found, expected, source))
        if not negative_balances and any(balance < 0 for balance in balances.values()):
            findings.append(_negative(history, row, balances))
    order = {"wrong-total": 0, "negative-balance": 1}
    findings.sort(key=lambda finding: order.get(finding.kind, 2))
    return Judgement(
        findings=findings,
        checked=reads,
        evidence=f"all {reads} reads have the total {expected} ({source}), over {transfers} "
        "transfers",
        missing="no read was completed",
        stats={"reads": reads, "transfers": transfers, "total": expected},
    )


def _total_of(header: dict[str, object]) -> int | float | None:
    for name in ("total", "total-amount", "total_amount"):
        value = header.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
    return None


def _balances(history: History, row: Row) -> dict[Hashable, Any]:
    found = row.output
    if isinstance(found, dict):
        return found
    if isinstance(found, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in found):
        return {token(account): balance for account, balance in found}
    raise refuse(history, row.complete, f"a read must give balances, not {short(found)}")


def _tell(history: History, row: Row) -> str:
    return f"The read of {who(history, row.invoke)} at {at(history, row.complete)}"


def _wrong_total(
    history: History,
    row: Row,
    first: Row | None,
    found: int | float,
    expected: int | float,
    source: str,
) -> Finding:
    change = found - expected
    moved = f"{change} appeared" if change > 0 else f"{-change} vanished"
    ops = (row.invoke,) if first is None else (first.invoke, row.invoke)
    return Finding(
        kind="wrong-total",
        title="money made or destroyed",
        sentence=f"{_tell(history, row)} has the total {found}, but it is {expected} ({source}): "
        f"{moved}.",
        ops=ops,
        because=tuple(Because("read", source=op, value=history.op(op).output) for op in ops),
        breaks="snapshot-isolation",
        detail={"total": found, "expected": expected},
    )


def _negative(history: History, row: Row, balances: dict[Hashable, Any]) -> Finding:
    below = {account: balance for account, balance in balances.items() if balance < 0}
    listed = ", ".join(f"account {account} has {balance}" for account, balance in below.items())
    return _of_read(
        history,
        row,
        "negative-balance",
        "negative balance",
        f"shows a balance below zero: {listed}",
        {"negative": {str(account): balance for account, balance in below.items()}},
    )


def _wrong_accounts(
    history: History, row: Row, balances: dict[Hashable, object], names: Collection[str]
) -> Finding:
    found = {str(account) for account in balances}
    extra, missing = sorted(found - set(names)), sorted(set(names) - found)
    parts = [f"unknown accounts {', '.join(extra)}"] if extra else []
    parts += [f"no account {', '.join(missing)}"] if missing else []
    title, predicate = "accounts appeared or vanished", f"has {' and '.join(parts)}"
    detail: dict[str, object] = {"unexpected": extra, "missing": missing}
    return _of_read(history, row, "wrong-accounts", title, predicate, detail)


def _no_balance(history: History, row: Row, missing: list[object]) -> Finding:
    accounts = [str(account) for account in missing]
    title, predicate = (
        "account without a balance",
        f"has no balance for account {', '.join(accounts)}",
    )
    return _of_read(history, row, "no-balance", title, predicate, {"accounts": accounts})


def _of_read(
    history: History, row: Row, kind: str, title: str, predicate: str, detail: dict[str, object]
) -> Finding:
    """A finding that one read shows by itself."""
    return Finding(
        kind=kind,
        title=title,
        sentence=f"{_tell(history, row)} {predicate}.",
        ops=(row.invoke,),
        because=(Because("read", source=row.invoke, value=row.output),),
        detail=detail,
    )
