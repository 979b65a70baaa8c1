"""Which data directory each peer came with: a wiped node does not pass for the one it was.

Problem: a majority is a promise about disks. A node whose directory was emptied, and which is
started again under its old id, has forgotten what it voted for and acknowledged, and a cluster that
takes it for the old one may lose committed entries or elect twice (A61).

Solution: every data directory has a random name, made when it is claimed for the first time. A peer
says it in its hello, and the first one said under a member id is remembered, durably; a node that
comes later under the same id with another directory is refused, for ever. The way back is to remove
the member and to add the node under its next id (``python -m cluster format``). Where the members
are the founders for ever (:func:`keeps_founders`) there is none: the cluster goes on without it.

A variant whose replicas recover from the loss of a disk (``RECOVERING``) takes the wiped node for
what it is, a replica without a memory. Then the new directory takes the place of the one before,
durably, and it is the earlier one that is refused from now on: nothing that the lost life has sent
can come after the first word of the new one.

Limits, plainly: a node that has never met the peer before cannot know. All nodes of a cluster meet
when it is founded; one that was cut off from the peer all its life is the exception.

File ``.peers`` in the data directory, JSON and its checksum, replaced by an atomic rename. Used by
``node``.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from cluster.consensus.member_directories import MemberDirectories
from cluster.runtime.sealed_file import DamagedFile, seal, unseal

FILE = ".peers"
#: Members remembered, of all there ever were: hellos must not fill the disk.
MEMBERS_MAX = 1024
#: The consensus variants whose replicas recover from the loss of a disk under the id they have.
RECOVERING = frozenset({"viewstamped"})
#: The consensus variants that change no members: a node cannot come back under a new id.
FOUNDERS_ONLY = frozenset({"multi-paxos", "zab", "viewstamped"})


def keeps_founders(role: str, consensus: str) -> bool:
    """Whether the members of a cluster are those that it was founded with, for ever."""
    return role == "paxos" or (role in ("core", "data") and consensus in FOUNDERS_ONLY)


class PeerDirectories:
    """One node's memory of its peers' directories.

    Args:
        root: this node's data directory.
        recovers: whether a peer may come with another directory than before.
        founders_only: whether no peer can be removed, and added under a new id.

    Raises:
        OSError: the file cannot be read.
        DamagedFile: it is not what was written.
    """

    def __init__(self, root: Path, *, recovers: bool = False, founders_only: bool = False) -> None:
        self._founders_only = founders_only
        self._path = root / FILE
        self._rule = MemberDirectories(recovers=recovers)
        #: by member: its directory, and behind it those that it has lost
        self._known: dict[str, str] = {}
        if self._path.exists():
            self._known = _read(self._path)

    def problem(self, member: str, directory: str) -> str:
        """Why a peer that says hello is not who it says; "" if it may be, which is remembered."""
        if not directory:
            return ""
        known = self._known.get(member, "").split()
        if known[:1] == [directory]:
            return ""
        if self._rule.takes(known, directory):
            return self._remember(member, " ".join([directory, *known]))
        return self._refusal(member, lost=directory in known)

    def _refusal(self, member: str, *, lost: bool) -> str:
        what = f"{member} comes with another data directory than before"
        if lost:
            return f"{what}: one that it had lost, and has replaced since"
        if self._founders_only:
            return (
                f"{what}: it was wiped, and cannot come back: the members are the founders for ever"
            )
        return (
            f"{what}: it was wiped, and must be removed from the cluster and added under a new id"
        )

    def _remember(self, member: str, directories: str) -> str:
        if member not in self._known and len(self._known) >= MEMBERS_MAX:
            return f"{MEMBERS_MAX} members are remembered, and it is none of them"
        known = {**self._known, member: directories}
        new = self._path.with_name(f"{FILE}.tmp")
        try:
            with new.open("wb") as file:
                file.write(seal(msgspec.json.encode(known)))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            handle = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            return f"the directory of {member} cannot be remembered: {error}"
        self._known = known
        return ""


def _read(path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(unseal(FILE, path.read_bytes()), type=dict[str, str])
    except msgspec.MsgspecError as error:
        raise DamagedFile(FILE, 0, str(error)) from None
