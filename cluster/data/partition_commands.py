"""Commands of a data group: what may be asked of it, and how each is written.

Reads are answered from the state (linearizable, or at a follower); the others go through the log.
A timestamp is a hybrid one, a single integer. ``txn`` is a transaction's id, the command's key.

    p-read txn timestamp closed_only [[partition, epoch, key]...]
    p-scan txn timestamp closed_only [[partition, epoch, low, high]...]
        [position, [item...]], one item for each asked:
        ["value", value, timestamp of the version; 0 if there is none]; of a scan the value is the
        list of [key, value], and the timestamp the highest of theirs
        ["blocked", txn, decision group, stamp, started, timestamp]: of the intent that is met
        ["refused", sentence], beginning with stale-epoch, frozen, compacted or not-closed
        a timestamp of None asks for the newest committed values, whatever is under way

    p-prepare txn timestamp started up_to first_committer reads ranges writes
              decision_group participants stamp commit_now
        reads [[partition, epoch, key, position]...], ranges [[partition, epoch, low, high,
        position]...]: what was read at ``started``, to be validated up to ``up_to``
        writes [[partition, epoch, key, "w" or "append", value or items]...]
        first_committer: whether a version above ``started`` of what is written refuses it
        participants: in the decision group, all groups that get intents; else empty
        stamp: when the coordinator sent this
        commit_now: whether the vote is the commit, since no other group is concerned
        ["yes", timestamp] | ["committed", timestamp] | ["push", the least timestamp that would do]
        | ["blocked", ...as of a read] | ["no", sentence]
    p-decide txn outcome timestamp started         [outcome, timestamp] as decided first
    p-resolve txn outcome timestamp                how many intents were there
    p-recover txn now stamp started patience_ns    ["pending"|"commit"|"abort", timestamp]
    p-forget "" [txn...] coordinator_knows         how many commits are resolved everywhere
    p-close "" timestamp                           the closed timestamp
    p-collect "" below                             how many versions were dropped

    p-own partition epoch scheme low high          whether that was new
    p-freeze partition epoch                       how many intents are open in it
    p-export partition epoch offset bytes_max      (a read) [digest, size, offset, part], when no
                                                   intents are left
    p-receive partition epoch PART                 how many bytes of it are there then
    p-adopt partition epoch scheme low high PART   whether that was new; PART is the last one
    p-drop partition epoch                         whether it was there
    p-split partition epoch at left right          whether that was new; left is the partition
    p-merge left left_epoch right right_epoch into whether that was new; into is the left one
    p-stat partition epoch                         (a read) {"keys", "writes", "middle"}

PART is digest size offset data (``cluster.data.partition_transfer``).
An outcome is ``commit`` or ``abort``. Used by the parts of ``cluster.data``; pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cluster.core.answers import INT_MAX, key_problem, short, value_problem
from cluster.data.ownership import RANGES, SLOTS
from cluster.data.partition_transfer import Part
from cluster.data.timestamped_values import APPEND, WRITE
from cluster.wire import Command

READ, SCAN, EXPORT, STAT = "p-read", "p-scan", "p-export", "p-stat"
PREPARE, DECIDE, RESOLVE, RECOVER = "p-prepare", "p-decide", "p-resolve", "p-recover"
FORGET, CLOSE, COLLECT = "p-forget", "p-close", "p-collect"
OWN, FREEZE, ADOPT, DROP = "p-own", "p-freeze", "p-adopt", "p-drop"
RECEIVE = "p-receive"
SPLIT, MERGE = "p-split", "p-merge"

READS: Final = frozenset({READ, SCAN, EXPORT, STAT})

COMMIT, ABORT, PENDING = "commit", "abort", "pending"
YES, NO, PUSH, BLOCKED, COMMITTED = "yes", "no", "push", "blocked", "committed"
VALUE, REFUSED = "value", "refused"
#: First words of a refused read, beside those of :mod:`cluster.data.ownership`.
COMPACTED, NOT_CLOSED = "compacted", "not-closed"

#: Most reads, ranges or writes in one command.
ITEMS_MAX: Final = 10_000


def problem(command: Command) -> str:
    """Why a command can never be carried out, whatever the state; "" if it may be."""
    check = _CHECKS.get(command.op) if type(command.op) is str else None
    if check is None:
        return f"there is no operation {short(command.op)}; known are {', '.join(sorted(_CHECKS))}"
    return key_problem(command.key) or check(command.op, command.args)


# -- what arguments may be -------------------------------------------------------------------------

Check = Callable[[str, Any], str]


def _timestamp(name: str, value: Any) -> str:
    if type(value) is not int or not 0 <= value <= INT_MAX:
        return f"{name} is {short(value)}; it should be a whole number from 0 to 2^63 - 1"
    return ""


def _word(name: str, value: Any) -> str:
    return "" if type(value) is str else f"{name} is {short(value)}; it should be a string"


def _flag(name: str, value: Any) -> str:
    return "" if type(value) is bool else f"{name} is {short(value)}; it should be true or false"


def _end(name: str, value: Any) -> str:
    return "" if value is None else _word(name, value)


def _bound(name: str, value: Any) -> str:
    if type(value) is int and 0 <= value <= INT_MAX:
        return ""
    return "" if value is None or type(value) is str else f"{name} is {short(value)}: no bound"


def _outcome(name: str, value: Any) -> str:
    if type(value) is str and value in (COMMIT, ABORT):
        return ""
    return f"{name} is {short(value)}; it should be {COMMIT} or {ABORT}"


def _words(name: str, value: Any) -> str:
    if type(value) not in (list, tuple) or len(value) > ITEMS_MAX:
        return f"{name} is {short(value)}; it should be a list of at most {ITEMS_MAX} strings"
    return next((wrong for each in value if (wrong := _word(name, each))), "")


def _anything(name: str, value: Any) -> str:
    return ""


def _bytes(name: str, value: Any) -> str:
    return "" if type(value) is bytes else f"{name} is {short(value)}; it should be bytes"


def _moment(name: str, value: Any) -> str:
    return "" if value is None else _timestamp(name, value)


def _rows(*columns: tuple[str, Check]) -> Check:
    """A check of lists of rows."""
    count, names = len(columns), ", ".join(name for name, _ in columns)
    checks = [check for _, check in columns]

    def check_rows(name: str, value: Any) -> str:
        if type(value) not in (list, tuple) or len(value) > ITEMS_MAX:
            return f"{name} is {short(value)}; it should be a list of at most {ITEMS_MAX} rows"
        for row in value:
            if type(row) not in (list, tuple) or len(row) != count:
                return f"{name} has {short(row)}; it should be [{names}]"
            for place in range(count):
                wrong = checks[place](names, row[place])
                if wrong:
                    return f"{name} has {short(row)}: {wrong}"
        return ""

    return check_rows


_PARTITION, _EPOCH = ("partition", _word), ("epoch", _timestamp)
_LOW, _HIGH, _POSITION = ("low", _word), ("high", _end), ("position", _timestamp)
_KEY: tuple[str, Check] = ("key", lambda name, value: key_problem(value))
_POINTS = _rows(_PARTITION, _EPOCH, _KEY)
_RANGES = _rows(_PARTITION, _EPOCH, _LOW, _HIGH)
_READ_POINTS = _rows(_PARTITION, _EPOCH, _KEY, _POSITION)
_READ_RANGES = _rows(_PARTITION, _EPOCH, _LOW, _HIGH, _POSITION)
_WRITE_ROWS = _rows(_PARTITION, _EPOCH, _KEY, ("how", _word), ("value", _anything))


def _writes(name: str, value: Any) -> str:
    wrong = _WRITE_ROWS(name, value)
    if wrong:
        return wrong
    for row in value:
        wrong = write_problem(row[3], row[4])
        if wrong:
            return f"{name} has {short(row)}: {wrong}"
    if len({(row[0], row[2]) for row in value}) < len(value):
        return f"{name} has a key twice"
    return ""


def write_problem(how: str, value: Any) -> str:
    """Why a value cannot be written in a way; "" if it can."""
    if how == WRITE:
        return "" if value is None else value_problem(value)
    if how != APPEND:
        return f"{short(how)} is no way to write; there are {WRITE} and {APPEND}"
    if type(value) is not list or not value:
        return f"{APPEND} takes a list of items, not {short(value)}"
    return value_problem(value)


def _arguments(*named: tuple[str, Check]) -> Check:
    """A check of a command's arguments, all of them."""
    names = " ".join(name for name, _ in named)

    def check_arguments(op: str, args: Any) -> str:
        if type(args) not in (list, tuple) or len(args) != len(named):
            return f"{op} takes {len(named)} arguments ({names}), not {len(args)}"
        for (name, check), value in zip(named, args, strict=True):
            wrong = check(name, value)
            if wrong:
                return f"{op}: {wrong}"
        return ""

    return check_arguments


