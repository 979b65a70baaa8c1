"""Questions: what a part of a data node asks the groups, and who waits for each answer.

A part is given one callable, ``ask``, that sends a command to a replicated group and returns a
token; the answer comes back later, under the token. This table keeps, for each token, what is to be
done with the answer. An answer that comes a second time finds nothing to do.

Used by the parts of ``cluster.data`` that talk to the core and to the groups.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from cluster.config import MS
from cluster.data.group_client import Ask
from cluster.wire import Command

#: How long one question is asked before its outcome is ``fail`` or ``unknown``.
QUESTION_NS = 2_000 * MS

#: What is to be done with an answer: called with (now_ns, status, value, error).
Then: TypeAlias = Callable[[int, str, Any, str], None]


class Questions:
    """The questions of one part that have no answer yet.

    Args:
        ask: sends a command to a group.
    """

    __slots__ = ("_ask", "_then")

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._then: dict[int, Then] = {}

    def __len__(self) -> int:
        return len(self._then)

    def ask(
        self,
        now_ns: int,
        group: str,
        command: Command,
        then: Then,
        *,
        mode: str = "linearizable",
        timeout_ns: int = QUESTION_NS,
    ) -> int:
        """Ask a group something.

        Args:
            now_ns: the node's time.
            group: the group's name.
            command: a read or a write.
            then: what is to be done with the answer.
            mode: of a read.
            timeout_ns: how long it is asked, in nanoseconds.

        Returns:
            The token of the question.
        """
        token = self._ask(now_ns, group, command, mode=mode, timeout_ns=timeout_ns)
        assert token not in self._then, f"the token {token} is given to two questions"
        self._then[token] = then
        return token

    def on_answer(self, now_ns: int, token: int, status: str, value: Any, error: str) -> bool:
        """Take an answer; whether it was to a question of this part that was still open."""
        then = self._then.pop(token, None)
        if then is None:
            return False
        then(now_ns, status, value, error)
        return True

    def forget(self) -> None:
        """Nothing is to be done any more with the answers that are still to come."""
        self._then.clear()


def has_reason(error: str, reason: str) -> bool:
    """Whether a refusal begins with a word such as ``stale-epoch``."""
    return error == reason or error.startswith((f"{reason}:", f"{reason} "))
