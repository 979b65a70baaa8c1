"""Sessions: what the cluster remembers of each client, in the replicated state.

Problem. To recognise a repeated request, every node that may become leader must remember the
answers of requests already carried out, across restarts and snapshots, without remembering for
ever.

Solution. A table of sessions is part of the state: it changes only by applying log entries and goes
into snapshots. A session remembers its answers from the lowest one the client has not seen. When
there are more sessions than allowed, the one whose last entry is oldest *in the log* is forgotten,
on every node at the same index.

A forgotten session must never be taken for a new one, or its repeated request would be carried out
twice. So a client states a log index it knew when it began the session (``opened_after``), and the
table keeps the horizon: the highest index at which any forgotten session was used. An unknown
session opened at or after the horizon is truly new, since whatever it ever did is later than that;
any other may be a forgotten one, and is refused as expired.

Invariants. Equal tables at equal indexes. An answer is forgotten only if the client has seen it, or
the whole session is forgotten. No session begins twice.

What breaks without it. A08d: a table left out of snapshots. A28c: sessions forgotten by what one
node saw, which differ from node to node.

Source: Raft thesis 6.3; Joshi, "Idempotent Receiver". Used by the idempotent receiver only.
"""

from __future__ import annotations

from typing import Any

from cluster.core.answers import Answer, DigestSum


class Session:
    """One client's session.

    ``last_index`` is the log index of its last entry, ``first_unanswered`` the lowest number whose
    answer the client may still want, ``highest`` the highest number carried out.
    """

    __slots__ = ("answers", "first_unanswered", "highest", "last_index")

    def __init__(self, last_index: int, first_unanswered: int, highest: int) -> None:
        self.last_index = last_index
        self.first_unanswered = first_unanswered
        self.highest = highest
        self.answers: dict[int, tuple[Answer, int]] = {}

    def forget_below(self, first_unanswered: int) -> None:
        """The client has every answer below this number."""
        if first_unanswered > self.first_unanswered:
            self.first_unanswered = first_unanswered
            if self.highest < first_unanswered:
                self.answers.clear()
            else:
                for seq in [seq for seq in self.answers if seq < first_unanswered]:
                    del self.answers[seq]

    def state(self) -> Any:
        """As in a snapshot and in the state's hash."""
        answers = [(seq, *answer, index) for seq, (answer, index) in sorted(self.answers.items())]
        return (self.last_index, self.first_unanswered, self.highest, answers)


class SessionTable:
    """All sessions, least recently used first.

    Args:
        session_max: how many are remembered.
    """

    __slots__ = ("_digest", "_sessions", "horizon", "session_max")

    def __init__(self, session_max: int) -> None:
        self.session_max = session_max
        self.horizon = 0
        self._sessions: dict[str, Session] = {}
        self._digest = DigestSum()

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, name: str) -> Session | None:
        """The session of this name, if it is remembered."""
        return self._sessions.get(name)

    def may_begin(self, opened_after: int) -> bool:
        """Whether an unknown session is certain to be new."""
        return opened_after >= self.horizon

    def use(self, name: str, index: int) -> Session:
        """The session of this name, begun if need be, used at a log index."""
        sessions = self._sessions
        session = sessions.pop(name, None) or Session(index, 1, 0)
        assert index >= session.last_index, f"{name} is used at {index} after {session.last_index}"
        session.last_index = index
        sessions[name] = session
        self._digest.touch(name)
        if len(sessions) > self.session_max:
            oldest = next(iter(self._sessions))
            self.horizon = max(self.horizon, self._sessions.pop(oldest).last_index)
            self._digest.touch(oldest)
        return session

    def encode(self) -> Any:
        """The whole table, for a snapshot."""
        rows = [(name, session.state()) for name, session in self._sessions.items()]
        return (self.horizon, rows)

    def restore(self, state: Any) -> None:
        """Replace the table by one that :meth:`encode` gave, decoded afresh."""
        self.horizon, rows = state
        self._sessions, self._digest = {}, DigestSum()
        for name, (last_index, first_unanswered, highest, answers) in rows:
            session = Session(last_index, first_unanswered, highest)
            session.answers = {
                seq: ((status, value, error), index) for seq, status, value, error, index in answers
            }
            self._sessions[name] = session

    def digest(self) -> int:
        """Hash of the table, equal for equal tables."""
        return self._digest.value(self._row, self._sessions) + self.horizon

    def _row(self, name: str) -> Any:
        session = self._sessions.get(name)
        return None if session is None else session.state()
