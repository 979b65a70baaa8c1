"""The admin endpoint's view of a node: its status, the hash of its state, and its metrics.

Used by ``node``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from cluster.host.room import Room
from cluster.measures import Measured, Measures
from cluster.runtime.doors import Doors
from cluster.runtime.events import EventLog
from cluster.runtime.host import CoreHost
from cluster.runtime.inlet import Inlet
from cluster.runtime.links import PeerLink
from cluster.runtime.metrics import Histogram, metrics_text
from cluster.runtime.opening import Opened
from cluster.runtime.outlet import Outlet
from cluster.runtime.peers import Peers
from cluster.runtime.refusals import Refusals
from cluster.runtime.storage_thread import StorageThread


class Parts(NamedTuple):
    """The parts of a node that are looked at."""

    opened: Opened
    host: CoreHost
    thread: StorageThread
    room: Room
    peers: Peers
    outlet: Outlet
    inlet: Inlet
    doors: Doors
    refusals: Refusals
    log: EventLog


class Observation:
    """Looks at a node.

    Args:
        parts: its parts.
        serving: whether it serves.
    """

    def __init__(self, parts: Parts, *, serving: Callable[[], bool]) -> None:
        self._parts = parts
        self._serving = serving
        self._started = time.monotonic()

    @property
    def serving(self) -> bool:
        """Whether the node serves."""
        return self._serving()

    def status(self) -> dict[str, Any]:
        """The core's status and the host's own fields."""
        parts, host = self._parts, self._parts.host
        options, identity = parts.opened.options, parts.opened.identity
        return {
            **host.core.status(),
            "ablations": list(options.ablations),
            "chaos": options.chaos,
            "wall_offset_ns": host.clock.offset_ns,
            "clock_rate": host.clock.rate,
            "start": identity.starts,
            "uptime_s": round(time.monotonic() - self._started, 3),
            "clients": len(parts.doors.clients),
            "disk_full": parts.room.full,
            "directory": identity.directory,
            "links": {peer: _link_state(link) for peer, link in sorted(parts.peers.links.items())},
            "storage": self._storage_counters(),
        }

    def state_hash(self) -> dict[str, Any]:
        """Applied index and hash of the state there."""
        core = self._parts.host.core
        return {"applied": core.status()["applied"], "hash": core.state_hash()}

    def metrics(self) -> str:
        """Prometheus text."""
        parts, status = self._parts, self._parts.host.core.status()
        names = {
            "term": "generation",
            "commit_index": "high_water_mark",
            "applied_index": "applied",
            "last_index": "last_index",
            "proposals_pending": "pending",
            "sessions": "sessions",
            "keys": "keys",
            "hints": "hints",
            "tombstones": "tombstones",
            "read_repairs": "repaired",
        }
        gauges: dict[str, float] = {name: status.get(key, 0) for name, key in names.items()}
        gauges["is_leader"] = status.get("role") == "leader"
        gauges["clients"] = len(parts.doors.clients)
        histograms: dict[str, Histogram] = {
            "wal_fsync_seconds": parts.thread.sync_seconds,
            "snapshot_seconds": parts.thread.snapshot_seconds,
            "wal_writes_per_sync": parts.thread.writes_per_sync,
            "core_turn_seconds": parts.host.turn_seconds,
        }
        counters = self._counters(status.get("duplicates", 0))
        own = self._own()
        gauges |= own.gauges
        counters |= own.counters
        histograms |= own.histograms
        rows: list[dict[str, Any]] = status.get("groups", [])
        groups = {
            name: {row["group"]: float(row[key]) for row in rows}
            for name, key in names.items()
            if all(key in row for row in rows)
        }
        groups["is_leader"] = {row["group"]: float(row["role"] == "leader") for row in rows}
        return metrics_text(
            gauges=gauges,
            counters=counters,
            histograms=histograms,
            groups=groups if rows else None,
        )

    def _own(self) -> Measures:
        """The core's own measurements, under its own names."""
        core = self._parts.host.core
        return core.measures() if isinstance(core, Measured) else Measures()

    def clock_changed(self) -> None:
        """The clock was set."""
        self._parts.host.clock_changed()

    def chaos_note(self, kind: str, detail: Mapping[str, Any]) -> None:
        """A fault was set."""
        self._parts.log.write("chaos", {"fault": kind, "now": dict(detail)})

    def _counters(self, duplicates: int) -> dict[str, float]:
        parts, outlet = self._parts, self._parts.outlet
        links = parts.peers.links.values()
        return {
            **{f"storage_{name}": count for name, count in self._storage_counters().items()},
            "requests": parts.inlet.requests,
            "slow_apply": parts.host.slow_turns,
            "responses": outlet.responses,
            "leader_changes": outlet.leader_changes,
            "heartbeat_send_failures": outlet.heartbeat_send_failures,
            "refused": parts.refusals.refused,
            "proposals_failed": outlet.proposals["fail"] + outlet.proposals["unknown"],
            "dedup_hits": duplicates,
            "link_dropped_frames": sum(link.dropped_frames for link in links),
        }

    def _storage_counters(self) -> dict[str, int]:
        counters: dict[str, int] = msgspec.to_builtins(self._parts.opened.storage.counters())
        return counters


def _link_state(link: PeerLink) -> dict[str, Any]:
    return {
        "connected": link.connected,
        "connections": link.connections,
        "sent_frames": link.sent_frames,
        "sent_bytes": link.sent_bytes,
        "queued_bytes": link.queued_bytes,
        "dropped_frames": link.dropped_frames,
    }
