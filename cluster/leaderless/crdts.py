"""Replicated data types on siblings: an observed-remove set and a counter.

Problem. A client that merges siblings by itself must know what they mean: two sets that grew apart
are not one or the other but both, and two counters are their sum.

Solution. Some types merge by themselves, if each of their changes is kept as what it is.

- *Observed-remove set.* Each addition is a sibling, whose value is the element. A removal replaces
  the additions that it has seen; an addition that it has not seen stays. An element is in the set
  while one of its siblings is there.
- *Counter.* Each actor has one sibling: the sum of the changes that it took, increments and
  decrements. A change replaces the actor's own sibling and no other, and the value is the sum of
  all. A client's request that two actors took would count twice, so each sibling remembers the
  latest requests with their amounts (:data:`AMOUNTS_MAX`), and what two of them have is counted
  once.

Invariants. States change by the rules of ``cluster.clocks.version_vector`` alone, so merging is a
join and replicas that know the same have the same value.

What breaks without it. A35a keeps one sibling of a set or a counter.

Source: Shapiro et al., "Conflict-Free Replicated Data Types" (2011); Bieniusa et al., "An Optimized
Conflict-Free Replicated Set" (2012). Pure; used by ``cluster.leaderless``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.clocks.version_vector import (
    NO_REQUEST,
    Dot,
    DottedVersions,
    KeyState,
    RequestId,
    VersionVector,
)

#: Requests that a counter's sibling remembers with their amounts.
AMOUNTS_MAX = 1_024

_canonical = msgspec.msgpack.Encoder(order="deterministic").encode


def _observed(state: KeyState, element: Any) -> list[Dot]:
    name = _canonical(element)
    return [each.dot for each in state.siblings if _canonical(each.value) == name]


def _keep_others(
    rules: DottedVersions,
    state: KeyState,
    gone: list[Dot],
    *,
    dot: Dot | None,
    value: Any,
    request: RequestId,
) -> KeyState:
    """A write that replaces some siblings and leaves the others, whatever the vectors cover."""
    left = tuple(each for each in state.siblings if each.dot not in gone)
    rest = msgspec.structs.replace(state, siblings=left)
    return rules.write(rest, VersionVector(), dot=dot, value=value, request=request)


def add_element(
    rules: DottedVersions, state: KeyState, element: Any, dot: Dot, request: RequestId
) -> KeyState:
    """The set with an element; the additions of it that were seen are replaced by this one."""
    gone = _observed(state, element)
    return _keep_others(rules, state, gone, dot=dot, value=element, request=request)


def remove_element(
    rules: DottedVersions, state: KeyState, element: Any, request: RequestId
) -> KeyState:
    """The set without the additions of an element that are in this state."""
    gone = _observed(state, element)
    return _keep_others(rules, state, gone, dot=None, value=None, request=request)


def elements(state: KeyState) -> list[Any]:
    """The set's elements, each once, in order of their encoding."""
    found = {_canonical(each.value): each.value for each in state.siblings}
    return [found[name] for name in sorted(found)]


def counted(state: KeyState, request: RequestId) -> bool:
    """Whether a counter knows a request as carried out."""
    session, seq = request
    return any(
        (session, seq) == (row[0], row[1]) for each in state.siblings for row in each.value[1]
    )


def add_amount(
    rules: DottedVersions, state: KeyState, amount: int, dot: Dot, request: RequestId
) -> KeyState:
    """The counter with one more change, taken by the dot's actor."""
    own = [each for each in state.siblings if each.dot.actor == dot.actor]
    total = amount + sum(each.value[0] for each in own)
    rows = [row for each in own for row in each.value[1]]
    value = [total, [*rows, [*request, amount]][-AMOUNTS_MAX:]]
    gone = [each.dot for each in own]
    return _keep_others(rules, state, gone, dot=dot, value=value, request=NO_REQUEST)


def total(state: KeyState) -> int:
    """The counter's value: all sums, less what two actors counted of one request."""
    sums, known = 0, set()
    for each in state.siblings:
        sums += each.value[0]
        for session, seq, amount in each.value[1]:
            if (session, seq) in known:
                sums -= amount
            known.add((session, seq))
    return sums
