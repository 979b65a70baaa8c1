"""Certificates for tests: an authority, nodes' and clients', and a stranger's."""

from __future__ import annotations

from pathlib import Path

import trustme


class Authority:
    """Issues certificates into a directory.

    Args:
        root: where the files go.
        name: begins their names.
    """

    def __init__(self, root: Path, name: str = "ca") -> None:
        self.file = root / f"{name}.pem"
        self._root, self._name, self._ca = root, name, trustme.CA()
        self._ca.cert_pem.write_to_path(self.file)

    def certificate(self, name: str) -> tuple[Path, Path]:
        """Certificate and key for a name."""
        issued = self._ca.issue_cert(name)
        cert, key = (self._root / f"{self._name}-{name}.{kind}" for kind in ("pem", "key"))
        issued.private_key_pem.write_to_path(key)
        issued.cert_chain_pems[0].write_to_path(cert)
        return cert, key

    def arguments(self, node: str) -> list[str]:
        """A node's options."""
        cert, key = self.certificate(node)
        return ["--tls-ca", str(self.file), "--tls-cert", str(cert), "--tls-key", str(key)]
