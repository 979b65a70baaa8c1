"""The words of ``python -m cluster.client`` beyond single keys: ranges, leases, locks and more.

Each word adds its parser, and is carried out by a coroutine that prints its answer as JSON and
returns the exit code. Used by ``cluster.client.command_line``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from cluster.client.asyncio_client import AsyncioClient
from cluster.client.recipes import (
    ABANDON_S,
    Election,
    Held,
    Lock,
    RecipeError,
    events,
    lease_name,
)
from cluster.client.session import Complete
from cluster.client.snapshot_file import BadSnapshot, SnapshotWriter, read_snapshot
from cluster.core.answers import INT_MAX
from cluster.core.lease import GRANT, MARGIN, REVOKE
from cluster.data.follower_reads import READ_MODES, SESSION
from cluster.data.front import Front
from cluster.runtime.options import OptionError
from cluster.wire import Command

EXIT = {"ok": 0, "fail": 1, "unknown": 2}
#: exit codes: no node gave an answer; what was asked for cannot be; the user interrupted it
NOT_ANSWERED, USAGE, INTERRUPTED = 3, 254, 130
#: variable in which the command that a lock or leadership is held for finds its fencing token
FENCING_TOKEN = "SPLITBRAIN_FENCING_TOKEN"
#: keys written by one transaction of ``snapshot restore``, and about how many bytes of them
RESTORED_AT_ONCE = 100
RESTORED_BYTES = 1024 * 1024
#: keys read at once by ``snapshot save``
SAVED_AT_ONCE = 1_000
#: a longer time is a mistake
SECONDS_MAX = 1e9
#: how nodes begin what they say of commands that their role does not have
NO_SUCH = ("there is no operation", "a node of role gossip has no operation")
#: above every key
LAST_KEY = "\U0010ffff"

Carry: TypeAlias = Callable[[AsyncioClient, argparse.Namespace], Coroutine[Any, Any, int]]


def say(done: Complete, **more: Any) -> int:
    """Print an outcome, and what else there is to say; its exit code."""
    fields = ("status", "value", "revision", "error", "node")
    print(json.dumps({**{name: getattr(done, name) for name in fields}, **more}, default=repr))
    return code_of(done)


def code_of(done: Complete) -> int:
    """The exit code for an outcome: a failure without a node's answer is no refusal."""
    if done.status == "fail" and not done.answered:
        return NOT_ANSWERED
    return EXIT.get(done.status, 2)


