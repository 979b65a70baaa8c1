"""Transaction commands: what a client may ask a coordinator, and how each is written.

    txn-begin "" [options]             {"txn": its id, "timestamp": what it reads at}
    txn-read txn key                   the value; None if the key is absent
    txn-write txn key value            None; a value of None deletes the key
    txn-append txn key item            None
    txn-scan txn low high              [[key, value]...] from low up to but without high (None: end)
    txn-commit txn                     {"timestamp": what it committed at}
    txn-abort txn                      None
    txn-run "" operations [options]    all at once: the operations, with what they read filled in

    operations  [["r", key, null], ["append", key, item], ["w", key, value],
                ["scan", [low, high], null]]
    options     {"isolation": strict-serializable (default), snapshot-isolation or read-committed,
                "staleness_ns": how old what is read may be; then it only reads,
                "owners": of txn-run, whether to say who carried its writes out. The answer is then
                {"operations": those, "owners": [[key, partition, epoch, group]...]}}

Used by ``cluster.data.coordinator``; pure.
"""

from __future__ import annotations

from typing import Any, Final

from cluster.core.answers import INT_MAX, key_problem, short, value_problem
from cluster.data.isolation_levels import LEVELS
from cluster.wire import Command

BEGIN, RUN = "txn-begin", "txn-run"
READ, WRITE, APPEND, SCAN = "txn-read", "txn-write", "txn-append", "txn-scan"
COMMIT, ABORT = "txn-commit", "txn-abort"
OPS: Final = frozenset({BEGIN, RUN, READ, WRITE, APPEND, SCAN, COMMIT, ABORT})

#: Most micro-operations of one txn-run.
OPERATIONS_MAX: Final = 1_000
_OPTIONS = {
    BEGIN: ("isolation", "staleness_ns"),
    RUN: ("isolation", "staleness_ns", "owners"),
}
_COUNTS = {READ: 1, WRITE: 2, APPEND: 2, SCAN: 2, COMMIT: 0, ABORT: 0}


def problem(command: Command) -> str:
    """Why a command can never be carried out; "" if it may be."""
    op, args = command.op, command.args
    if op not in OPS:
        return f"there is no operation {short(op)}; known are {', '.join(sorted(OPS))}"
    if op in (BEGIN, RUN):
        return _whole_problem(op, args)
    if len(args) != _COUNTS[op]:
        return f"{op} takes {_COUNTS[op]} arguments, not {len(args)}"
    match op:
        case "txn-read":
            return key_problem(args[0])
        case "txn-write":
            return key_problem(args[0]) or ("" if args[1] is None else value_problem(args[1]))
        case "txn-append":
            return key_problem(args[0]) or item_problem(args[1])
        case "txn-scan":
            return range_problem(args)
        case _:
            return ""


def item_problem(item: Any) -> str:
    """Why something cannot be appended; "" if it can."""
    return value_problem([item])


def range_problem(bounds: Any) -> str:
    """Why something is no range; "" if it is one."""
    if type(bounds) not in (list, tuple) or len(bounds) != 2:
        return f"{short(bounds)} is no range: it should be [low, high]"
    low, high = bounds
    return key_problem(low) or ("" if high is None else key_problem(high))


def _whole_problem(op: str, args: Any) -> str:
    given = 1 if op == RUN else 0
    operations, options = args[:given], args[given:]
    if len(options) > 1 or len(operations) != given:
        return f"{op} takes {'operations and ' * (op == RUN)}options, not {short(args)}"
    wrong = _options_problem(op, options[0]) if options else ""
    return wrong or (_operations_problem(operations[0]) if op == RUN else "")


def _options_problem(op: str, options: Any) -> str:
    if type(options) is not dict:
        return f"the options are {short(options)}; they should be given by name"
    known = _OPTIONS[op]
    unknown = sorted(str(name) for name in options if name not in known)
    if unknown:
        listed = f"{', '.join(known[:-1])} and {known[-1]}"
        return f"{op} has no option {unknown[0]!r}; there are {listed}"
    if type(options.get("owners", False)) is not bool:
        return f"owners is {short(options['owners'])}; it should be true or false"
    level = options.get("isolation", "strict-serializable")
    if type(level) is not str or level not in LEVELS:
        return f"there is no isolation {short(level)}; there are {', '.join(LEVELS)}"
    staleness_ns = options.get("staleness_ns", 0)
    if type(staleness_ns) is not int or not 0 <= staleness_ns <= INT_MAX:
        return f"staleness_ns is {short(staleness_ns)}; it should be a number of nanoseconds"
    return ""


def _operations_problem(operations: Any) -> str:
    if type(operations) not in (list, tuple) or len(operations) > OPERATIONS_MAX:
        return f"{short(operations)} is no list of at most {OPERATIONS_MAX} operations"
    for each in operations:
        if type(each) not in (list, tuple) or len(each) != 3 or type(each[0]) is not str:
            return f"{short(each)} is no operation: it should be [kind, key, value]"
        wrong = _operation_problem(*each)
        if wrong:
            return f"{short(each)}: {wrong}"
    return ""


def _operation_problem(kind: str, key: Any, value: Any) -> str:
    match kind:
        case "r":
            return key_problem(key)
        case "w":
            return key_problem(key) or ("" if value is None else value_problem(value))
        case "append":
            return key_problem(key) or item_problem(value)
        case "scan":
            return range_problem(key)
        case _:
            return f"there is no operation {short(kind)}; there are r, w, append and scan"