def _placed(check: Check) -> Check:
    """A check of arguments that begin with an epoch, a scheme and bounds that must fit it."""

    def check_bounds(op: str, args: Any) -> str:
        wrong = check(op, args)
        if wrong:
            return wrong
        _, scheme, low, high = args[:4]
        if scheme not in (SLOTS, RANGES):
            return f"{op}: the scheme is {short(scheme)}; it should be {SLOTS} or {RANGES}"
        kind = str if scheme == RANGES else int
        if type(low) is not kind or (high is not None and type(high) is not kind):
            return f"{op}: {short(low)} to {short(high)} are no bounds of the scheme {scheme}"
        return ""

    return check_bounds


def _partial(check: Check) -> Check:
    """A check of arguments that end with a part of a partition's data."""

    def check_part(op: str, args: Any) -> str:
        wrong = check(op, args) or Part(*args[-4:]).problem()
        return wrong if not wrong or wrong.startswith(op) else f"{op}: {wrong}"

    return check_part


_PART = (("digest", _word), ("size", _timestamp), ("offset", _timestamp), ("data", _bytes))
_PLACE = (_EPOCH, ("scheme", _word), ("low", _bound), ("high", _bound))
_CHECKS: dict[str, Check] = {
    READ: _arguments(("timestamp", _moment), ("closed_only", _flag), ("items", _POINTS)),
    SCAN: _arguments(("timestamp", _moment), ("closed_only", _flag), ("items", _RANGES)),
    EXPORT: _arguments(_EPOCH, ("offset", _timestamp), ("bytes_max", _timestamp)),
    STAT: _arguments(_EPOCH),
    PREPARE: _arguments(
        ("timestamp", _timestamp), ("started", _timestamp), ("up_to", _timestamp),
        ("first_committer", _flag), ("reads", _READ_POINTS), ("ranges", _READ_RANGES),
        ("writes", _writes), ("decision_group", _word), ("participants", _words),
        ("stamp", _timestamp), ("commit_now", _flag),
    ),
    DECIDE: _arguments(
        ("outcome", _outcome), ("timestamp", _timestamp), ("started", _timestamp)
    ),
    RESOLVE: _arguments(("outcome", _outcome), ("timestamp", _timestamp)),
    RECOVER: _arguments(
        ("now", _timestamp), ("stamp", _timestamp), ("started", _timestamp),
        ("patience_ns", _timestamp),
    ),
    FORGET: _arguments(("txns", _words), ("coordinator_knows", _flag)),
    CLOSE: _arguments(("timestamp", _timestamp)),
    COLLECT: _arguments(("below", _timestamp)),
    OWN: _placed(_arguments(*_PLACE)),
    FREEZE: _arguments(_EPOCH),
    RECEIVE: _partial(_arguments(_EPOCH, *_PART)),
    ADOPT: _placed(_partial(_arguments(*_PLACE, *_PART))),
    DROP: _arguments(_EPOCH),
    SPLIT: _arguments(_EPOCH, ("at", _word), ("left", _word), ("right", _word)),
    MERGE: _arguments(
        ("left_epoch", _timestamp), ("right", _word), ("right_epoch", _timestamp), ("into", _word)
    ),
}  # fmt: skip

OPS: Final = frozenset(_CHECKS)
