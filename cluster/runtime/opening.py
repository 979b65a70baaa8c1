"""Opening a node: ports, certificates, and a data directory that was read.

Every obstacle to a start is found here, before anything is served, and is one sentence.

Used by ``node``.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from cluster.config import ClusterConfig
from cluster.consensus.damage_repair import why_not_repairable
from cluster.log.storage import DurableStorage, Storage
from cluster.log.write_ahead_log import CorruptLog
from cluster.ports import Disk, DiskError, Recovered
from cluster.runtime import data_directory, tls
from cluster.runtime.data_directory import Identity
from cluster.runtime.disk import DirectoryInUse, FileDisk
from cluster.runtime.options import Address, NodeOptions
from cluster.runtime.peer_directories import RECOVERING, PeerDirectories, keeps_founders
from cluster.runtime.sealed_file import DamagedFile

LISTEN_BACKLOG = 1024


class CannotStart(Exception):
    """Why the node does not start: one sentence."""


class Opened(NamedTuple):
    """A data directory, claimed and recovered.

    Args:
        options: as given, but with the id of the member that the directory is of.
        disk: the directory.
        identity: whose it is.
        directories: what it remembers of those of peers.
        storage: recovered, and open for writing.
        recovered: what is durable.
    """

    options: NodeOptions
    disk: FileDisk
    identity: Identity
    directories: PeerDirectories
    storage: DurableStorage
    recovered: Recovered


def open_data(
    options: NodeOptions,
    *,
    storage: Callable[[Disk, ClusterConfig], DurableStorage] = Storage,
    consensus: object = None,
) -> Opened:
    """Claim and read the data directory.

    Args:
        options: how the node was started.
        storage: makes its storage.
        consensus: the parts of its variant, which may repair damage from peers; None for a role
            that has no variants.

    Raises:
        CannotStart: it is in use, another's, damaged, or cannot be read or written.
    """
    config, place = options.config, f"--data {str(options.data)!r}"
    try:
        disk = FileDisk(options.data)
        identity = data_directory.claim(
            disk,
            cluster=config.cluster,
            node=options.id,
            founders=() if options.join else tuple(options.peers),
            directory=f"{random.SystemRandom().getrandbits(64):016x}",
            role=options.role,
            consensus=options.variant,
        )
        directories = PeerDirectories(
            options.data,
            recovers=options.consensus in RECOVERING,
            founders_only=keeps_founders(options.role, options.consensus),
        )
        options = msgspec.structs.replace(options, id=identity.node)
        opened = storage(disk, config)
        why_not = why_not_repairable(consensus, options.id, identity.founders or ())
        recovered = opened.recover(why_not=why_not)
        return Opened(options, disk, identity, directories, opened, recovered)
    except CorruptLog as error:
        raise CannotStart(f"{place}: {error}") from None
    except (DirectoryInUse, data_directory.WrongDirectory, DamagedFile) as error:
        raise CannotStart(f"{place}: {error}") from None
    except (DiskError, OSError) as error:
        raise CannotStart(f"{place} cannot be used: {error}") from None


def tls_contexts(options: NodeOptions) -> tuple[Any, Any]:
    """The contexts for accepting and for dialling; two None without certificates.

    Raises:
        CannotStart: a certificate or key cannot be used.
    """
    files = options.tls
    if files is None:
        return None, None
    try:
        return (
            tls.server_context(ca=files.ca, cert=files.cert, key=files.key),
            tls.client_context(ca=files.ca, cert=files.cert, key=files.key),
        )
    except tls.BadCertificate as error:
        raise CannotStart(str(error)) from None


def bound_socket(address: Address, *, option: str) -> socket.socket:
    """A socket with the address taken, so that a clash is found before anything is touched.

    Raises:
        CannotStart: the address cannot be had.
    """
    try:
        family, kind, _, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        )[0]
        sock = socket.socket(family, kind)
    except OSError as error:
        raise CannotStart(f"{option} {address} cannot be used: {error}") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(place)
        sock.listen(LISTEN_BACKLOG)
    except OSError as error:
        sock.close()
        why = error.strerror or str(error)
        raise CannotStart(f"{option} {address} cannot be used: {why.lower()}") from None
    return sock
