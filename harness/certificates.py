"""A test authority for mutual TLS: a certificate for each node, and one for clients.

A node's certificate carries its node id as a DNS name, as ``cluster.runtime.tls`` demands. Keys are
written with mode 0600, and nothing that exists is overwritten. Certificates of a test authority are
for tests: its key lies beside them.

Used by ``harness cluster certs``.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import SetupError, UsageError

DAYS = 365
AUTHORITY, CLIENT = "ca", "client"


def make_certificates(where: Path, nodes: Sequence[str], *, days: int = DAYS) -> list[Path]:
    """Write an authority, and a certificate and key for each node and for clients.

    Args:
        where: the directory; made if it is not there.
        nodes: node ids.
        days: how long they are valid.

    Returns:
        the files written.

    Raises:
        UsageError: a file is there already, or the days are none.
        SetupError: the directory cannot be written to, or the library is missing.
    """
    if days < 1:
        raise UsageError(f"--days is {days}; it should be 1 or more")
    names = [AUTHORITY, *nodes, CLIENT]
    if len(set(names)) < len(names):
        raise UsageError(
            f"--nodes is {','.join(nodes)}; names must differ, also from ca and client"
        )
    files = [where / f"{name}.{kind}" for name in names for kind in ("pem", "key")]
    for file in files:
        if file.exists():
            raise UsageError(f"{file} is there already; nothing is overwritten")
    try:
        where.mkdir(parents=True, exist_ok=True)
        _write_all(where, nodes, days)
    except OSError as error:
        raise SetupError(f"{where} cannot be written to: {error.strerror}") from error
    return files


def _write_all(where: Path, nodes: Sequence[str], days: int) -> None:
    authority, authority_key = _issue(AUTHORITY, days, None, None)
    _write(where, AUTHORITY, authority, authority_key)
    for name in (*nodes, CLIENT):
        _write(where, name, *_issue(name, days, authority, authority_key))


def _issue(name: str, days: int, authority: Any, authority_key: Any) -> tuple[Any, Any]:
    """A certificate and its key; signed by itself if there is no authority yet."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"splitbrain test {name}")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.subject if authority is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    signer = authority_key or key
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
    )
    if authority is not None:
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, hashes.SHA256()), key


def _write(where: Path, name: str, certificate: Any, key: Any) -> None:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    (where / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    handle = os.open(where / f"{name}.key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(secret)