def add_parsers(ops: Any, parser_class: type[argparse.ArgumentParser]) -> None:
    """Add every word's parser; each sets ``carry``."""
    _range_parser(ops)
    _txn_parser(ops)
    _watch_parser(ops)
    _lease_parsers(ops, parser_class)
    _held_parsers(ops)
    compact = ops.add_parser("compact", help="let revisions below this one go")
    compact.add_argument("revision", type=whole("revision", 1))
    compact.set_defaults(carry=_compact, node="", key="")
    snapshot = ops.add_parser("snapshot", help="all keys, at one revision, to or from a file")
    snapshot.add_argument(
        "word",
        choices=("save", "restore"),
        help="save: to a new file, without keys that end with a lease; restore: put its keys, and "
        "leave all others as they are",
    )
    snapshot.add_argument("file", type=Path)
    snapshot.set_defaults(carry=_snapshot, node="", key="")


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options of reads: the mode, and the node to ask."""
    parser.add_argument(
        "--mode", default="linearizable", choices=READ_MODES, help="what the read promises"
    )
    parser.add_argument(
        "--staleness", type=seconds, default=0.0, metavar="S",
        help="of mode bounded: how many seconds old the answer may be",
    )  # fmt: skip
    parser.add_argument(
        "--min-revision", type=whole("revision", 0), default=0, metavar="R",
        help="of mode session: the revision of an earlier answer, which this one is not older than",
    )  # fmt: skip
    parser.add_argument("--node", default="", help="ask this node; with --mode stale, only it")


def reading(given: argparse.Namespace) -> dict[str, Any]:
    """How a read is asked for: arguments of :meth:`AsyncioClient.call`.

    Raises:
        OptionError: a revision is given, and another mode than ``session``.
    """
    if given.min_revision and given.mode != SESSION:  # no other mode waits for a revision
        raise OptionError(f"--min-revision is of --mode {SESSION}, and --mode is {given.mode}")
    return {"mode": given.mode, "node": given.node, "staleness_s": given.staleness}


def seconds(text: str) -> float:
    """A number of seconds, as options take it.

    Raises:
        argparse.ArgumentTypeError: it is negative, or no number.
    """
    try:
        duration_s = float(text)
    except ValueError:
        duration_s = -1.0
    if not 0 <= duration_s < SECONDS_MAX:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of seconds, 0 or above, and below {SECONDS_MAX:.0f}"
        )
    return duration_s


def unicode_text(given: str) -> str:
    """A word that is sent to nodes.

    Raises:
        argparse.ArgumentTypeError: it has bytes that are no text.
    """
    if not given.isascii() and given.encode(errors="replace").decode() != given:
        raise argparse.ArgumentTypeError(f"{given!r} is no Unicode text")
    return given


def whole(what: str, least: int) -> Callable[[str], int]:
    """What reads a whole number of an option.

    Args:
        what: the word for it in the sentence of a mistake.
        least: the smallest one.
    """

    def read(text: str) -> int:
        if not text.isdecimal() or len(text) > 19 or not least <= int(text) <= INT_MAX:
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is no {what}, {least} or above")
        return int(text)

    return read


def strict_json(text: str) -> Any:
    """A value from JSON.

    Raises:
        ValueError: it is none. NaN and Infinity are none, and a number that is read as infinite
            could not be written as JSON again.
        RecursionError: it is nested too deep.
    """
    return json.loads(text, parse_constant=_finite, parse_float=_finite)


def _finite(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text} is no finite number")
    return float(text)


def value_of(text: str) -> Any:
    """A value as the command line takes it: JSON, and what is no JSON is a string."""
    try:
        return strict_json(text)
    except (ValueError, RecursionError):
        return text


def _range_parser(ops: Any) -> None:
    parser = ops.add_parser("range", help="keys that begin with KEY, or up to --end")
    parser.add_argument("key")
    parser.add_argument("--end", help="where to stop, itself not included")
    parser.add_argument("--limit", type=whole("limit", 1), metavar="N", help="no more than so many")
    parser.add_argument(
        "--revision", type=whole("revision", 1), metavar="R", help="as of this revision"
    )
    parser.add_argument("--keys-only", action="store_true")
    parser.add_argument("--count-only", action="store_true")
    add_reading(parser)
    parser.set_defaults(carry=_range)


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
    parser.add_argument(
        "--after", type=whole("revision", 0), metavar="R",
        help="begin after this revision, 0 for the first, and one to come is waited for; from now "
        "on if not given",
    )  # fmt: skip
    parser.add_argument(
        "--events", type=whole("number of events", 0), default=0, metavar="N",
        help="end after so many; 0 for never",
    )  # fmt: skip
    parser.set_defaults(carry=_watch, node="")


def _lease_parsers(ops: Any, parser_class: type[argparse.ArgumentParser]) -> None:
    words = ops.add_parser("lease", help="what ends by itself").add_subparsers(
        dest="word", required=True, parser_class=parser_class, metavar="WORD"
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
            parser.add_argument("ttl_s", type=seconds, metavar="SECONDS")
            parser.add_argument("--id", dest="key", default="", help="its name, or one is drawn")
        elif word != "list":
            parser.add_argument("key", metavar="ID")


def _held_parsers(ops: Any) -> None:
    for op, what in (("lock", "hold a lock"), ("elect", "campaign, and lead")):
        parser = ops.add_parser(op, help=f"{what} while a command runs, or until interrupted")
        parser.add_argument("key", metavar="NAME")
        if op == "elect":
            parser.add_argument("candidate", help="what others read as the leader")
        parser.add_argument(
            "--ttl", type=seconds, default=10.0, metavar="S",
            help="how long it stays taken if this client dies (now %(default)s)",
        )  # fmt: skip
        parser.add_argument("--wait", type=seconds, metavar="S", help="give up after so long")
        parser.add_argument(
            "command",
            nargs="*",
            default=[],
            metavar="COMMAND",
            help=f"after --, a command to run meanwhile, with {FENCING_TOKEN} set",
        )
        parser.set_defaults(carry=_hold, node="")


# Carrying out -------------------------------------------------------------------------------------


async def _range(client: AsyncioClient, given: argparse.Namespace) -> int:
    names = ("end", "limit", "revision", "keys_only", "count_only")
    options = {name: getattr(given, name) for name in names if getattr(given, name)}
    how = reading(given)
    return say(await client.call(Command("range", given.key, (options,)), **how))


async def _txn(client: AsyncioClient, given: argparse.Namespace) -> int:
    text = sys.stdin.read() if given.text == "-" else given.text
    try:
        asked = strict_json(text)
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
    now = await client.call(Command("get", ""))  # a watch alone waits for nodes that are not there
    if now.status != "ok":
        raise RecipeError(f"the watch of {given.key!r}: {now.error}", now)
    after = now.revision if given.after is None else given.after
    if after > now.revision:
        _note(
            f"watch {given.key}: the newest revision is {now.revision}; changes are shown from "
            f"revision {after + 1} on"
        )
    async for event in events(client, given.key, after=after):
        print(json.dumps(event), flush=True)
        left -= 1
        if left == 0:
            break
    return 0


async def _lease(client: AsyncioClient, given: argparse.Namespace) -> int:
    if given.word == "list":
        return say(await client.call(Command("leases", "")))
    if given.word == "grant":
        return await _to_the_end_or_a_signal(_grant(client, given))
    return say(await client.call(Command(f"lease-{given.word}", given.key)))


async def _grant(client: AsyncioClient, given: argparse.Namespace) -> int:
    """Grant a lease; interrupted meanwhile, take it back."""
    lease = given.key or lease_name()
    command = Command(GRANT, lease, (int(given.ttl_s * 1e9),))
    granting = asyncio.ensure_future(client.call(command))
    try:
        return say(await asyncio.shield(granting))
    except asyncio.CancelledError:
        if not await _taken_back(client, lease, granting):
            _note(
                f"lease grant: interrupted before it was known whether {lease!r} was granted; if "
                f"so, it lives for {_lifetime_s(given.ttl_s):g} s, or until: lease revoke {lease}"
            )
        raise


async def _taken_back(
    client: AsyncioClient, lease: str, granting: asyncio.Future[Complete]
) -> bool:
    """Wait a moment for the answer to a grant, and revoke what was granted.

    Only then: another client's lease may have the name that the user chose.

    Returns:
        Whether it is known that the grant left no lease.
    """
    await asyncio.wait({granting}, timeout=ABANDON_S)
    if not granting.done():
        return False
    done = granting.result()
    if done.status == "ok":
        done = await client.call(Command(REVOKE, lease), timeout_s=ABANDON_S)
    return done.answered


def _lifetime_s(ttl_s: float) -> float:
    """How long the cluster keeps a lease that is not renewed."""
    return ttl_s * (1 + MARGIN)


async def _hold(client: AsyncioClient, given: argparse.Namespace) -> int:
    """Take a lock or a leadership, and keep it; a signal to end gives it back, too."""
    return await _to_the_end_or_a_signal(_hold_to_the_end(client, given))


async def _to_the_end_or_a_signal(work: Coroutine[Any, Any, int]) -> int:
    """Do something that has to be undone when SIGTERM or SIGHUP ends it, as when Ctrl-C does."""
    asked: list[int] = []
    working = asyncio.ensure_future(work)

    def end(number: int) -> None:
        asked.append(number)
        working.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    try:
        return await working
    except asyncio.CancelledError:
        if not asked:  # an interruption, of this coroutine
            raise
        return 128 + asked[0]


async def _hold_to_the_end(client: AsyncioClient, given: argparse.Namespace) -> int:
    held: Held
    if given.op == "elect":
        held = Election(client, given.key, given.candidate, ttl_s=given.ttl)
    else:
        held = Lock(client, given.key, ttl_s=given.ttl)
    try:
        taken = await held.take(timeout_s=given.wait)
    except asyncio.CancelledError:
        if held.may_linger:
            _note(
                f"{given.op} {given.key}: interrupted, and the cluster did not say in time that no "
                f"lease is left; if one was granted, it lives for {_lifetime_s(given.ttl):g} s"
            )
        raise
    if not taken:
        print(json.dumps({"status": "fail", "error": f"{given.key} was not free in time"}))
        return 1
    print(json.dumps({"status": "ok", "token": held.token}), flush=True)
    code = 0
    try:
        if given.command:
            code = await _run_command(given.command, held.token)
        else:
            _note(
                f"{given.op} {given.key}: held until you interrupt this (Ctrl-C); to hold it while "
                f"a command runs: {given.op} {given.key} ... -- COMMAND"
            )
            await asyncio.Event().wait()
    finally:
        if not await held.give_up():
            _note(f"{given.op} {given.key}: its lease had ended before: another may have had it")
    return code


async def _run_command(command: list[str], token: int) -> int:
    """Run a command to its end; its exit code, as shells tell it."""
    variables = {**os.environ, FENCING_TOKEN: str(token)}
    try:
        process = await asyncio.create_subprocess_exec(*command, env=variables)
    except OSError as error:
        raise OptionError(f"{command[0]!r} cannot be run: {error.strerror}") from None
    try:
        code = await process.wait()
    except asyncio.CancelledError:  # interrupted: nothing may run on when the lock is free
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        raise
    return code if code >= 0 else 128 - code


def _note(sentence: str) -> None:
    print(f"python -m cluster.client: {sentence}", file=sys.stderr, flush=True)


async def _compact(client: AsyncioClient, given: argparse.Namespace) -> int:
    return say(await client.call(Command("compact", "", (given.revision,))))


async def _snapshot(client: AsyncioClient, given: argparse.Namespace) -> int:
    return await (_save if given.word == "save" else _restore)(client, given.file)


class _Refused(Exception):
    """A step of several was not done: its outcome is the word's."""

    def __init__(self, done: Complete) -> None:
        super().__init__(done.error)
        self.done = done


