"""``python -m cluster.client``: one command to a cluster, from a shell.

    python -m cluster.client --nodes n1=127.0.0.1:7001,n2=127.0.0.1:7002 put greeting '"hello"'
    python -m cluster.client --nodes ... get greeting
    python -m cluster.client --admin 127.0.0.1:8001 status

Values are JSON; what is no JSON is taken as a string. The answer is JSON on stdout. Exit codes: 0
ok, 1 refused (fail), 2 unknown outcome, 3 the options are wrong or nothing could be reached.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, NoReturn

from cluster.client.asyncio_client import AsyncioClient
from cluster.runtime.options import OptionError, parse_address, parse_peers
from cluster.runtime.tls import BadCertificate, client_context
from cluster.wire import Command

_EXIT = {"ok": 0, "fail": 1, "unknown": 2}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def main(arguments: Sequence[str]) -> int:
    """Do one command; returns the exit code."""
    try:
        given = _parser().parse_args(arguments)
        if given.op == "status":
            return _status(given)
        return asyncio.run(_call(given))
    except (OptionError, BadCertificate) as error:
        print(f"python -m cluster.client: {error}", file=sys.stderr)
        return 3


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m cluster.client", description="One command to a cluster.")
    parser.add_argument("--nodes", default="", metavar="N=HOST:PORT,...", help="the nodes")
    parser.add_argument("--admin", default="", metavar="HOST:PORT,...", help="for status")
    parser.add_argument("--cluster", default="splitbrain", metavar="NAME")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="S")
    for name, help in (("ca", "authority"), ("cert", "certificate"), ("key", "its key")):
        parser.add_argument(f"--tls-{name}", type=Path, metavar="FILE", help=help)
    ops = parser.add_subparsers(dest="op", required=True, parser_class=_Parser)
    get = ops.add_parser("get", help="read a key")
    get.add_argument("key")
    get.add_argument("--mode", default="linearizable", choices=("linearizable", "lease", "stale"))
    get.add_argument("--node", default="", help="ask this node; with --mode stale, only it")
    for op, values in (
        ("put", ("value",)),
        ("cas", ("old", "new")),
        ("append", ("item",)),
        ("incr", ("amount",)),
        ("delete", ()),
    ):
        command = ops.add_parser(op)
        command.add_argument("key")
        for value in values:
            command.add_argument(value, type=_value, nargs="?" if op == "incr" else None, default=1)
        command.set_defaults(values=values, mode="linearizable", node="")
    ops.add_parser("status", help="what each node believes, from its admin endpoint")
    return parser


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


async def _call(given: argparse.Namespace) -> int:
    addresses = {n: str(a) for n, a in parse_peers(given.nodes, option="--nodes").items()}
    if given.node and given.node not in addresses:
        raise OptionError(f"--node {given.node!r} is not in --nodes {', '.join(addresses)}")
    files = (given.tls_ca, given.tls_cert, given.tls_key)
    if any(files) and not all(files):
        raise OptionError("--tls-ca, --tls-cert and --tls-key go together: all three or none")
    tls = client_context(ca=files[0], cert=files[1], key=files[2]) if all(files) else None
    values = tuple(getattr(given, name) for name in getattr(given, "values", ()))
    async with AsyncioClient(
        addresses, cluster=given.cluster, timeout_s=given.timeout, tls=tls
    ) as client:
        outcome = await client.call(
            Command(given.op, given.key, values), mode=given.mode, node=given.node
        )
    fields = ("status", "value", "revision", "error", "node")
    print(json.dumps({name: getattr(outcome, name) for name in fields}, default=repr))
    return _EXIT.get(outcome.status, 2)


def _status(given: argparse.Namespace) -> int:
    if not given.admin:
        raise OptionError("status needs --admin HOST:PORT")
    reached = 0
    for text in given.admin.split(","):
        address = parse_address(text, option="--admin")
        connection = HTTPConnection(address.host, address.port, timeout=given.timeout)
        try:
            connection.request("GET", "/status")
            print(connection.getresponse().read().decode().strip())
            reached += 1
        except (OSError, HTTPException) as error:
            print(json.dumps({"admin": str(address), "error": str(error)}))
        finally:
            connection.close()
    return 0 if reached else 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
