"""``python -m cluster.client``: one command to a cluster, from a shell.

    python -m cluster.client --nodes n1=127.0.0.1:7001,n2=127.0.0.1:7002 put greeting '"hello"'
    python -m cluster.client --nodes ... get greeting
    python -m cluster.client --nodes ... member list
    python -m cluster.client --nodes ... member add n4 127.0.0.1:7004     (then: promote n4)
    python -m cluster.client --nodes ... member remove n2                 (its id never comes back)
    python -m cluster.client --nodes ... member leave --node n2           (the member there)
    python -m cluster.client --nodes ... transfer [n3]
    python -m cluster.client --nodes ... range config/ --limit 10
    python -m cluster.client --nodes ... txn '{"then": [["put", "x", 1], ["incr", "n", 1]]}'
    python -m cluster.client --nodes ... watch config/ [--after 17]       (from now on, or later)
    python -m cluster.client --nodes ... lease grant 10
    python -m cluster.client --nodes ... lock nightly-job -- ./job.sh     (held while it runs)
    python -m cluster.client --nodes ... elect scheduler host-7
    python -m cluster.client --nodes ... snapshot save keys.jsonl
    python -m cluster.client --nodes ... data run 'read x' 'append log 7' (role data: partitions)
    python -m cluster.client --nodes ... partitions
    python -m cluster.client --nodes ... put x 7 --context 9192af6e31... (role leaderless: of a get)
    python -m cluster.client --nodes ... set-add tags red                (also set-remove, set-read)
    python -m cluster.client --nodes ... counter-add hits 5               (also counter-read)
    python -m cluster.client --admin 127.0.0.1:8001 hash
    python -m cluster.client --admin 127.0.0.1:8001 status

A cluster that has a token is asked with ``--token-file FILE``, or with the variable
SPLITBRAIN_TOKEN set. Values are JSON; what is no JSON is taken as a string. The answer is JSON on
stdout. Exit codes: 0 ok; 1 refused (fail); 2 unknown outcome: it may have happened; 3 no node could
be reached, or none answered in time: it did not happen; 254 what was asked for cannot be, and why
is said on stderr; 130 interrupted. ``lock`` and ``elect`` end with the exit code of their command.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NoReturn

from cluster.client import data_words, leaderless_words
from cluster.client.asyncio_client import AsyncioClient
from cluster.client.words import (
    INTERRUPTED,
    NOT_ANSWERED,
    USAGE,
    RecipeError,
    add_parsers,
    add_reading,
    code_of,
    reading,
    say,
    seconds,
    unicode_text,
    value_of,
    whole,
)
from cluster.runtime.options import Address, OptionError, parse_address, parse_peers
from cluster.runtime.tls import BadCertificate, client_context
from cluster.runtime.token import BadToken, read_token
from cluster.spelling import nearest
from cluster.wire import Command

#: ``member WORD`` -> the request
_MEMBER_OPS = {
    "list": "members",
    "add": "add-learner",
    "promote": "promote",
    "remove": "remove-member",
    "leave": "remove-member",
}
#: argparse's sentence about a word that is none of those there are
_CHOICE = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)")

_NODES = "the nodes, the one to ask first before the others; a leader that joined later is found"


class _Parser(argparse.ArgumentParser):
    def __init__(self, **settings: Any) -> None:
        # Kept as written: descriptions and examples have lines of their own.
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**settings)

    def error(self, message: str) -> NoReturn:
        found = _CHOICE.search(message)
        if found is None:
            raise OptionError(f"{message}; see {self.prog} --help")
        word, choices = found[1], found[2].replace("'", "").split(", ")
        near = nearest(word, choices)
        guess = f"; did you mean {near}?" if near else f"; there are {', '.join(choices)}"
        raise OptionError(f"there is no {word!r} here{guess}")


def main(arguments: Sequence[str]) -> int:
    """Do one command; returns the exit code."""
    try:
        own, command = _split(arguments)
        given = _parser().parse_args(own)
        if command:
            given.command = [*given.command, *command]
        if given.op in ("status", "hash"):
            return _ask_admin(given)
        return asyncio.run(_call(given))
    except (OptionError, BadCertificate, BadToken) as error:
        return _told(str(error), USAGE)
    except RecipeError as error:
        return _told(str(error), code_of(error.done))
    except OSError as error:
        why = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _told(why, NOT_ANSWERED)
    except KeyboardInterrupt:
        return INTERRUPTED


def _told(sentence: str, code: int) -> int:
    print(f"python -m cluster.client: {sentence}", file=sys.stderr)
    return code


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The client's own arguments, and the command after ``--`` that ``lock`` or ``elect`` runs.

    By hand: argparse takes ``lock NAME --ttl 5 -- COMMAND`` for one argument too many.
    """
    place = 0
    while place < len(arguments) and arguments[place].startswith("-"):
        place += 1 if "=" in arguments[place] or arguments[place] == "-h" else 2
    rest = list(arguments[place:])
    if rest[:1] not in (["lock"], ["elect"]) or "--" not in rest:
        return arguments, []
    end = place + rest.index("--")
    if not arguments[end + 1 :]:
        raise OptionError(f"{rest[0]}: nothing comes after --, where a command should be")
    return arguments[:end], arguments[end + 1 :]


