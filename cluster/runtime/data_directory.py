"""The data directory's identity: whose it is, and how often it was started.

A node that starts on the directory of another node, or of another cluster, would vote twice under
two names or mix two histories. So the first start writes down whose directory it is, and later
starts refuse any other. The count of starts makes connection epochs grow across restarts without
trusting a clock. The voters that the cluster was founded with are written down too: whatever a
later command line says, the log begins with those. So is the consensus: each variant reads votes,
promises and entries in its own way, and would take another's for what they are not. And the
directory gets a name of its own, by which peers tell it from an emptied one (``peer_directories``).

File ``identity``, JSON and its checksum, replaced by an atomic rename at each start.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cluster.consensus.membership import INCARNATION_MARK, name_of
from cluster.log.group_files import within_group
from cluster.ports import Disk
from cluster.runtime.sealed_file import DamagedFile, seal, unseal

FORMAT = 1

_NAME = "identity"
_TEMPORARY = "identity.tmp"
_LOGS = ("wal-", "snapshot-")


class WrongDirectory(Exception):
    """The data directory belongs to another node or cluster, or is none of ours."""


class Identity(msgspec.Struct, frozen=True):
    """Whose directory it is.

    Args:
        cluster: the cluster's name.
        node: the member's id.
        starts: how often it was started, this start included.
        format: version of the directory's layout.
        directory: the directory's own name.
        founders: the voters the cluster was founded with; none for a member that joins it.
        emptying: whether what is in it is still to be removed.
        role: what its records mean.
        consensus: the variant that wrote them; "" if the role has none, or it was not written down.
    """

    cluster: str
    node: str
    starts: int
    format: int = FORMAT
    directory: str = ""
    founders: tuple[str, ...] | None = None
    emptying: bool = False
    role: str = "core"
    consensus: str = ""


def claim(
    disk: Disk,
    *,
    cluster: str,
    node: str,
    founders: Sequence[str] = (),
    directory: str = "",
    role: str = "core",
    consensus: str = "",
) -> Identity:
    """Check that the directory is this node's, or make it so, and count the start, durably.

    Args:
        disk: the directory.
        cluster: the cluster's name.
        node: the node's name, or a member id.
        founders: the founding voters, if the directory is new.
        directory: the directory's name, if it is new.
        role: the node's role.
        consensus: the node's variant; "" if the role has none.

    Raises:
        WrongDirectory: it is another's; the message says whose.
        DiskError: the disk failed.
    """
    if _TEMPORARY in disk.names():
        disk.remove(_TEMPORARY)
    founding = tuple(founders)
    identity = Identity(
        cluster, node, 0, directory=directory, founders=founding, role=role, consensus=consensus
    )
    if _NAME in disk.names():
        found = _read(disk)
        if found.cluster != cluster or not _is_of(found.node, node):
            raise WrongDirectory(
                f"the data directory belongs to node {found.node!r} of cluster {found.cluster!r}, "
                f"not to node {node!r} of cluster {cluster!r}"
            )
        if found.role != role:
            raise WrongDirectory(
                f"the data directory is of a node of role {found.role!r}, not {role!r}"
            )
        if found.consensus not in ("", consensus):
            raise WrongDirectory(
                f"the data directory is of a node of consensus {found.consensus!r}, "
                f"not {consensus!r}"
            )
        if found.emptying:
            found = _empty(disk, found)
        identity = msgspec.structs.replace(
            found,
            directory=found.directory or directory,
            founders=tuple(founders) if found.founders is None else found.founders,
            consensus=consensus,
        )
    elif any(within_group(name).startswith(_LOGS) for name in disk.names()):
        raise WrongDirectory("the data directory has a log but no identity file; was it removed?")
    identity = msgspec.structs.replace(identity, starts=identity.starts + 1)
    _write(disk, identity)
    return identity


def format_for(disk: Disk, *, cluster: str, member: str, role: str = "") -> None:
    """Make the directory that of a new member, which knows no peers, and remove what is in it.

    Args:
        disk: the directory.
        cluster: the cluster's name.
        member: the new member's id.
        role: the node's role; "" for that of the member before, and ``core`` if there was none.

    Raises:
        WrongDirectory: it is another node's, another cluster's, or this very member's already.
        DiskError: the disk failed.
    """
    if _TEMPORARY in disk.names():
        disk.remove(_TEMPORARY)
    if _NAME in disk.names():
        found = _read(disk)
        if found.cluster != cluster or name_of(found.node) != name_of(member):
            raise WrongDirectory(
                f"the data directory belongs to node {found.node!r} of cluster {found.cluster!r}"
            )
        if found.node == member:
            raise WrongDirectory(
                f"the data directory is that of {member!r} already: an id has one directory only"
            )
        role = role or found.role
    role = role or "core"
    identity = Identity(cluster, member, 0, founders=(), emptying=True, role=role)
    _write(disk, identity)
    _empty(disk, identity)


def _is_of(member: str, node: str) -> bool:
    """Whether a directory of this member may be started as this node."""
    return member == node or (INCARNATION_MARK not in node and name_of(member) == node)


def _empty(disk: Disk, identity: Identity) -> Identity:
    for name in disk.names():
        if name != _NAME:
            disk.remove(name)
    disk.sync_dir()
    emptied = msgspec.structs.replace(identity, emptying=False)
    _write(disk, emptied)
    return emptied


def _write(disk: Disk, identity: Identity) -> None:
    disk.create(_TEMPORARY)
    disk.append(_TEMPORARY, seal(msgspec.json.encode(identity)))
    disk.sync(_TEMPORARY)
    disk.rename(_TEMPORARY, _NAME)
    disk.sync_dir()


def _read(disk: Disk) -> Identity:
    try:
        found = msgspec.json.decode(unseal(_NAME, disk.read(_NAME)), type=Identity)
    except DamagedFile as error:
        raise WrongDirectory(str(error)) from None
    except msgspec.MsgspecError as error:
        raise WrongDirectory(str(DamagedFile(_NAME, 0, str(error)))) from None
    if found.format != FORMAT:
        raise WrongDirectory(
            f"the data directory has format {found.format}, and this version reads {FORMAT}"
        )
    return found
