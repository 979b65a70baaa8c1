"""How long things take in a run: durations as they are written, and who decides them.

    parse_duration("--time-limit", "1m30s")   90.0
    parse_range("--fault-duration", "2s..8s") (2.0, 8.0)

Of a run's times some depend on the database: one that needs 40 s to start cannot be killed every
5 s, or be asked to serve 20 s after healing. So a database may declare its own, as an attribute:

    timings = {"nemesis_interval_s": "2m", "fault_duration_s": "20s..40s", "recovery_s": 90}

Values from the command line outrank that, and :class:`Timings` has the rest. The names
are those of the fields of :class:`harness.spec.TestSpec`.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from harness.databases.base import Timed
from harness.errors import UsageError, nearest

UNITS_S = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|sec|s|min|m|h)", re.IGNORECASE)
_WHOLE = re.compile(rf"(?:{_PART.pattern}\s*)+", re.IGNORECASE)

#: The final phase ends after this many operation timeouts, whatever is left of it.
FINAL_TIMEOUTS = 6

#: No amount, of seconds or of operations per second, is larger: three years in seconds.
AMOUNT_MAX = 1e8

#: A fault shorter than this cannot be distinguished from a hiccup.
FAULT_SHORTEST_S = 0.1


class Timings(msgspec.Struct, frozen=True):
    """The times of one run that a database may have its say in, in seconds.

    Args:
        nemesis_interval_s: mean time between faults of a nemesis.
        fault_duration_s: shortest and longest time a fault lasts; empty for between a third and two
            thirds of the interval.
        recovery_s: how long a node may take to serve again after healing.
        quiesce_s: quiet time between that and the final phase: a few election timeouts.
        final_limit_s: how long the final phase may take; 0 for six operation timeouts.
    """

    nemesis_interval_s: float = 5.0
    fault_duration_s: tuple[float, ...] = ()
    recovery_s: float = 20.0
    quiesce_s: float = 2.0
    final_limit_s: float = 0.0

    @property
    def fault_ns(self) -> tuple[int, int] | None:
        """Shortest and longest fault in nanoseconds; None if the interval says."""
        if not self.fault_duration_s:
            return None
        return round(self.fault_duration_s[0] * 1e9), round(self.fault_duration_s[-1] * 1e9)


def resolve(spec: Any, db: Any) -> Timings:
    """The times of a run: what the spec gives, else what the database declares, else ours.

    Args:
        spec: a validated TestSpec.
        db: the database.

    Raises:
        UsageError: the database declares what is no time of a run, or no duration.
    """
    names = Timings.__struct_fields__
    declared = (db.timings if isinstance(db, Timed) else None) or {}
    where = f"timings of the database {spec.db!r}"
    if not isinstance(declared, dict):
        raise UsageError(f"{where} is {declared!r}; it should be a dict of {', '.join(names)}")
    found: dict[str, Any] = {"final_limit_s": FINAL_TIMEOUTS * spec.op_timeout_s}
    for name, value in declared.items():
        if name not in names:
            raise nearest(f"time in the {where}", str(name), names)
        found[name] = checked(f"{name} in the {where}", name, value)
    given = {name: getattr(spec, name) for name in names}
    return Timings(**found | {name: v for name, v in given.items() if v not in (None, ())})


def checked(what: str, name: str, value: Any) -> Any:
    """A time of a run as :class:`Timings` has it, from a number, a text or a pair.

    Args:
        what: what it is, for the sentence: ``--recovery``.
        name: the field's name.
        value: seconds, a duration as text, or for ``fault_duration_s`` also a pair of seconds.

    Raises:
        UsageError: it is none, or too short.
    """
    if name != "fault_duration_s":
        seconds = parse_duration(what, value)
        if seconds < 0 or not (seconds or name == "quiesce_s") or not math.isfinite(seconds):
            raise UsageError(f"{what} is {seconds:g}; it should be a positive number of seconds")
        require_amount(what, seconds, "seconds")
        return seconds
    ends = parse_range(what, value)
    value = "..".join(f"{end:g}s" for end in dict.fromkeys(ends))
    if not all(math.isfinite(end) for end in ends) or min(ends) < FAULT_SHORTEST_S:
        raise UsageError(f"{what} is {value}; a fault lasts at least {FAULT_SHORTEST_S:g} s")
    if ends[0] > ends[-1]:
        raise UsageError(f"{what} is {value}; the shorter duration comes first, as in 2s..8s")
    require_amount(what, ends[-1], "seconds")
    return ends


def require_amount(what: str, value: float, of: str) -> None:
    """Refuse an amount that is surely a mistake.

    Raises:
        UsageError: it is larger than :data:`AMOUNT_MAX`.
    """
    if value > AMOUNT_MAX:
        raise UsageError(f"{what} is {value:g}; more than {AMOUNT_MAX:g} {of} is surely a mistake")


def in_seconds(text: str) -> float | None:
    """Seconds of a duration with units, ``500ms``, ``5s`` or ``1m30s``; None if it is none."""
    if not _WHOLE.fullmatch(text.strip()):
        return None
    return sum(float(number) * UNITS_S[unit.lower()] for number, unit in _PART.findall(text))


def parse_duration(what: str, value: Any) -> float:
    """Seconds from ``5``, ``5s``, ``500ms``, ``1m30s``, ``2h`` or a number.

    Args:
        what: what it is, for the sentence.
        value: a text or a number.

    Raises:
        UsageError: it is no duration. A number is taken as it is, negative or not.
    """
    if isinstance(value, str):
        seconds = in_seconds(value)
        if seconds is not None:
            return seconds
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(
            f"{what} is {value!r}, which is no duration; it should be like 5s, 500ms or 1m30s"
        ) from None


def parse_range(what: str, value: Any) -> tuple[float, float]:
    """Shortest and longest of ``5s`` (always so long), ``2s..8s``, or a pair of numbers.

    Raises:
        UsageError: it is neither.
    """
    ends = value.split("..") if isinstance(value, str) else value
    if not isinstance(ends, (list, tuple)):
        ends = [ends]
    if not 1 <= len(ends) <= 2:
        raise UsageError(f"{what} is {value!r}; it should be a duration or a range as in 2s..8s")
    seconds = [parse_duration(what, end) for end in ends]
    return seconds[0], seconds[-1]