def _parser() -> argparse.ArgumentParser:
    _, examples, codes = (__doc__ or "").split("\n\n", 2)
    parser = _Parser(
        prog="python -m cluster.client",
        description="One command to a cluster.",
        epilog=f"examples:\n{examples}\n\n{codes}",
    )
    parser.add_argument("--nodes", default="", metavar="N=HOST:PORT,...", help=_NODES)
    parser.add_argument(
        "--admin", default="", metavar="HOST:PORT,...", help="admin endpoints, for status and hash"
    )
    parser.add_argument(
        "--cluster", type=unicode_text, default="splitbrain", metavar="NAME",
        help="its name (now %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--timeout", type=seconds, default=5.0, metavar="S",
        help="seconds until a command is given up (now %(default)s)",
    )  # fmt: skip
    parser.add_argument("--token-file", metavar="FILE", help="the cluster's token")
    for name, help in (("ca", "authority"), ("cert", "certificate"), ("key", "its key")):
        parser.add_argument(f"--tls-{name}", type=Path, metavar="FILE", help=help)
    ops = parser.add_subparsers(
        dest="op", required=True, parser_class=_Parser, metavar="COMMAND", title="commands"
    )
    get = ops.add_parser("get", help="read a key")
    get.add_argument("key")
    get.add_argument(
        "--revision", type=whole("revision", 1), action="append", dest="revisions", default=[],
        metavar="R", help="as of this revision",
    )  # fmt: skip
    add_reading(get)
    get.set_defaults(values=("revisions",))
    for op, values, help in (
        ("put", ("value",), "give a key a value; answers its version"),
        ("cas", ("old", "new"), "give a key a new value if it has the old one (null: if absent)"),
        ("append", ("item",), "add to a list; answers its length"),
        ("incr", ("amount",), "add to a number, 1 unless said; answers the sum"),
        ("delete", (), "remove a key; answers whether it was there"),
    ):
        command = ops.add_parser(op, help=help)
        command.add_argument("key")
        for value in values:
            command.add_argument(
                value, type=value_of, nargs="?" if op == "incr" else None, default=1
            )
        command.set_defaults(
            values=values, mode="linearizable", node="", staleness=0.0, min_revision=0
        )
        if op == "put":
            command.add_argument(
                "--lease", action="append", dest="leases", default=[], metavar="ID",
                help="the key ends with this lease",
            )  # fmt: skip
            command.set_defaults(values=("value", "leases", "contexts"))
        if op == "delete":
            command.set_defaults(values=("contexts",))
        if op in ("put", "delete"):
            command.add_argument(
                "--context", action="append", dest="contexts", default=[], metavar="TEXT",
                help="role leaderless: of the last get; what that get saw is replaced",
            )  # fmt: skip
    _member_parsers(ops)
    add_parsers(ops, _Parser)
    data_words.add_parsers(ops, _Parser)
    leaderless_words.add_parsers(ops)
    ops.add_parser("status", help="what each node believes, from its admin endpoint")
    ops.add_parser("hash", help="hash of each node's state, and the index it is of")
    return parser


