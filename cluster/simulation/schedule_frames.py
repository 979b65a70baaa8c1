"""Kinds of frames, as directed schedules name them: by their message, their group, or both.

    AppendEntries        a message between members of a group, or of the only group there is
    g-n2                 everything of a group of role ``data``
    g-n2:AppendEntries   a message of that group
    p-prepare            what a node asks a group: the operation of the command
    g-n2:p-prepare       the same, of one group
    p-decide,p-resolve   either

Used by :mod:`cluster.simulation.schedule_commands` for what it holds, delivers and drops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.wire import Grouped, GroupRequest


def is_kind(frame: Any, kind: str | None) -> bool:
    """Whether a frame is of a kind; None stands for all kinds."""
    if kind is None:
        return True
    message = _message(frame)
    return any(_is(message, each) for each in kind.split(","))


def _is(message: Any, kind: str) -> bool:
    group, colon, name = kind.rpartition(":")
    if not colon:
        return kind in (_group(message), _name(message), type(message).__name__)
    return group == _group(message) and name == _name(message)


def kinds(frames: Sequence[Any]) -> str:
    """The kinds of frames, to print."""
    return ", ".join(map(_told, frames))


def _message(frame: Any) -> Any:
    """What a frame between nodes carries beside the number of its connection."""
    return frame[1] if isinstance(frame, tuple) else frame


def _group(message: Any) -> str:
    return message.group if isinstance(message, (Grouped, GroupRequest)) else ""


def _name(message: Any) -> str:
    if isinstance(message, GroupRequest):
        return message.request.command.op
    inner = message.message if isinstance(message, Grouped) else message
    return type(inner).__name__


def _told(frame: Any) -> str:
    message = _message(frame)
    group, name = _group(message), _name(message)
    return f"{group}:{name}" if group else name
