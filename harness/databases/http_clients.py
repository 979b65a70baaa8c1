"""Clients of databases that speak HTTP: what became of an operation, and what nodes answer.

The problem: an operation that met an error either did not happen, or may have. To call the second
``fail`` hides lost updates and invents others; to call the first ``info`` leaves the checker with
operations that never end. The common rules of databases over HTTP are here:

- nothing was sent (a refused connection, a dial without answer): ``fail``;
- the server answered with an error of which it is known that nothing was proposed: ``fail``;
- any other error, a timeout and a lost connection: ``info``, or ``fail`` if the operation only
  reads.

A database adds its port, the fragments of its errors that mean "refused", and a method
``_NAME(op)`` per operation, or one ``_do(op)`` for all. :func:`answered` and :func:`leaders` ask
nodes a question outside of any history, each on a connection of its own and for a short time only.

For the databases here; a user's own client needs no base, see :mod:`harness.databases.base`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from harness.databases.base import Invocation, Outcome
from harness.environments.base import Node
from harness.environments.http import HttpClient, HttpStatus, NotSent
from harness.errors import UsageError

#: how long a node may take to say whether it leads
QUESTION_TIMEOUT_S = 0.5

Question = Callable[[HttpClient], Awaitable[Any]]


class HttpDatabase(Protocol):
    """The interface of the database to its client."""

    @property
    def op_timeout_s(self) -> float:
        """How long an operation may take."""
        ...


DatabaseT = TypeVar("DatabaseT", bound=HttpDatabase)


class HttpDatabaseClient(Generic[DatabaseT]):
    """Speaks to one node.

    A database's clients set ``database`` (its name, for sentences), ``port``, ``refusals``
    (fragments of errors after which nothing was proposed), ``operations`` and ``reads`` (those
    which change nothing).
    """

    database: ClassVar[str]
    port: ClassVar[int]
    refusals: ClassVar[tuple[str, ...]] = ()
    operations: ClassVar[frozenset[str]] = frozenset()
    reads: ClassVar[frozenset[str]] = frozenset({"read"})

    def __init__(self, db: DatabaseT) -> None:
        self._db = db
        self._http: HttpClient | None = None

    async def open(self, node: Node) -> None:
        """Speak to this node from now on."""
        await self.close()
        self._http = await node.http(self.port, timeout_s=self._db.op_timeout_s)

    async def invoke(self, op: Invocation) -> Outcome:
        """One operation; see the module's text for what errors mean."""
        reads = op.f in self.reads
        try:
            return await self._do(op)
        except NotSent as error:
            return op.fail(str(error))
        except HttpStatus as error:
            text = str(error)
            refused = reads or any(words in text for words in self.refusals)
            return op.fail(text) if refused else op.info(text)
        except OSError as error:  # a TimeoutError is one too
            text = str(error) or f"no answer within {self._db.op_timeout_s:g} s"
            return op.fail(text) if reads else op.info(text)

    async def _do(self, op: Invocation) -> Outcome:
        """The operation's own method; every kind of objects has its own."""
        if op.f not in self.operations:
            has = ", ".join(sorted(self.operations))
            raise UsageError(f"the {self.database} client has no operation {op.f!r}; it has {has}")
        outcome: Outcome = await getattr(self, f"_{op.f}")(op)
        return outcome

    @property
    def _speaks(self) -> HttpClient:
        assert self._http is not None, "open() comes before invoke()"
        return self._http

    async def close(self) -> None:
        """Hang up."""
        if self._http is not None:
            await self._http.close()


async def answered(
    node: Node, port: int, question: Question, *, timeout_s: float = QUESTION_TIMEOUT_S
) -> Any:
    """The answer of a node to one question, or None if it does not answer or refuses.

    Args:
        node: whom to ask.
        port: where it listens.
        question: one request, such as ``lambda http: http.get("/status")``.
        timeout_s: how long it may take.
    """
    http: HttpClient = await node.http(port, timeout_s=timeout_s)
    try:
        return await question(http)
    except (OSError, HttpStatus):
        return None
    finally:
        await http.close()


async def leaders(
    nodes: Sequence[Node], port: int, question: Question, leads: Callable[[Node, Any], bool]
) -> list[str]:
    """Every node which believes that it leads; a deposed leader too, which is the point.

    Args:
        nodes: whom to ask, one after the other.
        port: where they listen.
        question: one request; a node that does not answer it in time does not lead.
        leads: whether this node's answer says that it leads. An answer of a shape it does not
            know (a KeyError, TypeError or AttributeError) says nothing of the kind.
    """
    found = []
    for node in nodes:
        answer = await answered(node, port, question)
        try:
            if answer is not None and leads(node, answer):
                found.append(node.name)
        except (KeyError, TypeError, AttributeError):
            continue
    return found
