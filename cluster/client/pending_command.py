"""Pending command: one command of a session that has no outcome yet, and what its copies met.

How long a copy is waited for is the rule of ``cluster.channel.asking_again``: longer with each copy
that was lost, and never beyond the command's deadline. A :class:`Question` is what a session asks
for itself. Bookkeeping, used by ``cluster.client.session``.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.channel.asking_again import window_ns
from cluster.channel.request_waiting_list import NEVER_NS
from cluster.client.session_name import SessionName
from cluster.core.member_requests import CHANGES, MEMBERS, TRANSFER
from cluster.core.state_watch import WATCH
from cluster.ports import NodeId
from cluster.wire import Command, Request

UNREACHED = "no node could be reached"


class Pending:
    """A command that has no outcome yet."""

    __slots__ = (
        "attempt_until_ns",
        "command",
        "copies_lost",
        "deadline_ns",
        "id",
        "in_doubt",
        "last_error",
        "last_node",
        "leader",
        "mode",
        "request_id",
        "seq",
        "staleness_ns",
        "to",
        "turned_away",
    )

    def __init__(
        self,
        id: int,
        seq: int,
        command: Command,
        mode: str,
        deadline_ns: int,
        to: NodeId,
        staleness_ns: int,
    ) -> None:
        self.id = id
        self.seq = seq
        self.command = command
        self.mode = mode
        self.deadline_ns = deadline_ns
        self.to = to
        self.turned_away = False  # the node to ask first took no connection
        self.staleness_ns = staleness_ns
        self.request_id = 0  # of the copy under way, 0 if none is
        self.attempt_until_ns = NEVER_NS
        self.in_doubt = False  # some copy may have been taken
        self.copies_lost = 0  # copies that ended without an outcome
        self.last_error = UNREACHED
        self.last_node = ""
        self.leader: NodeId = ""  # whom the last answer named, if that one cannot be gone to

    @property
    def pinned(self) -> bool:
        """Whether only the node it names may answer: with its own state, or since a transaction
        that was begun lives there."""
        return bool(self.to) and (self.mode == "stale" or (self.once and bool(self.command.key)))

    @property
    def writes(self) -> bool:
        """Whether a copy of it that was taken may have changed something."""
        return bool(self.seq) or self.command.op in CHANGES or self.command.op == TRANSFER

    @property
    def once(self) -> bool:
        """Whether it must not be sent twice: data nodes recognise no copy of a transaction."""
        return self.command.op.startswith("txn-")

    @property
    def due_ns(self) -> int:
        """When the session must look at it again."""
        return min(self.deadline_ns, self.attempt_until_ns)

    def copy(
        self, request_id: int, node: NodeId, now_ns: int, attempt_ns: int, first_unanswered: int,
        name: SessionName,
    ) -> Request:  # fmt: skip
        """A copy that is sent to a node now, which should answer within ``attempt_ns``."""
        self.request_id, self.last_node = request_id, node
        attempt_ns = max(1, self.deadline_ns - now_ns) if self.once else attempt_ns
        self.attempt_until_ns = now_ns + attempt_ns
        return Request(
            id=request_id,
            session=str(name),
            seq=self.seq,
            first_unanswered=first_unanswered,
            command=self.command,
            mode=self.mode,
            timeout_ns=self.patience_ns(now_ns, attempt_ns),
            opened_after=max(0, name.opened_after),
            min_revision=name.revision,
            staleness_ns=self.staleness_ns,
        )

    def window_ns(self, first_ns: int, restless: bool) -> int:
        """How long the next copy may go unanswered; ``restless``: as long as the first."""
        return first_ns if restless else window_ns(first_ns, self.copies_lost)

    def answered(self, error: str) -> None:
        """The copy under way was answered."""
        self.request_id, self.attempt_until_ns, self.last_error = 0, NEVER_NS, error
        self.leader = ""

    def why_late(self, behind: bool, known: Sequence[NodeId]) -> str:
        """Why it is not done at its deadline.

        Args:
            behind: whether the window did not reach it.
            known: the nodes whose addresses the session knows.
        """
        if self.request_id:
            return f"{self.last_node} did not answer"
        if behind and self.last_error == UNREACHED:
            return "it was not sent, since earlier commands were still under way"
        if self.leader == self.last_node != "":
            return (
                f"{self.last_error}, and this client asked it as {self.last_node}: look at the "
                f"address of {self.last_node} in --nodes"
            )
        if self.leader and self.leader not in known:
            return (
                f"{self.last_error}, and this client knows no address of {self.leader}: name it "
                f"among the nodes, as in --nodes {self.leader}=HOST:PORT"
            )
        return self.last_error

    def unreached(self, why: str, refused_by: NodeId) -> None:
        """A connection is gone, or a node took none."""
        self.turned_away |= bool(refused_by) and refused_by == self.to
        if not self.last_node:  # it was never sent: this is why
            self.last_error = why

    def lost(self, error: str) -> None:
        """The copy under way will not be answered: it may have been taken."""
        self.answered(error)
        self.in_doubt = True
        self.copies_lost += 1

    def patience_ns(self, now_ns: int, attempt_ns: int) -> int:
        """How long a node may keep it; a watch, and a change of the members that waits, are
        answered before the client looks away: the answer says what it waits for."""
        left_ns = max(1, self.deadline_ns - now_ns)
        if self.command.op == WATCH:
            attempt_ns -= attempt_ns // 5
        elif self.command.op in CHANGES:
            attempt_ns = min(attempt_ns, left_ns)
            attempt_ns -= attempt_ns // 5
        return min(attempt_ns, left_ns)


class Question:
    """A question of the session itself; none if its id is 0.

    Args:
        id: of the request.
        until_ns: when the node that is asked counts as silent.
        member: whose address is asked for; "" for the question for any revision, without which a
            session sends no write.
    """

    __slots__ = ("id", "member", "until_ns")

    def __init__(self, id: int = 0, until_ns: int = NEVER_NS, member: NodeId = "") -> None:
        self.id, self.until_ns, self.member = id, until_ns, member

    def request(self, session: str, attempt_ns: int) -> Request:
        """The question, as it is sent."""
        asked = Command(MEMBERS if self.member else "get", "")
        return Request(self.id, session, 0, 1, asked, "stale", attempt_ns)
