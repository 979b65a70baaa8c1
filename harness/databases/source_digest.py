"""A digest of the cluster's sources, so that nodes elsewhere are known to run this version.

An image or a host has a copy of the cluster of its own. A run says which commit it tested, and the
copy may be of another. So the text of this module is run there, and what it prints is compared.

Used by ``harness.databases.reference``; it imports the standard library only.
"""

import hashlib
import importlib.util
from pathlib import Path

PACKAGE = "cluster"
DIGITS = 16


def source_digest(package: Path) -> str:
    """A digest of the names and texts of a package's modules, in hexadecimal.

    Args:
        package: its directory.

    Raises:
        OSError: a module cannot be read.
    """
    found = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        found.update(file.relative_to(package).as_posix().encode() + b"\0")
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:DIGITS]


def package_directory() -> Path:
    """Where the interpreter would import the cluster from, without importing it."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(f"there is no package {PACKAGE!r} here")
    return Path(spec.origin).parent


if __name__ == "__main__":
    print(source_digest(package_directory()))
