"""A26: a command is read when it comes in, and written when its turn comes.

The leader turns an append into the list that it will write, by the state that it has then. This is
a command with an ``await`` between its read and its write. Two of them read the same list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.ablations.registry import Ablation
from cluster.channel.singular_update_queue import SingularUpdateQueue
from cluster.wire import Command


class ReadBeforeItsTurn(SingularUpdateQueue):
    """A queue of writes whose reads are over."""

    def as_logged(self, command: Command, read: Callable[[Command], Any]) -> Command:
        """An append as the list that it comes to now."""
        if command.op != "append":
            return command
        _status, found, _error = read(Command("get", command.key))
        return Command("put", command.key, ([*(found or []), *command.args],))


ABLATION = Ablation(
    ReadBeforeItsTurn,
    removes="A command reads and writes in one step, when its turn comes.",
    breaks="Of two appends at once, one is lost.",
    nemesis="partition",
    workload="append",
)
