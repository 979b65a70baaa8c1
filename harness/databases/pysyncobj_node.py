"""A node of a PySyncObj cluster: a replicated dictionary behind a small HTTP front.

    python -m harness.databases.pysyncobj_node --name n1 --self HOST:PORT --bind HOST:PORT \
        --partners HOST:PORT,HOST:PORT --http HOST:PORT --data DIR

``POST /op {"f": "read"|"write"|"cas"|"add", "key": .., "value": .., "replicated": bool,
"timeout_s": N}`` answers ``{"type": "ok"|"fail"|"info", "value": .., "error": ..}``. Reads are
answered from the
node's own copy, as PySyncObj's documentation shows them, unless ``replicated`` asks for one through
the log. ``GET /health`` answers 200 when a leader is known; ``GET /status`` who leads.
"""

from __future__ import annotations

import argparse
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, SyncObjException, replicated

#: errors after which the command is definitely never applied
_REFUSED = {
    FAIL_REASON.QUEUE_FULL: "the queue is full",
    FAIL_REASON.MISSING_LEADER: "there is no leader",
    FAIL_REASON.REQUEST_DENIED: "the request was denied",
}


class Store(SyncObj):  # type: ignore[misc]
    """The replicated dictionary."""

    def __init__(self, own: str, partners: list[str], conf: SyncObjConf) -> None:
        self._values: dict[str, Any] = {}
        super().__init__(own, partners, conf)

    @replicated  # type: ignore[untyped-decorator]
    def write(self, key: str, value: Any) -> bool:
        """Set a key."""
        self._values[key] = value
        return True

    @replicated  # type: ignore[untyped-decorator]
    def cas(self, key: str, old: Any, new: Any) -> bool:
        """Set a key if it has the old value; whether it did."""
        if self._values.get(key) != old:
            return False
        self._values[key] = new
        return True

    @replicated  # type: ignore[untyped-decorator]
    def add(self, key: str, amount: int) -> bool:
        """Add to a key, which begins as 0."""
        self._values[key] = self._values.get(key, 0) + amount
        return True

    @replicated  # type: ignore[untyped-decorator]
    def read_replicated(self, key: str) -> Any:
        """A key's value at this place of the log."""
        return self._values.get(key)

    def read(self, key: str) -> Any:
        """A key's value in this node's copy, however old that is."""
        return self._values.get(key)


def operate(store: Store, request: dict[str, Any]) -> dict[str, Any]:
    """Do one operation; how it ended, in Jepsen's words."""
    f, key, value = request["f"], request["key"], request.get("value")
    how = {"sync": True, "timeout": request.get("timeout_s", 5.0)}
    try:
        if f == "read" and request.get("replicated"):
            return {"type": "ok", "value": store.read_replicated(key, **how)}
        if f == "read":
            return {"type": "ok", "value": store.read(key)}
        if f == "add":
            store.add(key, value, **how)
            return {"type": "ok"}
        if f == "write":
            store.write(key, value, **how)
            return {"type": "ok"}
        if f == "cas" and isinstance(value, list) and len(value) == 2:
            swapped = store.cas(key, *value, **how)
            return {"type": "ok"} if swapped else {"type": "fail", "error": "the value is another"}
    except SyncObjException as error:
        refused = _REFUSED.get(error.errorCode)
        if refused is not None:
            return {"type": "fail", "error": refused}
        return {"type": "info", "error": f"error {error.errorCode} of PySyncObj"}
    return {"type": "fail", "error": f"no operation {f!r} with value {value!r}"}


class Handler(BaseHTTPRequestHandler):
    """The HTTP front."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    store: Store
    own: str

    def _answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """``/health`` and ``/status``."""
        leader = self.store._getLeader()
        leads = leader is not None and str(leader) == self.own
        status = {"leader": None if leader is None else str(leader), "leads": leads}
        healthy = leader is not None and self.store.isReady()
        self._answer(200 if healthy or self.path == "/status" else 503, status)

    def do_POST(self) -> None:
        """``/op``."""
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(200, operate(self.store, request))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: requests are in the history."""


def main() -> None:
    """Run a node."""
    parser = argparse.ArgumentParser(prog="python -m harness.databases.pysyncobj_node")
    for name in ("name", "self", "bind", "partners", "http", "data"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    os.makedirs(given.data, exist_ok=True)
    conf = SyncObjConf(
        bindAddress=given.bind,
        journalFile=os.path.join(given.data, "journal"),
        fullDumpFile=os.path.join(given.data, "dump"),
        connectionRetryTime=0.5,
        commandsWaitLeader=False,
        autoTickPeriod=0.01,
        dynamicMembershipChange=False,
    )
    Handler.own = given.self
    Handler.store = Store(given.self, given.partners.split(","), conf)
    host, port = given.http.rsplit(":", 1)
    print(f"{given.name} serves {given.http}", flush=True)
    # In the main thread: PySyncObj stops ticking when that ends.
    ThreadingHTTPServer((host, int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
