"""Nodes whose disk a fault damaged: started again and, where they refuse, replaced.

Problem. A node that lost what it had promised either is repaired from its peers or refuses to
start. One that refuses stays away, and what the run says of the rest of its time it says of a
smaller cluster. A reader must know that.

Solution. Healing does what an operator would. It starts the node. If that refuses, the database is
told why; where its members change, the node's member leaves and the node joins as another, with an
empty disk.
What cannot be done is kept as a sentence: a node that stays away until the end is named in the
run's notes, with the reason, and so is one that was not repaired when the run ended.

Used by the nemeses and, for what is still down after healing, by :mod:`harness.lifecycle`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from harness.databases.base import ReplacesMembers
from harness.environments.base import FileDamages, Watched
from harness.errors import SetupError
from harness.nemesis.common import damaged

CANNOT = "the database has no way to replace a member"

#: How long a damaged node may take to be repaired before the run goes on, how long its process to
#: find the damage where nothing else is known of it, and how often it is looked at.
REPAIRED_WITHIN_NS, REFUSES_WITHIN_NS = 10_000_000_000, 3_000_000_000
LOOK_NS = 50_000_000


class Comeback(msgspec.Struct, frozen=True):
    """How a node came back, or why it did not.

    Args:
        refused: what it said when it refused to start; "" if it did not.
        member: the id of the member that took its place; "" for none.
        away: why nothing took its place; "" if it is there.
        repaired: whether it has what it promised again; None if that is not known, or it refused.
    """

    refused: str = ""
    member: str = ""
    away: str = ""
    repaired: bool | None = None


async def come_back(env: Any, db: Any, name: str) -> Comeback:
    """Start a node if it is down; if its disk is damaged, wait a while for its repair, or have it
    replaced if it refuses.

    Args:
        env: the environment, which can start nodes.
        db: the database; it may be able to replace members.
        name: the node.

    Raises:
        SetupError: it does not start, and no fault damaged its disk.
    """
    hurt = name in damaged(env)
    try:
        if not await env.alive(name):
            await env.start(name)
        return Comeback(repaired=await _watched(env, name) if hurt else None)
    except SetupError as error:
        if not hurt:
            raise
        return await _replaced(env, db, name, last_words(error))


async def _watched(env: Any, name: str) -> bool | None:
    """Whether a node that was started is repaired; None if nothing of that is known.

    Raises:
        SetupError: it ended meanwhile: so a process refuses.
    """
    files = _files(env, name)
    end_ns = env.now_ns() + (REFUSES_WITHIN_NS if files is None else REPAIRED_WITHIN_NS)
    while True:
        if not await env.alive(name):
            node = env.node(name)
            if isinstance(node, Watched):
                await node.check_running()
            raise SetupError(f"{name} ended after it was started")
        done = None if files is None else await files.is_repaired(name)
        if done or env.now_ns() >= end_ns:
            return done
        await env.sleep(LOOK_NS)


def _files(env: Any, name: str) -> FileDamages | None:
    """The part that knows of a node whether it was repaired; None if there is none."""
    files = getattr(env, "files", None)
    return files if isinstance(files, FileDamages) and files.knows(name) else None


async def _replaced(env: Any, db: Any, name: str, refused: str) -> Comeback:
    if not isinstance(db, ReplacesMembers):
        return Comeback(refused, away=CANNOT)
    try:
        return Comeback(refused, member=await db.replace_member(env.node(name), refused))
    except SetupError as error:
        return Comeback(refused, away=one_line(error))


def one_line(error: BaseException) -> str:
    """An error without the log's end that may follow; that is in the harness's log."""
    return (str(error) or type(error).__name__).partition("\n")[0].rstrip(" :;")


def last_words(error: BaseException) -> str:
    """An error in one line, with the last line of the log that may follow."""
    *_, last = str(error).strip().splitlines() or [""]
    first = one_line(error)
    return first if last.startswith(first) else f"{first}: {last.strip()}"


def evidence_of(comebacks: Mapping[str, Comeback]) -> dict[str, Any]:
    """What a fault's evidence says of nodes with damaged disks: ``repaired``, whether;
    ``refused_to_start``, why; ``replaced``, by which member; ``away``, why by none."""
    rows = comebacks.items()
    found: dict[str, dict[str, Any]] = {
        "repaired": {name: each.repaired for name, each in rows if each.repaired is not None},
        "refused_to_start": {name: each.refused for name, each in rows if each.refused},
        "replaced": {name: each.member for name, each in rows if each.member},
        "away": {name: each.away for name, each in rows if each.away},
    }
    return {what: said for what, said in found.items() if said}


async def notes_at_the_end(
    env: Any, evidence: Iterable[Mapping[str, Any]], late: Mapping[str, Comeback]
) -> list[str]:
    """What became of the nodes with damaged disks, one sentence each.

    Args:
        env: the environment, at the end of the run.
        evidence: of the run's faults.
        late: how nodes came back, or not, that were still down after healing.
    """
    faults = [*evidence, evidence_of(late)]
    members: dict[str, list[str]] = {}
    for found in faults:
        for name, member in found.get("replaced", {}).items():
            members.setdefault(name, []).append(member)
    notes = [
        f"{name} refused to start from its damaged disk, and was replaced by {', '.join(by)}"
        for name, by in members.items()
    ]
    why = {name: said for found in faults for name, said in found.get("away", {}).items()}
    for name in damaged(env):
        if not await env.alive(name):
            because = f": {why[name]}" if name in why else ""
            notes.append(
                f"{name} refused to start from its damaged disk, and was away until the "
                f"end{because}"
            )
            continue
        files = _files(env, name)
        if files is not None and not await files.is_repaired(name):
            notes.append(f"{name} was not repaired from its peers when the run ended")
    return notes
