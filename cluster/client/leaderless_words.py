"""The words of ``python -m cluster.client`` for a leaderless cluster: sets and counters that merge.

    set-add tags red                 an element more; a value is JSON, or else a string
    set-remove tags red              what of it was added before, as far as a quorum knows
    set-read tags                    {"value": ["blue", "red"], ...}
    counter-add hits 5               1 unless said; or less: counter-add hits -5
    counter-read hits                {"value": 42, ...}

Additions and removals that knew nothing of each other merge by themselves, and so do the amounts of
a counter. A set, a counter and a value of one name are three objects. ``--mode one`` is answered by
one replica alone: a read may miss what was acknowledged, and a change may be lost with that one.

A value of ``put`` does not merge: ``get`` gives all values that knew nothing of each other, with a
context, and ``put --context`` replaces those.

What is refused is one sentence in ``error``: that the nodes are of another role, or keep the last
write alone (``--versions lww-hybrid`` and its like), or that an amount is no number.

Used by ``cluster.client.command_line``.
"""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from cluster.client.asyncio_client import AsyncioClient
from cluster.client.session import Complete
from cluster.client.words import NO_SUCH, say, value_of
from cluster.core.answers import INT_MAX, INT_MIN
from cluster.wire import Command

#: word -> (the node's operation, its argument if it takes one, what it does)
WORDS = {
    "set-add": ("set-add", "item", "role leaderless: an element more in a set"),
    "set-remove": ("set-remove", "item", "role leaderless: the element that was added before"),
    "set-read": ("set-read", "", "role leaderless: a set's elements"),
    "counter-add": ("counter-incr", "amount", "role leaderless: add to a counter, 1 unless said"),
    "counter-read": ("counter-read", "", "role leaderless: a counter's sum"),
}
#: ``--mode`` -> the mode of the request: the first is every role's, so that each says what it lacks
MODES = {"quorum": "linearizable", "one": "one"}


def add_parsers(ops: Any) -> None:
    """Add every word's parser; each sets ``carry``."""
    epilog = "\n\n".join((__doc__ or "").split("\n\n")[1:5])
    for word, (_, argument, help) in WORDS.items():
        parser = ops.add_parser(word, help=help, description=f"{help}.", epilog=epilog)
        parser.add_argument("key", metavar="KEY")
        if argument == "item":
            parser.add_argument("value", type=value_of, metavar="ITEM")
        elif argument:
            parser.add_argument("value", type=amount, nargs="?", default=1, metavar="N")
        parser.add_argument(
            "--mode", default="quorum", choices=MODES, help="whose answer is waited for"
        )
        parser.add_argument("--node", default="", help="ask this node")
        parser.set_defaults(carry=_carry)


def amount(text: str) -> int:
    """What is added to a counter.

    Raises:
        argparse.ArgumentTypeError: it is no whole number of 64 bits.
    """
    digits = text.removeprefix("-")
    if not digits.isdecimal() or len(digits) > 19 or not INT_MIN <= int(text) <= INT_MAX:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no whole number of 64 bits")
    return int(text)


async def _carry(client: AsyncioClient, given: argparse.Namespace) -> int:
    op = WORDS[given.op][0]
    args = (given.value,) if hasattr(given, "value") else ()
    command, mode = Command(op, given.key, args), MODES[given.mode]
    done = await client.call(command, mode=mode, node=given.node)
    return say(msgspec.structs.replace(done, error=_sentence(done, op)))


def _sentence(done: Complete, op: str) -> str:
    if done.error.startswith(NO_SUCH) and op in done.error:
        return (
            f"{done.node or 'the node'} is of no leaderless cluster: only nodes of role leaderless "
            "have sets and counters that merge"
        )
    return done.error
