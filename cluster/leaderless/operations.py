"""The names of what a leaderless store is asked for. For its nodes, and for clients."""

from __future__ import annotations

#: operation -> the kind of object: a value, a set, a counter
KINDS = {
    "get": "v",
    "put": "v",
    "delete": "v",
    "set-add": "s",
    "set-remove": "s",
    "set-read": "s",
    "counter-incr": "c",
    "counter-read": "c",
}
READS = frozenset({"get", "set-read", "counter-read"})
#: operations whose last argument may be a context
WITH_CONTEXT = frozenset({"put", "delete"})
#: ``Request.mode`` -> whether a quorum is waited for
MODES = {"linearizable": True, "quorum": True, "one": False}
