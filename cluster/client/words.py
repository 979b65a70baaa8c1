"""The words of ``python -m cluster.client`` beyond single keys: ranges, leases, locks and more.

Each word adds its parser, and is carried out by a coroutine that prints its answer as JSON and
returns the exit code. Used by ``cluster.client.__main__``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

from cluster.client.asyncio_client import AsyncioClient
from cluster.client.recipes import Election, Held, Lock, RecipeError, events
from cluster.client.session import Complete
from cluster.runtime.options import OptionError
from cluster.wire import Command

EXIT = {"ok": 0, "fail": 1, "unknown": 2}
#: variable in which the command that a lock or leadership is held for finds its fencing token
FENCING_TOKEN = "SPLITBRAIN_FENCING_TOKEN"
#: keys written by one transaction of ``snapshot restore``
RESTORED_AT_ONCE = 100
#: keys read at once by ``snapshot save``
SAVED_AT_ONCE = 1_000

Carry: TypeAlias = Callable[[AsyncioClient, argparse.Namespace], Coroutine[Any, Any, int]]


def say(done: Complete) -> int:
    """Print an outcome; its exit code."""
    fields = ("status", "value", "revision", "error", "node")
    print(json.dumps({name: getattr(done, name) for name in fields}, default=repr))
    return EXIT.get(done.status, 2)


def add_parsers(ops: Any, parser_class: type[argparse.ArgumentParser]) -> None:
    """Add every word's parser; each sets ``carry``."""
    _range_parser(ops)
    _txn_parser(ops)
    _watch_parser(ops)
    _lease_parsers(ops, parser_class)
    _held_parsers(ops)
    compact = ops.add_parser("compact", help="let revisions below this one go")
    compact.add_argument("revision", type=int)
    compact.set_defaults(carry=_compact, node="", key="")
    snapshot = ops.add_parser("snapshot", help="all keys, at one revision, to or from a file")
    snapshot.add_argument("word", choices=("save", "restore"))
    snapshot.add_argument("file", type=Path)
    snapshot.set_defaults(carry=_snapshot, node="", key="")


def _range_parser(ops: Any) -> None:
    parser = ops.add_parser("range", help="keys that begin with KEY, or up to --end")
    parser.add_argument("key")
    parser.add_argument("--end", help="where to stop, itself not included")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--revision", type=int, help="as of this revision")
    parser.add_argument("--keys-only", action="store_true")
    parser.add_argument("--count-only", action="store_true")
    parser.add_argument("--mode", default="linearizable")
    parser.set_defaults(carry=_range, node="")


def _txn_parser(ops: Any) -> None:
    parser = ops.add_parser("txn", help="several operations at once, from JSON")
    parser.add_argument(
        "text",
        metavar="JSON|-",
        help='{"compare": [["x", "value", "==", 1]], "then": [["put", "x", 2]], "else": []}',
    )
    parser.set_defaults(carry=_txn, node="", key="")


def _watch_parser(ops: Any) -> None:
    parser = ops.add_parser("watch", help="print changes of keys that begin with KEY, a line each")
    parser.add_argument("key")
    parser.add_argument("--after", type=int, default=0, help="the revision to begin after")
    parser.add_argument("--events", type=int, default=0, help="end after so many; 0 for never")
    parser.set_defaults(carry=_watch, node="")


def _lease_parsers(ops: Any, parser_class: type[argparse.ArgumentParser]) -> None:
    words = ops.add_parser("lease", help="what ends by itself").add_subparsers(
        dest="word", required=True, parser_class=parser_class
    )
    for word, help in (
        ("grant", "a new lease; keys are attached with: put KEY VALUE --lease ID"),
        ("renew", "it lives for its whole time again"),
        ("revoke", "it ends now, and its keys with it"),
        ("list", "every lease, with its keys"),
    ):
        parser = words.add_parser(word, help=help)
        parser.set_defaults(carry=_lease, node="", key="")
        if word == "grant":
            parser.add_argument("ttl_s", type=float, metavar="SECONDS")
            parser.add_argument("--id", dest="key", default="")
        elif word != "list":
            parser.add_argument("key", metavar="ID")


def _held_parsers(ops: Any) -> None:
    for op, what in (("lock", "hold a lock"), ("elect", "campaign, and lead")):
        parser = ops.add_parser(op, help=f"{what} while a command runs, or until interrupted")
        parser.add_argument("key", metavar="NAME")
        if op == "elect":
            parser.add_argument("candidate", help="what others read as the leader")
        parser.add_argument("--ttl", type=float, default=10.0, metavar="S")
        parser.add_argument("--wait", type=float, metavar="S", help="give up after so long")
        parser.add_argument(
            "command",
            nargs="*",
            help=f"after --, a command to run meanwhile, with {FENCING_TOKEN} set",
        )
        parser.set_defaults(carry=_hold, node="")