async def _save(client: AsyncioClient, file: Path) -> int:
    """All keys as of one revision, but for those that end with a lease and a data cluster's own."""
    left_out = 0
    try:
        is_own = await _own_keys(client)
        found = await _page(client, "", 0)
        revision = found["revision"]
        with SnapshotWriter(file, revision) as out:
            while True:
                for item in found["items"]:
                    # What has a lease ends by itself, and would not without its lease.
                    if item["lease"] or is_own(item["key"]):
                        left_out += 1
                    else:
                        out.add(item["key"], item["value"])
                if not found["more"]:
                    break
                found = await _page(client, found["items"][-1]["key"] + "\0", revision)
    except _Refused as refused:
        return say(refused.done)
    except OSError as error:
        raise OptionError(f"{file} cannot be written: {error.strerror}") from None
    said = {"status": "ok", "keys": out.keys, "left_out": left_out, "revision": revision}
    print(json.dumps({**said, "file": str(file)}))
    return 0


async def _own_keys(client: AsyncioClient) -> Callable[[str], bool]:
    """Which keys are the map of a data cluster's partitions, and not its clients'.

    Raises:
        _Refused: whether it is a data cluster cannot be known.
    """
    done = await client.call(Command("partitions", ""))
    if not done.answered:
        raise _Refused(done)
    if done.status != "ok":
        return lambda key: False
    _note(
        "snapshot save: this is a data cluster; the file has the keys of its core, and nothing of "
        "what transactions wrote (`data scan` reads that)"
    )
    return Front().is_reserved


