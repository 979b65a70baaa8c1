"""Partition requests: what an operator wants done with partitions, at any node.

    partition-split KEY          there shall be a split point at KEY
    partition-merge KEY          there shall be no split point at KEY
    partition-move ID (group)    the partition ID shall be in this group
    partitions ""                {"revision", "scheme", "partitions": [...]}: the node's map; each
                                 with the leader of its group, as far as the node knows

Each says how things shall be, and not what to do, so a client may send it again.

The node that is asked writes the request into the core, attached to its own lease, and the
controller finds it in the map. The controller writes the outcome beside it, in the same transaction
as the change of the map. The node sees the outcome in its map, answers the client, and deletes the
request. If the node dies, its lease ends, and the request with it.

Invariants. A client is told ``ok`` only after the change is in the map. Each request is answered
once.

Source: the desired state of Kubernetes' objects (specification and status in one record).
Used by ``cluster.data.node``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.channel.request_waiting_list import NEVER_NS
from cluster.core.answers import Answer, fail, key_problem, ok, short
from cluster.data.group_client import Ask
from cluster.data.partition_record import REQUESTS, encoded
from cluster.data.placement import Placement
from cluster.data.placement_plan import MERGE, MOVE, SPLIT
from cluster.data.questions import Questions
from cluster.data.registration import Registration
from cluster.data.replicated_groups import CORE
from cluster.ports import Reply
from cluster.wire import Command, Request, Response

LIST = "partitions"
#: operation -> what it takes after the key
_ARGUMENTS: dict[str, tuple[str, ...]] = {SPLIT: (), MERGE: (), MOVE: ("group",), LIST: ()}


class _Waiting:
    """A request, and the client that waits for its outcome, or waited."""

    __slots__ = ("connection", "deadline_ns", "id", "lease", "seen")

    def __init__(self, connection: int, id: int, deadline_ns: int, lease: str) -> None:
        self.connection = connection  # -1 if the client is gone
        self.id = id
        self.deadline_ns = deadline_ns
        self.lease = lease
        self.seen = False  # in the map


class PartitionRequests:
    """The requests about partitions that came to one node.

    Args:
        node: this node.
        life: a text that no earlier life of this node used.
        placement: the node's map.
        registration: the node's lease.
        ask: sends a command to a group.
        leader: who leads a group, as far as the node knows; "" for unknown.
    """

    def __init__(
        self,
        node: str,
        life: str,
        placement: Placement,
        registration: Registration,
        ask: Ask,
        leader: Callable[[str], str],
    ) -> None:
        self._leader = leader
        self._prefix = f"{node}-{life}-"
        self._placement = placement
        self._registration = registration
        self._questions = Questions(ask)
        self._number = 0
        self._waiting: dict[str, _Waiting] = {}
        #: requests that have an outcome, and whose deletion was asked for
        self._deleting: set[str] = set()
        self._replies: list[Reply] = []

    @property
    def deadline_ns(self) -> int:
        """When :meth:`tick` must be called at the latest."""
        return min((each.deadline_ns for each in self._waiting.values()), default=NEVER_NS)

    def on_client(self, now_ns: int, connection: int, request: Request) -> None:
        """Take a request about partitions."""
        command = request.command
        wrong = request_problem(command)
        if wrong:
            self._reply(connection, request.id, fail(wrong))
        elif command.op == LIST:
            self._reply(connection, request.id, ok(listed(self._placement, self._leader)))
        elif not self._registration.valid(now_ns):
            self._reply(connection, request.id, ("retry", None, "this node has no lease yet"))
        else:
            self._submit(now_ns, connection, request)

    def _submit(self, now_ns: int, connection: int, request: Request) -> None:
        self._number += 1
        name = f"{self._prefix}{self._number}"
        deadline_ns = now_ns + max(0, request.timeout_ns)
        command, lease = request.command, self._registration.lease
        waiting = self._waiting[name] = _Waiting(connection, request.id, deadline_ns, lease)
        value = {
            "op": command.op,
            "key": command.key,
            "to": command.args[0] if command.args else "",
            "outcome": "",
            "error": "",
            "lease": lease,
        }

        def submitted(later_ns: int, status: str, answer: Any, error: str) -> None:
            if status != "ok" and not waiting.seen and name in self._waiting:
                self._end(name, (status, None, error))

        put = Command("put", REQUESTS + name, (value, lease))
        self._questions.ask(now_ns, CORE, put, submitted)

    def tick(self, now_ns: int) -> None:
        """Look for outcomes in the map, and for clients that have waited long enough."""
        for name, waiting in list(self._waiting.items()):
            claim = self._placement.requests.get(name)
            if claim is not None:
                waiting.seen = True
                if claim.value["outcome"]:
                    status, error = claim.value["outcome"], claim.value["error"]
                    self._end(name, (status, status == "ok" or None, error))
                    continue
            elif waiting.seen or waiting.lease != self._registration.lease:
                self._end(name, ("unknown", None, "the node's lease ended before it was done"))
                continue
            if waiting.deadline_ns <= now_ns:
                self._tell(waiting, ("unknown", None, "it is not done yet; the request stands"))
        self._deleting &= self._placement.requests.keys()
        for name, claim in self._placement.requests.items():
            mine = name.startswith(self._prefix) and name not in self._waiting
            if mine and claim.value["outcome"] and name not in self._deleting:
                self._delete(now_ns, name)

    def _delete(self, now_ns: int, name: str) -> None:
        """Delete a request that has its outcome; again, if it is still there after that. It may be
        one that came into the map after the node had given it up as unknown."""

        def deleted(later_ns: int, status: str, answer: Any, error: str) -> None:
            if status != "ok":
                self._deleting.discard(name)

        self._deleting.add(name)
        self._questions.ask(now_ns, CORE, Command("delete", REQUESTS + name), deleted)

    def _end(self, name: str, answer: Answer) -> None:
        self._tell(self._waiting.pop(name), answer)

    def _tell(self, waiting: _Waiting, answer: Answer) -> None:
        """Answer the client, once; the request may go on."""
        if waiting.connection >= 0:
            self._reply(waiting.connection, waiting.id, answer)
        waiting.connection, waiting.deadline_ns = -1, NEVER_NS

    def on_answer(self, now_ns: int, token: int, status: str, value: Any, error: str) -> bool:
        """Take an answer; whether it was to a question of this part."""
        return self._questions.on_answer(now_ns, token, status, value, error)

    def on_disconnect(self, connection: int) -> None:
        """A client's connection is gone; its requests stand, and are not answered."""
        for waiting in self._waiting.values():
            if waiting.connection == connection:
                waiting.connection, waiting.deadline_ns = -1, NEVER_NS

    def take(self) -> list[Reply]:
        """Take the answers to clients that there are."""
        replies, self._replies = self._replies, []
        return replies

    def _reply(self, connection: int, id: int, answer: Answer) -> None:
        status, value, error = answer
        revision = max(0, self._placement.revision)
        response = Response(id=id, status=status, value=value, revision=revision, error=error)
        self._replies.append(Reply(connection, response))


def request_problem(command: Command) -> str:
    """Why a request can never be carried out; "" if it may be."""
    names = _ARGUMENTS.get(command.op)
    if names is None:
        return f"there is no operation {short(command.op)}; known are {', '.join(_ARGUMENTS)}"
    if len(command.args) != len(names) or not all(type(arg) is str for arg in command.args):
        wanted = " and ".join(names) or "nothing"
        return f"{command.op} takes {wanted} after the key, not {short(command.args)}"
    return key_problem(command.key)


def listed(placement: Placement, leader: Callable[[str], str]) -> dict[str, Any]:
    """The map as clients see it.

    Args:
        placement: the map.
        leader: who leads a group, as far as is known.
    """
    layout = placement.layout
    return {
        "revision": placement.revision,
        "scheme": layout.scheme if layout is not None else None,
        "partitions": [
            {"id": each.id, **encoded(each), "leader": leader(each.group)}
            for _, each in sorted(placement.partitions.items())
        ],
    }