# Carrying out -------------------------------------------------------------------------------------


async def _range(client: AsyncioClient, given: argparse.Namespace) -> int:
    names = ("end", "limit", "revision", "keys_only", "count_only")
    options = {name: getattr(given, name) for name in names if getattr(given, name)}
    return say(await client.call(Command("range", given.key, (options,)), mode=given.mode))


async def _txn(client: AsyncioClient, given: argparse.Namespace) -> int:
    text = sys.stdin.read() if given.text == "-" else given.text
    try:
        asked = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OptionError(f"txn takes a JSON object, not {text[:60]!r}: {error}") from None
    if type(asked) is not dict:
        raise OptionError(f"txn takes a JSON object, not {text[:60]!r}")
    parts = tuple(asked.pop(name, []) for name in ("compare", "then", "else"))
    if asked:
        raise OptionError(f"txn has no part {next(iter(asked))!r}; it has compare, then and else")
    return say(await client.call(Command("txn", "", parts)))


async def _watch(client: AsyncioClient, given: argparse.Namespace) -> int:
    left = given.events
    async for event in events(client, given.key, after=given.after):
        print(json.dumps(event), flush=True)
        left -= 1
        if left == 0:
            break
    return 0


async def _lease(client: AsyncioClient, given: argparse.Namespace) -> int:
    if given.word == "list":
        return say(await client.call(Command("leases", "")))
    args = (int(given.ttl_s * 1e9),) if given.word == "grant" else ()
    return say(await client.call(Command(f"lease-{given.word}", given.key, args)))


async def _hold(client: AsyncioClient, given: argparse.Namespace) -> int:
    held: Held
    if given.op == "elect":
        held = Election(client, given.key, given.candidate, ttl_s=given.ttl)
    else:
        held = Lock(client, given.key, ttl_s=given.ttl)
    if not await held.take(timeout_s=given.wait):
        print(json.dumps({"status": "fail", "error": f"{given.key} was not free in time"}))
        return 1
    print(json.dumps({"status": "ok", "token": held.token}), flush=True)
    try:
        if given.command:
            variables = {**os.environ, FENCING_TOKEN: str(held.token)}
            process = await asyncio.create_subprocess_exec(*given.command, env=variables)
            return await process.wait()
        await asyncio.Event().wait()
        return 0
    finally:
        await held.give_up()


async def _compact(client: AsyncioClient, given: argparse.Namespace) -> int:
    return say(await client.call(Command("compact", "", (given.revision,))))


async def _snapshot(client: AsyncioClient, given: argparse.Namespace) -> int:
    return await (_save if given.word == "save" else _restore)(client, given.file)


async def _save(client: AsyncioClient, file: Path) -> int:
    """All keys as of one revision: a line for each."""
    start, revision, count = "", 0, 0
    with file.open("x", encoding="utf-8") as out:
        while True:
            asked = {"end": "\U0010ffff", "limit": SAVED_AT_ONCE, "revision": revision}
            done = await client.call(Command("range", start, (asked,)))
            if done.status != "ok":
                return say(done)
            revision = done.value["revision"]
            for item in done.value["items"]:
                out.write(json.dumps({"key": item["key"], "value": item["value"]}) + "\n")
            count += len(done.value["items"])
            if not done.value["more"]:
                break
            start = done.value["items"][-1]["key"] + "\0"
    print(json.dumps({"status": "ok", "keys": count, "revision": revision, "file": str(file)}))
    return 0


async def _restore(client: AsyncioClient, file: Path) -> int:
    """Put the keys of a file; keys that are not in it stay as they are."""
    rows = _rows(file)
    for first in range(0, len(rows), RESTORED_AT_ONCE):
        puts = [["put", key, value] for key, value in rows[first : first + RESTORED_AT_ONCE]]
        done = await client.call(Command("txn", "", ([], puts, [])))
        if done.status != "ok":
            return say(done)
    print(json.dumps({"status": "ok", "keys": len(rows)}))
    return 0


def _rows(file: Path) -> list[tuple[str, Any]]:
    rows = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise OptionError(f"{file} is no saved snapshot: {error}") from None
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows.append((row["key"], row["value"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise OptionError(f"{file}:{number} is no key and value: {line[:60]!r}") from None
    return rows


__all__ = ["EXIT", "RecipeError", "add_parsers", "say"]