def _member_parsers(ops: Any) -> None:
    """``member ...`` and ``transfer``."""
    transfer = ops.add_parser("transfer", help="let another voter lead")
    transfer.add_argument("key", nargs="?", default="", metavar="MEMBER", help="default: the best")
    transfer.set_defaults(mode="linearizable", node="", staleness=0.0, min_revision=0)
    words = ops.add_parser("member", help="who takes part").add_subparsers(
        dest="word", required=True, parser_class=_Parser, metavar="WORD"
    )
    for word, help in (
        ("list", "voters, learners, and who is leaving"),
        ("add", "a new node receives the log, and does not count yet"),
        ("promote", "a learner that has caught up counts from now on"),
        ("remove", "a member leaves for good"),
        ("leave", "the member that lives on a node leaves for good"),
    ):
        parser = words.add_parser(word, help=help)
        parser.set_defaults(mode="linearizable", node="", key="")
        if word in ("add", "promote", "remove"):
            parser.add_argument("key", metavar="MEMBER")
        if word == "promote":
            parser.add_argument(
                "instead_of", nargs="?", default="", metavar="VOTER", help="leaves in the same step"
            )
            parser.set_defaults(values=("instead_of",))
        if word == "add":
            parser.add_argument("address", nargs="?", default="", metavar="HOST:PORT")
            parser.set_defaults(values=("address",))
        if word == "leave":
            parser.add_argument("--node", required=True)


async def _call(given: argparse.Namespace) -> int:
    addresses = {n: str(a) for n, a in parse_peers(given.nodes, option="--nodes").items()}
    if given.node and given.node not in addresses:
        raise OptionError(f"--node {given.node!r} is not in --nodes {', '.join(addresses)}")
    files = (given.tls_ca, given.tls_cert, given.tls_key)
    if any(files) and not all(files):
        raise OptionError("--tls-ca, --tls-cert and --tls-key go together: all three or none")
    tls = client_context(ca=files[0], cert=files[1], key=files[2]) if all(files) else None
    values = _values(given)
    token = read_token(given.token_file)
    seen = getattr(given, "min_revision", 0)
    async with AsyncioClient(
        addresses,
        cluster=given.cluster,
        timeout_s=given.timeout,
        tls=tls,
        token=token,
        revision=seen,
    ) as client:
        if hasattr(given, "carry"):
            code: int = await given.carry(client, given)
            return code
        if given.op == "member":
            return say(await _change(client, given, values))
        command = Command(given.op, given.key, values)
        return say(await client.call(command, **reading(given)))


def _values(given: argparse.Namespace) -> tuple[Any, ...]:
    """The command's arguments: those of an option that may be left out are a list."""
    values: list[Any] = []
    for name in getattr(given, "values", ()):
        value = getattr(given, name)
        values += value if name in ("revisions", "leases", "contexts") else [value]
    return tuple(values)


async def _change(client: AsyncioClient, given: argparse.Namespace, values: Any) -> Any:
    """A request about members; of a node that shall leave, its present id is asked first."""
    member = given.key
    if given.word == "leave":
        found = await client.call(Command("members", ""), mode="stale", node=given.node)
        if found.status != "ok":
            return found
        member = found.value["node"]
    return await client.call(Command(_MEMBER_OPS[given.word], member, values))


def _ask_admin(given: argparse.Namespace) -> int:
    if not given.admin:
        raise OptionError(f"{given.op} needs --admin HOST:PORT")
    token = read_token(given.token_file)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    reached = 0
    for text in given.admin.split(","):
        address = parse_address(text, option="--admin")
        connection = HTTPConnection(address.host, address.port, timeout=given.timeout)
        try:
            connection.request("GET", f"/{given.op}", headers=headers)
            answer = connection.getresponse()
            told = answer.read().decode("utf-8", "replace").strip()
            if answer.status == 401 and not token:
                told = _failed(address, "the cluster has a token: give --token-file FILE")
            print(told)
            reached += answer.status == 200
        except OSError as error:
            print(_failed(address, error.strerror or str(error)))
        except HTTPException:  # what it said instead is no text
            print(_failed(address, "it does not speak HTTP: --admin is not a node's own address"))
        finally:
            connection.close()
    return 0 if reached else NOT_ANSWERED


def _failed(address: Address, why: str) -> str:
    return json.dumps({"admin": str(address), "error": why})
