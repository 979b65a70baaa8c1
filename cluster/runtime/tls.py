"""Mutual TLS: everybody shows a certificate of the cluster's authority.

A node's certificate must carry its node id as a DNS name, for its role as server (dialled by that
name, whatever the address or proxy) and as a peer. A client's may carry any name. TLS 1.3 only: all
speakers are this project.

Used by the node and by the client.
"""

from __future__ import annotations

import ssl
from pathlib import Path


class BadCertificate(Exception):
    """A certificate, key or authority file cannot be used; the message says which."""


def server_context(*, ca: Path, cert: Path, key: Path) -> ssl.SSLContext:
    """Context for accepting: the other side must show a certificate of this authority.

    Raises:
        BadCertificate: a file is missing or wrong.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, ca=ca, cert=cert, key=key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(*, ca: Path, cert: Path, key: Path) -> ssl.SSLContext:
    """Context for dialling a node; give the node's id as ``server_hostname``.

    Raises:
        BadCertificate: a file is missing or wrong.
    """
    return _context(ssl.PROTOCOL_TLS_CLIENT, ca=ca, cert=cert, key=key)


def _context(protocol: int, *, ca: Path, cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    for name, path in (("--tls-ca", ca), ("--tls-cert", cert), ("--tls-key", key)):
        if not path.is_file():
            raise BadCertificate(f"{name} {str(path)!r} is not a file")
    try:
        context.load_verify_locations(ca)
    except (ssl.SSLError, OSError) as error:
        raise BadCertificate(f"--tls-ca {str(ca)!r} holds no certificates: {error}") from None
    try:
        context.load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        files = f"--tls-cert {str(cert)!r} and --tls-key {str(key)!r}"
        raise BadCertificate(f"{files} do not make a certificate and its key: {error}") from None
    return context
