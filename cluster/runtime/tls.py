"""Mutual TLS: both sides show a certificate of the cluster's authority.

A node's certificate must carry its node id as a DNS name, for its role as server (dialled by that
name, whatever the address or proxy) and as a peer. A client's may carry any name. TLS 1.3 only: all
speakers are this project.

A handshake that fails is explained on both sides, :func:`why_refused` where it was accepted and
:func:`why_failed` where it was dialled. With TLS 1.3 who dials believes in the connection before
its certificate was looked at, and the event loop hangs up without sending the alert that would say
why: a connection that ends before anything came back is taken for a refusal, and said to be one.

Used by the node and by the client.
"""

from __future__ import annotations

import ssl
from pathlib import Path

#: X509_V_ERR_HOSTNAME_MISMATCH
_HOSTNAME_MISMATCH = 62

#: Why a connection ended over which nothing ever came, where it was dialled.
HUNG_UP = (
    "it hung up after the TLS handshake, as a node does that does not accept the certificate it "
    "is shown; its log says why"
)

#: OpenSSL's reason -> what it means where the connection was accepted
_REFUSED = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate, and this node demands one",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not one of the authority in --tls-ca",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not accept this node's certificate: it trusts another "
    "authority",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept this node's certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not accept this node's certificate",
    "UNSUPPORTED_PROTOCOL": "it speaks an older TLS than 1.3",
    "NO_SHARED_CIPHER": "it speaks an older TLS than 1.3",
}
#: the same where it was dialled
_FAILED = {
    "WRONG_VERSION_NUMBER": "it speaks no TLS: it was started without certificates",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it demands a certificate, and was shown none",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not accept this certificate: another authority issued it",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it does not accept this certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it does not accept this certificate: it has expired",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it does not speak TLS 1.3",
}


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


def why_refused(error: OSError) -> str:
    """Why a handshake failed, in a sentence for the log of the node that accepted it."""
    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError):
        return "it hung up in the TLS handshake, as one does that does not accept a certificate"
    known = _REFUSED.get(error.reason or "")
    return known or f"its TLS handshake failed: {_reason(error)}"


def why_failed(error: BaseException | None) -> str:
    """Why a connection to a node failed, in a sentence for who dialled; "" if it is not TLS's."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == _HOSTNAME_MISMATCH:
            return "its certificate names another node"
        why = error.verify_message
        return f"its certificate is not one of the authority in --tls-ca ({why})"
    if not isinstance(error, ssl.SSLError):
        return ""
    return _FAILED.get(error.reason or "") or f"TLS failed: {_reason(error)}"


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()


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
