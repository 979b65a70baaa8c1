"""Partition copy: how far a controller has carried a partition's data to its new group.

The controller holds one part at a time. Where the next one begins is said by the new group
(``cluster.data.partition_transfer``), so a controller that begins learns from the first answer how
much its predecessor has carried, and goes on there.

Invariants. The order to adopt carries the last part. Parts of different data are never mixed: each
names the digest of the whole, and the new group has 0 bytes of one that it does not know.

Used by ``cluster.data.partition_steps``; pure.
"""

from __future__ import annotations

from typing import Any

from cluster.channel.chunks import Progress
from cluster.data.partition_transfer import Part
from cluster.wire import Command

EXPORT, RECEIVE, ADOPT = "p-export", "p-receive", "p-adopt"


class PartitionCopy:
    """One partition on its way.

    Args:
        part_bytes: most bytes of a part.
    """

    __slots__ = ("_part", "_part_bytes", "_progress")

    def __init__(self, part_bytes: int) -> None:
        self._part_bytes = part_bytes
        self._part: Part | None = None
        self._progress = Progress(0)

    def filled(self, step: Command) -> Command:
        """A step's command with what this copy knows; others are as they are.

        An EXPORT is of (epoch), and an ADOPT of (epoch, scheme, low, high): the copy adds which
        part. Before the last part an ADOPT becomes a RECEIVE.
        """
        if step.op == EXPORT:
            return Command(EXPORT, step.key, (*step.args, self._progress.offset, self._part_bytes))
        if step.op != ADOPT:
            return step
        assert self._part is not None, f"{step.key} is adopted before it was exported"
        if self._part.is_last:
            return Command(ADOPT, step.key, (*step.args, *self._part))
        return Command(RECEIVE, step.key, (step.args[0], *self._part))

    def told(self, command: Command, value: Any) -> int:
        """A command was answered; how many steps further the move is by it: 1, or -1 if another
        part must be exported."""
        if command.op == EXPORT:
            self._part = Part(*value)
            self._progress.size = self._part.size
        elif command.op == RECEIVE:
            self._progress.progressed(value)
            self._part = None
            return -1
        return 1

    def begin_anew(self) -> None:
        """Something was refused: what the new group has is not known."""
        self._part, self._progress = None, Progress(0)
