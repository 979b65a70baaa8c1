"""Session name: under which name and numbers a session's writes are known to the cluster.

Problem. The cluster recognises a copy of a write by (session, number), and forgets sessions in the
end. A forgotten session must not be taken for a new one (``cluster.core.session``).

Solution. Before its first write a session learns a log index, and states it with every write: the
cluster takes an unknown session for a new one only if it was opened late enough. A session that the
cluster has forgotten goes on under a new name (``c1~2``), opened at an index learned meanwhile,
with numbers from 1.

Invariant. A number is never used for two commands under one name.

Source: Raft thesis 6.3. Sans-IO; used by ``cluster.client.session``.
"""

from __future__ import annotations


class SessionName:
    """The name of one session, now.

    Args:
        name: unique among all clients there ever are.
        revision: one that this cluster answered, to go on from; 0 for none.
    """

    __slots__ = ("_incarnation", "_name", "next_number", "opened_after", "revision")

    def __init__(self, name: str, revision: int = 0) -> None:
        assert revision >= 0, "a revision is 0 or above"
        self._name, self._incarnation = name, 1
        #: highest log index that the session has seen in an answer
        self.revision = revision
        #: a log index known when the session began under this name; -1 before it is known
        self.opened_after = -1
        #: number of the next write
        self.next_number = 1

    def __str__(self) -> str:
        return self._name if self._incarnation == 1 else f"{self._name}~{self._incarnation}"

    def number(self) -> int:
        """A number for a write."""
        number, self.next_number = self.next_number, self.next_number + 1
        return number

    def may_write(self) -> bool:
        """Whether a log index is known, without which no write may be sent."""
        if self.opened_after < 0 and self.revision:
            self.opened_after = self.revision
        return self.opened_after >= 0

    def learned(self, revision: int) -> None:
        """The answer to a question asked for its index alone."""
        self.opened_after = max(self.revision, revision)

    def begin_anew(self, revision: int) -> None:
        """The cluster has forgotten the session, as of this index."""
        self._incarnation += 1
        self.opened_after = self.revision = max(self.revision, revision)
        self.next_number = 1
