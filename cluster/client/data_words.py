"""The words of ``python -m cluster.client`` for a data cluster: transactions and partitions.

    data run 'read x' 'append log 7' 'scan a c'        one transaction, in one request
    data run - < operations                            the same, an operation a line
    data begin                                         {"value": {"txn": "n1.5f.1", ...}, ...}
    data read n1.5f.1 x                                then write, append, delete, scan
    data commit n1.5f.1                                or abort
    data shell                                         the same, line by line
    partitions                                         owner, leader and epoch of each
    partition move p00003 g-n2                         also: split KEY, merge KEY

A transaction that was begun lives at the node where it began, and its id says which: each step goes
there. It is given up after its time to live (10 s, unless the nodes say otherwise), so that no
transaction waits for a shell that was left. An operation is written as in the shell:

    read KEY | write KEY VALUE | append KEY ITEM | delete KEY | scan LOW [HIGH]

A key is a word, or a JSON string if it has blanks; a value is JSON, or else a string.

What went wrong is one sentence in ``error``: why a transaction was aborted, that a partition has
moved, that there is no such partition or transaction, or that the nodes carry no partitions.

Used by ``cluster.client.command_line``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from cluster.client.asyncio_client import AsyncioClient
from cluster.client.session import Complete
from cluster.client.words import NO_SUCH, USAGE, code_of, say, strict_json, value_of
from cluster.data.isolation_levels import LEVELS
from cluster.data.transaction_commands import problem
from cluster.runtime.options import OptionError
from cluster.wire import Command

#: word of an operation -> how a transaction says it, and its arguments: the last may be left out
OPERATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "read": ("r", ("KEY",)),
    "write": ("w", ("KEY", "VALUE")),
    "append": ("append", ("KEY", "ITEM")),
    "delete": ("w", ("KEY",)),
    "scan": ("scan", ("LOW", "HIGH")),
}
#: what else the shell understands
_SHELL_WORDS = ("begin", "commit", "abort", "quit")
#: word of an operation -> the step of a transaction that was begun
_STEPS = {"delete": "txn-write"}
#: fields of a partition that are shown only if they say something
_OFTEN_EMPTY = ("other", "at", "request", "pinned", "leader")
_STALE, _FROZEN = "stale-epoch: ", "frozen: "
_DATA_ONLY = "only nodes of role data carry partitions, and transactions over them"


# Operations ---------------------------------------------------------------------------------------


def parse_operation(line: str) -> list[Any]:
    """One operation as a transaction says it, from a line.

    Args:
        line: as ``append log 7``.

    Raises:
        OptionError: it is none.
    """
    line = line.strip()
    word, _, rest = line.partition(" ")
    if word not in OPERATIONS:
        raise OptionError(f"{line!r} is no operation; there are {', '.join(OPERATIONS)}")
    kind, names = OPERATIONS[word]
    key, rest = _word(line, rest)
    if word == "scan":
        high, rest = _word(line, rest) if rest else (None, "")
        made: list[Any] = [kind, [key, high], None]
    elif len(names) == 2:
        if not rest:
            raise OptionError(f"{line!r} has no {names[1]}: it should be {word} {' '.join(names)}")
        made, rest = [kind, key, value_of(rest)], ""
    else:
        made = [kind, key, None]
    if rest:
        raise OptionError(f"{line!r} goes on with {rest!r}: it should be {word} {' '.join(names)}")
    return made


def _word(line: str, text: str) -> tuple[str, str]:
    """The next word of a line, and what follows it."""
    text = text.strip()
    if not text:
        raise OptionError(f"{line!r} is too short")
    if not text.startswith('"'):
        word, _, rest = text.partition(" ")
        return word, rest.strip()
    try:
        word, end = json.JSONDecoder().raw_decode(text)
    except ValueError as error:
        raise OptionError(f"{line!r}: {text!r} is no JSON string: {error}") from None
    return word, text[end:].strip()


def parse_operations(texts: Sequence[str]) -> list[list[Any]]:
    """The operations of ``data run``: one in each text, or all of them in one as JSON.

    Raises:
        OptionError: one is none, or there are none.
    """
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise OptionError("data run has no operations; give some, as 'read x', or - for stdin")
    if len(texts) > 1 or not texts[0].lstrip().startswith("["):
        return [parse_operation(text) for text in texts]
    try:
        return msgspec.convert(strict_json(texts[0]), list[list[Any]])
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise OptionError(f"{texts[0][:60]!r} is no JSON list of operations: {error}") from None


def step_of(txn: str, operation: Sequence[Any]) -> Command:
    """One operation as a step of a transaction that was begun."""
    kind, key, value = operation
    match kind:
        case "r":
            return Command("txn-read", txn, (key,))
        case "w":
            return Command("txn-write", txn, (key, value))
        case "append":
            return Command("txn-append", txn, (key, value))
        case _:
            return Command("txn-scan", txn, tuple(key))


def node_of(txn: str) -> str:
    """The node where a transaction lives, by its id.

    Raises:
        OptionError: it is no id.
    """
    node, *rest = txn.rsplit(".", 2)
    if len(rest) != 2 or not node:
        raise OptionError(f"{txn!r} is no transaction; `data begin` prints one, as n1.5f3a.7")
    return node


# What went wrong ----------------------------------------------------------------------------------


def explained(done: Complete, command: Command) -> Complete:
    """An outcome whose error is a sentence for the one who asked.

    Args:
        done: the outcome.
        command: what was asked.
    """
    if done.status == "ok":
        return done
    return msgspec.structs.replace(done, error=_sentence(done, command))


def _sentence(done: Complete, command: Command) -> str:
    error, node = done.error, done.node or "the node"
    if error.startswith(NO_SUCH) and command.op in error:
        return f"{node} is of no data cluster: {_DATA_ONLY}"
    if error == f"there is no transaction {command.key!r} here":
        return (
            f"{node} has no transaction {command.key!r}: it has ended, was given up after its time "
            "to live, or began before the node did"
        )
    if not command.op.startswith("txn-"):
        return error
    ends = command.op in ("txn-run", "txn-commit")
    if done.status == "unknown":
        what = "it committed" if ends else "the step was taken"
        return f"it is not known whether {what}: {error}"
    if not done.answered:  # no node has aborted it: it may live where it began
        return f"{'it did not commit' if ends else 'the step was not taken'}: {error}"
    why = _moved(error)
    return f"aborted: {why}" if ends else why


def _moved(error: str) -> str:
    """A reason, in words where it is about a partition that is not where it was."""
    if error.startswith(_STALE):
        return f"a partition has changed since the node read the map, so try again ({error})"
    if error.startswith(_FROZEN):
        return f"{error.removeprefix(_FROZEN)} just now, so try again"
    return error


async def _ask(client: AsyncioClient, command: Command, *, node: str = "") -> Complete:
    wrong = problem(command) if command.op.startswith("txn-") else ""
    if wrong:
        raise OptionError(wrong)
    try:
        return explained(await client.call(command, node=node), command)
    except ValueError as error:  # no such node among the addresses
        raise OptionError(f"--nodes: {error}") from None


# Words --------------------------------------------------------------------------------------------


def add_parsers(ops: Any, parser_class: type[argparse.ArgumentParser]) -> None:
    """Add the words; each sets ``carry``."""
    data = ops.add_parser(
        "data",
        help="transactions over partitions (role data)",
        description=(__doc__ or "").partition("\n\nUsed by")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    words = data.add_subparsers(dest="word", required=True, parser_class=parser_class)
    run = words.add_parser("run", help="a whole transaction: 'read x' 'append log 7'")
    run.add_argument("operations", nargs="+", metavar="OPERATION|JSON|-")
    shell = words.add_parser("shell", help="operations line by line, with begin and commit")
    begin = words.add_parser("begin", help="begin a transaction; its id is printed")
    for parser, carry in ((run, _run), (shell, _shell), (begin, _begin)):
        parser.add_argument("--isolation", choices=tuple(LEVELS), default=next(iter(LEVELS)))
        parser.add_argument("--staleness", type=float, default=0.0, metavar="S",
                            help="read what is so old, and write nothing")  # fmt: skip
        parser.add_argument("--node", default="", help="where it lives")
        parser.set_defaults(carry=carry, key="")
    _step_parsers(words)
    _partition_parsers(ops, parser_class)


def _step_parsers(words: Any) -> None:
    for word, (_, names) in OPERATIONS.items():
        parser = words.add_parser(word, help=f"a step: {word} TXN {' '.join(names)}")
        parser.add_argument("txn", metavar="TXN")
        for name in names:
            optional = name == "HIGH"
            type_ = value_of if name in ("VALUE", "ITEM") else str
            parser.add_argument(
                name.lower(), metavar=name, type=type_, nargs="?" if optional else None
            )
        parser.set_defaults(carry=_step, node="", key="")
    for word, help in (("commit", "it happens, or says why not"), ("abort", "it is given up")):
        parser = words.add_parser(word, help=help)
        parser.add_argument("txn", metavar="TXN")
        parser.set_defaults(carry=_end, node="", key="")


def _partition_parsers(ops: Any, parser_class: type[argparse.ArgumentParser]) -> None:
    listing = ops.add_parser("partitions", help="a line for each: owner, leader, epoch (role data)")
    listing.add_argument("--node", default="", help="whose map")
    listing.set_defaults(carry=_partitions, key="")
    words = ops.add_parser("partition", help="move, split or merge one (role data)")
    verbs = words.add_subparsers(dest="word", required=True, parser_class=parser_class)
    for word, names, help in (
        ("move", ("ID", "GROUP"), "it shall be in this group, and stay there"),
        ("split", ("KEY",), "there shall be a split point at KEY"),
        ("merge", ("KEY",), "there shall be no split point at KEY"),
    ):
        parser = verbs.add_parser(word, help=help)
        for name in names:
            parser.add_argument("key" if name != "GROUP" else "group", metavar=name)
        parser.set_defaults(carry=_partition, node="")


# Carrying out -------------------------------------------------------------------------------------


def _options(given: argparse.Namespace) -> dict[str, Any]:
    if given.staleness < 0:
        raise OptionError(f"--staleness is {given.staleness:g}; it should be 0 or more seconds")
    options: dict[str, Any] = {"isolation": given.isolation}
    return options | ({"staleness_ns": int(given.staleness * 1e9)} if given.staleness else {})


async def _run(client: AsyncioClient, given: argparse.Namespace) -> int:
    texts = given.operations
    if texts == ["-"]:
        texts = sys.stdin.read().splitlines()
    command = Command("txn-run", "", (parse_operations(texts), _options(given)))
    return say(await _ask(client, command, node=given.node))


async def _begin(client: AsyncioClient, given: argparse.Namespace) -> int:
    return say(await _ask(client, Command("txn-begin", "", (_options(given),)), node=given.node))


async def _step(client: AsyncioClient, given: argparse.Namespace) -> int:
    kind, names = OPERATIONS[given.word]
    values = [getattr(given, name.lower()) for name in names]
    operation = (
        [kind, values, None] if kind == "scan" else [kind, *values, *[None] * (2 - len(values))]
    )
    return say(await _ask(client, step_of(given.txn, operation), node=node_of(given.txn)))


async def _end(client: AsyncioClient, given: argparse.Namespace) -> int:
    command = Command(f"txn-{given.word}", given.txn)
    return say(await _ask(client, command, node=node_of(given.txn)))


async def _partitions(client: AsyncioClient, given: argparse.Namespace) -> int:
    done = await _ask(client, Command("partitions", ""), node=given.node)
    if done.status != "ok":
        return say(done)
    for row in done.value["partitions"]:
        shown = {name: v for name, v in row.items() if v or name not in _OFTEN_EMPTY}
        print(json.dumps(shown))
    return 0


async def _partition(client: AsyncioClient, given: argparse.Namespace) -> int:
    to = (given.group,) if given.word == "move" else ()
    return say(await _ask(client, Command(f"partition-{given.word}", given.key, to)))


# The shell ----------------------------------------------------------------------------------------


class _Shell:
    """Lines in, a line of answer for each; with the transaction that is open, if one is."""

    def __init__(self, client: AsyncioClient, options: dict[str, Any], node: str) -> None:
        self._client, self._options, self._node = client, options, node
        self.txn = ""

    async def do(self, line: str) -> Complete:
        """Carry a line out.

        Raises:
            OptionError: the line is none of the shell's.
        """
        word = line.strip()
        if word == "begin" and not self.txn:
            return await self._begun()
        if word in ("commit", "abort") and self.txn:
            txn, self.txn = self.txn, ""
            return await _ask(self._client, Command(f"txn-{word}", txn), node=node_of(txn))
        if word in ("begin", "commit", "abort"):
            state = f"{self.txn} is open" if self.txn else "no transaction is open"
            raise OptionError(f"{word}: {state}")
        if word.partition(" ")[0] not in OPERATIONS:
            words = ", ".join((*OPERATIONS, *_SHELL_WORDS))
            raise OptionError(f"{word!r} is no line of the shell; there are {words}")
        operation = parse_operation(line)
        if self.txn:
            command = step_of(self.txn, operation)
            return await _ask(self._client, command, node=node_of(self.txn))
        command = Command("txn-run", "", ([operation], self._options))
        done = await _ask(self._client, command, node=self._node)
        if done.status != "ok":
            return done
        return msgspec.structs.replace(done, value=done.value[0][2])

    async def _begun(self) -> Complete:
        command = Command("txn-begin", "", (self._options,))
        done = await _ask(self._client, command, node=self._node)
        if done.status == "ok":
            self.txn = done.value["txn"]
        return done

    async def leave(self) -> None:
        """Give up what is open, and say so: what was written in it is not kept."""
        if self.txn:
            print(f"{self.txn} was not committed, and is given up", flush=True)
            with contextlib.suppress(OptionError):
                await self.do("abort")


async def _shell(client: AsyncioClient, given: argparse.Namespace) -> int:
    shell, code = _Shell(client, _options(given), given.node), 0
    loop = asyncio.get_running_loop()
    try:
        while True:
            if sys.stdin.isatty():
                print(f"{shell.txn or 'data'}> ", end="", flush=True)
            line = await loop.run_in_executor(None, sys.stdin.readline)
            if not line or line.strip() in ("quit", "exit"):
                return code
            if line.strip():
                code = max(code, await _answered(shell, line))
    finally:
        await shell.leave()


async def _answered(shell: _Shell, line: str) -> int:
    """Carry a line out and print what came of it; the exit code it asks for."""
    try:
        done = await shell.do(line)
    except OptionError as error:
        print(f"error: {error}", flush=True)
        return USAGE
    words = json.dumps(done.value, default=repr) if done.status == "ok" else done.error
    print(words if done.status == "ok" else f"{done.status}: {words}", flush=True)
    return code_of(done)


__all__ = ["add_parsers", "explained", "node_of", "parse_operation", "parse_operations", "step_of"]
