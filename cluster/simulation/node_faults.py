"""Faults of the nodes of a world: death, pauses, wrong clocks, bad disks.

Used by :class:`cluster.simulation.world.World`, whose methods these are.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from cluster.consensus.membership import next_incarnation
from cluster.simulation.damage_watch import DamageWatch
from cluster.simulation.disk import FaultAtlas
from cluster.simulation.heap import EventHeap
from cluster.simulation.node import SimNode
from cluster.simulation.trace import Trace


class NodeFaults:
    """Does it.

    Args:
        nodes: by name; an unknown name raises.
        heap: virtual time.
        trace: records each fault.
        atlas: keeps a majority of disks sound.
        damage_watch: checks what a node says of its disk.
        cut_off: the kernel of a node's machine ends its connections.
        resume_order: decides whether a late timer runs before the frames that waited.
    """

    __slots__ = (
        "_atlas", "_cut_off", "_damage_watch", "_heap", "_nodes", "_resume_order", "_trace",
    )  # fmt: skip

    def __init__(
        self,
        nodes: Mapping[str, SimNode],
        *,
        heap: EventHeap,
        trace: Trace,
        atlas: FaultAtlas,
        damage_watch: DamageWatch,
        cut_off: Callable[[str], None],
        resume_order: random.Random,
    ) -> None:
        self._nodes, self._heap, self._trace, self._atlas = nodes, heap, trace, atlas
        self._damage_watch, self._cut_off = damage_watch, cut_off
        self._resume_order = resume_order

    def crash(self, node: str, *, lose_unsynced: bool = True, torn: bool = False) -> dict[str, Any]:
        """Kill a node; its unsynced bytes are lost, or torn. Harmless if it is down.

        Returns:
            What the disk lost, as evidence.
        """
        found = self._nodes[node]
        if not found.up:
            return {"was": found.why_down}
        found.stop("crashed")
        lost = found.disk.crash(lose_unsynced=lose_unsynced, torn=torn or found.disk.torn)
        self._cut_off(node)
        return dict(lost)

    def restart(self, node: str) -> bool:
        """Start a node that is down; it recovers from its disk.

        Returns:
            Whether it runs now; False if it refused to start (see ``why_down``).
        """
        found = self._nodes[node]
        if not found.up:
            found.start()
            if found.corrupt:
                self._damage_watch.refused(node, found.why_down)
        return found.up

    def wipe(self, node: str, *, member: str = "") -> str:
        """Give a node that is down an empty disk and a new id, with which it joins; the id.

        ``member`` is for one under the id it had: A61, unless its consensus recovers from that.
        """
        found = self._nodes[node]
        self._damage_watch.wiped(node, forgets=member == found.member)
        found.wipe(member or next_incarnation(found.member))
        return found.member

    def pause(self, node: str) -> None:
        """SIGSTOP a node. Harmless if it is paused or down."""
        found = self._nodes[node]
        if found.life is not None and not found.paused:
            self._trace.add(self._heap.now_ns, "pause", node)
            found.life.paused = True

    def resume(self, node: str, *, timer_first: bool | None = None) -> None:
        """SIGCONT a node: everything that waited for it happens now.

        Args:
            node: which.
            timer_first: whether a timer that is late runs before the frames that waited; None to
                let the seed decide.
        """
        found = self._nodes[node]
        if found.life is not None and found.paused:
            self._trace.add(self._heap.now_ns, "resume", node)
            first = self._resume_order.random() < 0.5 if timer_first is None else timer_first
            found.life.resume(timer_first=first)

    def set_clock(self, node: str, *, offset_ns: int = 0, rate: float = 1.0) -> int:
        """Make a node's wall clock wrong by ``offset_ns`` and its monotonic clock run at ``rate``.

        Returns:
            The wall clock's offset, as read back.
        """
        found, now_ns = self._nodes[node], self._heap.now_ns
        found.change_clock(lambda: found.clock.set(now_ns, offset_ns=offset_ns, rate=rate))
        self._trace.add(now_ns, "clock", node, "", {"offset_ns": offset_ns, "rate": rate})
        return found.clock.offset_ns

    def late(self, node: str, by_ns: int) -> None:
        """Let a node find that ``by_ns`` more of its monotonic time has passed than it thought."""
        found = self._nodes[node]
        found.change_clock(lambda: found.clock.advance(self._heap.now_ns, by_ns))

    def tick(self, node: str) -> bool:
        """Let a node's timer fire now, due or not; False if the node is down or paused."""
        life = self._nodes[node].life
        return life is not None and life.tick_now()

    def set_disk(self, node: str, faults: Mapping[str, Any]) -> dict[str, Any]:
        """Make a node's disk so; an empty mapping heals. See :meth:`SimDisk.set`.

        A bit flip that would leave no majority of undamaged disks is skipped.

        Returns:
            What the disk did so far, and ``skipped`` if the flip was not made.
        """
        found, wanted = self._nodes[node], dict(faults)
        skipped = False
        if wanted.get("flip"):
            skipped = not self._atlas.allows(node)
            if skipped:
                del wanted["flip"]
        before = found.disk.counts["flipped"]
        counts = found.disk.set(wanted)
        if counts["flipped"] > before:
            self._atlas.damage(node)
        self._trace.add(self._heap.now_ns, "disk", node, "", {k: str(v) for k, v in wanted.items()})
        if found.life is not None:
            found.life.disk_changed()
        return {**counts, "skipped": skipped}
