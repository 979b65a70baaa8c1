"""Last writer wins: of all writes of a key the one with the highest stamp is kept, and no other.

Problem. Siblings are a burden to clients, who must merge them. Many stores prefer one value.

Solution. A write is stamped by the clock of the node that takes it, and the highest stamp wins
everywhere. This is simple and convergent, and it loses writes: of two concurrent ones, both
acknowledged, only one is ever read. How bad it is depends on the clock. With a Lamport or hybrid
clock a write never loses to what its client had read before; with wall clocks it does.

A key's state is that of the dotted versions, with one sibling and no context; the dot's number is
the stamp. A deletion is a write of None.

Where stamps and nodes are equal, as wall clocks may make them, the requests and values decide.

Invariants. Merging is a join. A node's state never goes back to a lower stamp.

What breaks without it. A46a and A45a take the order away from the stamps.

Source: Joshi, "Versioned Value", "Lamport Clock"; Cassandra keeps values so. Pure; used by
``cluster.leaderless``.
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
    Sibling,
    with_request,
)

_canonical = msgspec.msgpack.Encoder(order="deterministic").encode


def stamp_of(state: KeyState) -> tuple[int, str]:
    """(stamp, node) of the value that a state keeps; the lowest of all if it has none."""
    if not state.siblings:
        return (0, "")
    dot = state.siblings[0].dot
    return (dot.counter, dot.actor)


def _order(state: KeyState) -> tuple[tuple[int, str], RequestId, bytes]:
    """A total order: a wall clock may give two writes of one node the same stamp."""
    if not state.siblings:
        return (stamp_of(state), NO_REQUEST, b"")
    kept = state.siblings[0]
    return (stamp_of(state), kept.request, _canonical(kept.value))


class LastWriterWins:
    """The rules by which states change."""

    __slots__ = ()

    def write(
        self, state: KeyState, dot: Dot, value: Any, request: RequestId = NO_REQUEST
    ) -> KeyState:
        """A write, or with None a deletion.

        Args:
            state: as its coordinator has it.
            dot: the node, and its stamp.
            value: what is written.
            request: the client's.
        """
        written = KeyState((), (Sibling(dot, value, request),))
        return self.merge(state, with_request(written, request))

    def merge(self, one: KeyState, other: KeyState) -> KeyState:
        """The later of two states, with what both remember of requests."""
        if one == other:
            return one
        later = max(one, other, key=_order)
        # the memory of requests is joined as dotted versions join it: without siblings
        seen = _MEMORY.merge(KeyState((), (), one.seen), KeyState((), (), other.seen)).seen
        return KeyState(later.context, later.siblings, seen)


_MEMORY = DottedVersions()
