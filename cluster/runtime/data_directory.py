"""The data directory's identity: whose it is, and how often it was started.

A node that starts on the directory of another node, or of another cluster, would vote twice under
two names or mix two histories. So the first start writes down whose directory it is, and later
starts refuse any other. The count of starts makes connection epochs grow across restarts without
trusting a clock.

File ``identity``, JSON, replaced by an atomic rename at each start.
"""

from __future__ import annotations

import msgspec

from cluster.ports import Disk

FORMAT = 1

_NAME = "identity"
_TEMPORARY = "identity.tmp"


class WrongDirectory(Exception):
    """The data directory belongs to another node or cluster, or is none of ours."""


class Identity(msgspec.Struct, frozen=True):
    """Whose directory it is.

    Args:
        cluster: the cluster's name.
        node: the node's id.
        starts: how often it was started, this start included.
        format: version of the directory's layout.
    """

    cluster: str
    node: str
    starts: int
    format: int = FORMAT


def claim(disk: Disk, *, cluster: str, node: str) -> Identity:
    """Check that the directory is this node's, or make it so, and count the start, durably.

    Raises:
        WrongDirectory: it is another's; the message says whose.
        DiskError: the disk failed.
    """
    names = disk.names()
    if _TEMPORARY in names:
        disk.remove(_TEMPORARY)
    starts = 0
    if _NAME in names:
        found = _read(disk)
        if (found.cluster, found.node) != (cluster, node):
            raise WrongDirectory(
                f"the data directory belongs to node {found.node!r} of cluster {found.cluster!r}, "
                f"not to node {node!r} of cluster {cluster!r}"
            )
        starts = found.starts
    elif any(name.startswith(("wal-", "snapshot-")) for name in names):
        raise WrongDirectory("the data directory has a log but no identity file; was it removed?")
    identity = Identity(cluster, node, starts + 1)
    disk.create(_TEMPORARY)
    disk.append(_TEMPORARY, msgspec.json.encode(identity) + b"\n")
    disk.sync(_TEMPORARY)
    disk.rename(_TEMPORARY, _NAME)
    disk.sync_dir()
    return identity


def _read(disk: Disk) -> Identity:
    try:
        found = msgspec.json.decode(disk.read(_NAME), type=Identity)
    except msgspec.MsgspecError as error:
        raise WrongDirectory(f"the data directory's identity file is damaged: {error}") from None
    if found.format != FORMAT:
        raise WrongDirectory(
            f"the data directory has format {found.format}, and this version reads {FORMAT}"
        )
    return found
