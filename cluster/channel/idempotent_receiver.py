"""Idempotent Receiver: a request that arrives twice happens once.

Problem. A client whose answer is lost cannot know whether its request happened. It must ask again,
and the second copy must not happen again, whichever node leads by then.

Solution. A request carries the client's session and a number within it. Before applying an entry,
every node looks whether that number was applied already; if so it gives the remembered answer. The
memory is part of the replicated state (``cluster.core.session``), so it survives leaders, restarts
and snapshots, and is cut back only by what the log itself says.

A session's requests happen in the order of their numbers: one that arrives before its predecessor
is sent back (``retry``), and a number the client has given up never happens later.

Invariants. (session, number) is applied at most once. The answer to a copy is the answer to the
original. All of it depends on the log alone.

What breaks without it. A28a: a retried append is there twice. A28b: with memory in the leader
only, the retry lands on the next one. A28c: where a node forgets sessions by what it saw itself,
nodes forget different ones. A55: numbers overtake each other where the order is not checked. A08d:
memory that is not in snapshots is lost with the log below them.

Source: Joshi, "Idempotent Receiver"; Raft thesis 6.3; Kafka's idempotent producer for the order
check. Used by ``cluster.core.replica`` while applying.
"""

from __future__ import annotations

from typing import Any

from cluster.core.answers import Answer
from cluster.core.session import Session, SessionTable
from cluster.wire import LoggedCommand


class IdempotentReceiver:
    """Decides for each logged command whether to apply it, and what to answer if not.

    Args:
        session_max: sessions remembered.
        unanswered_max: answers remembered per session.
    """

    __slots__ = ("duplicates", "sessions", "unanswered_max")

    def __init__(self, *, session_max: int, unanswered_max: int) -> None:
        self.sessions = SessionTable(session_max)
        self.unanswered_max = unanswered_max
        self.duplicates = 0

    def is_duplicate(self, session: Session, seq: int) -> bool:
        """Whether this number was applied, or was given up by the client."""
        return seq in session.answers or seq < session.first_unanswered

    def was_applied(self, session: Session, seq: int) -> bool:
        """Decision: whether a number in the log is a copy. A copy may reach the log before the
        original is applied, so every node looks again when it applies."""
        return self.is_duplicate(session, seq)

    def follows(self, session: Session, seq: int) -> bool:
        """Decision: whether nothing the client still waits for is missing before this number."""
        return seq <= session.highest + 1 or seq <= session.first_unanswered

    def asked_for(self, name: str) -> Session | None:
        """Decision: the session that a copy at this node's door belongs to. It is looked at and not
        used: its age follows from the log, which is the same on every node."""
        return self.sessions.find(name)

    def remembered(self, name: str, seq: int) -> tuple[Answer, int] | None:
        """The answer given to (session, number), and at which index; None if there is none."""
        session = self.asked_for(name)
        if session is None or not self.is_duplicate(session, seq):
            return None
        return session.answers.get(seq)

    def admit(self, index: int, logged: LoggedCommand) -> tuple[Answer, int] | None:
        """Decide about a logged command at its index.

        Returns:
            None if it must be applied now and its answer given to :meth:`remember`; else the answer
            and the index it belongs to: the remembered one, or why the command is not applied.
        """
        seq, name, sessions = logged.seq, logged.session, self.sessions
        if sessions.find(name) is None and not sessions.may_begin(logged.opened_after):
            return ("expired", None, "the session is forgotten: begin a new one"), index
        session = sessions.use(name, index)
        session.forget_below(logged.first_unanswered)
        if self.was_applied(session, seq):
            self.duplicates += 1
            forgotten = "unknown", None, "the answer is forgotten: the client gave this number up"
            return session.answers.get(seq, (forgotten, index))
        if not self.follows(session, seq):
            return ("retry", None, "an earlier command of the session has not arrived"), index
        if len(session.answers) >= self.unanswered_max:
            return ("retry", None, f"{self.unanswered_max} answers wait to be seen"), index
        return None

    def remember(self, index: int, logged: LoggedCommand, answer: Answer) -> None:
        """The command admitted at this index was applied, with this answer."""
        session = self.sessions.find(logged.session)
        if session is not None:  # None if session_max is 0
            session.answers[logged.seq] = (answer, index)
            if logged.seq > session.highest:
                session.highest = logged.seq

    def encode(self) -> Any:
        """Decision: the receiver's part of a snapshot: all it remembers."""
        return self.sessions.encode()

    def restore(self, state: Any) -> None:
        """Take over a snapshot's part, decoded afresh."""
        self.sessions.restore(state)

    def digest(self) -> int:
        """Hash of what is remembered."""
        return self.sessions.digest()