async def _page(client: AsyncioClient, start: str, revision: int) -> dict[str, Any]:
    """The next keys as of a revision, 0 for the newest.

    Raises:
        _Refused: they cannot be read.
    """
    asked = {"end": LAST_KEY, "limit": SAVED_AT_ONCE, "revision": revision}
    done = await client.call(Command("range", start, (asked,)))
    if done.status != "ok":
        raise _Refused(done)
    found: dict[str, Any] = done.value
    return found


async def _restore(client: AsyncioClient, file: Path) -> int:
    """Put the keys of a file; keys that are not in it stay as they are."""
    try:
        revision, rows = read_snapshot(file)
    except BadSnapshot as error:
        raise OptionError(str(error)) from None
    except OSError as error:
        raise OptionError(f"{file} cannot be read: {error.strerror}") from None
    restored = 0
    for puts in _batches(rows):
        done = await client.call(Command("txn", "", ([], puts, [])))
        if done.status != "ok":
            return say(done, restored=restored, keys=len(rows))
        restored += len(puts)
    print(json.dumps({"status": "ok", "keys": len(rows), "saved_at_revision": revision}))
    return 0


def _batches(rows: Sequence[tuple[str, Any]]) -> Iterator[list[list[Any]]]:
    """The puts of keys, so many in a transaction as it takes."""
    puts: list[list[Any]] = []
    size = 0
    for key, value in rows:
        length = len(json.dumps([key, value]))
        if puts and (len(puts) == RESTORED_AT_ONCE or size + length > RESTORED_BYTES):
            yield puts
            puts, size = [], 0
        puts.append(["put", key, value])
        size += length
    if puts:
        yield puts


__all__ = [
    "INTERRUPTED",
    "NOT_ANSWERED",
    "USAGE",
    "RecipeError",
    "add_parsers",
    "code_of",
    "reading",
    "say",
]
