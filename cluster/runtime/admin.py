"""The admin endpoint: health, status, hash, metrics, and, where enabled, faults.

    GET  /health        200 once the node serves
    GET  /status        what the node believes: see docs/architecture.md for the fields
    GET  /hash          {"applied": N, "hash": hex}: equal on all nodes at an equal index
    GET  /metrics       Prometheus text
    GET  /chaos         the faults in force, and what each did so far
    POST /chaos/clock   {"offset_ns": N, "rate": 1.0}
    POST /chaos/disk    {"latency_ns": N, "jitter_ns": N, "error": "EIO", "full": true,
                         "torn": true, "flip": true}; what is left out is healed

Everything under /chaos is 403 without ``--enable-chaos``. A POST answers with what is now so.

Where the node has a token, everything but /health needs ``Authorization: Bearer TOKEN``, or is 401.
On loopback a request must be for a loopback name: a web page whose name was made to resolve to this
machine (DNS rebinding) sends its own.

Used by ``node``; sockets are ``http``'s.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from cluster.runtime.clock import SkewedClock
from cluster.runtime.disk import FileDisk
from cluster.runtime.disk_faults import parse_disk_faults
from cluster.runtime.http import HttpRequest, HttpResponse, problem

_PATHS = ("/health", "/status", "/hash", "/metrics", "/chaos", "/chaos/clock", "/chaos/disk")


class Observed(Protocol):
    """The interface of a node to the endpoint."""

    @property
    def serving(self) -> bool:
        """Whether the node serves."""

    def status(self) -> dict[str, Any]:
        """The status fields."""

    def state_hash(self) -> dict[str, Any]:
        """Applied index and hash of the state there."""

    def metrics(self) -> str:
        """Prometheus text."""

    def clock_changed(self) -> None:
        """The clock was set."""

    def chaos_note(self, kind: str, detail: Mapping[str, Any]) -> None:
        """A fault was set: worth a line in the log."""


class Chaos:
    """Sets the faults of one node.

    Args:
        node: the node.
        clock: its clock.
        disk: its disk.
    """

    def __init__(self, node: Observed, *, clock: SkewedClock, disk: FileDisk) -> None:
        self._node = node
        self._clock = clock
        self._disk = disk
        self._flipped: list[str] = []

    def state(self) -> dict[str, Any]:
        """The faults in force and their evidence."""
        return {"clock": self.clock_state(), "disk": self.disk_state()}

    def clock_state(self) -> dict[str, Any]:
        """The clocks' readings and their errors."""
        clock = self._clock
        return {
            "offset_ns": clock.offset_ns,
            "rate": clock.rate,
            "wall_ns": clock.wall_ns(),
            "monotonic_ns": clock.monotonic_ns(),
        }

    def disk_state(self) -> dict[str, Any]:
        """The disk's faults, and how often each bit."""
        faults = self._disk.faults
        settings = msgspec.to_builtins(faults.settings)
        return {**settings, "counts": dict(faults.counts), "flipped": list(self._flipped)}

    def set_clock(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Set offset and rate; what is left out stays.

        Raises:
            ValueError: a field is unknown or out of range.
        """
        unknown = sorted(set(document) - {"offset_ns", "rate"})
        if unknown:
            raise ValueError(f"a clock has no {unknown[0]!r}; the fields are offset_ns and rate")
        offset_ns = document.get("offset_ns", self._clock.offset_ns)
        rate = document.get("rate", self._clock.rate)
        if type(offset_ns) is not int or abs(offset_ns) > 1 << 62:
            raise ValueError(f"offset_ns is {offset_ns!r}, and must be whole nanoseconds")
        if type(rate) not in (int, float):
            raise ValueError(f"rate is {rate!r}, and must be a number")
        self._clock.set(offset_ns=offset_ns, rate=float(rate))
        self._node.clock_changed()
        return self.clock_state()

    def set_disk(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Set the disk's faults; what is left out is healed.

        Raises:
            ValueError: a field is unknown or out of range.
        """
        settings = parse_disk_faults(document)
        self._disk.faults.settings = msgspec.structs.replace(settings, flip=False)
        if settings.flip:
            flipped = self._disk.flip_bit()
            if flipped is not None:
                self._flipped.append(flipped)
        return self.disk_state()


class Admin:
    """Answers requests.

    Args:
        node: what to show.
        chaos: what may be broken, or None if nothing may.
        token: what requests must show; "" if nothing.
        loopback: whether it listens on a loopback address.
    """

    def __init__(
        self, node: Observed, *, chaos: Chaos | None, token: str = "", loopback: bool = True
    ) -> None:
        self._node = node
        self._chaos = chaos
        self._shown = f"Bearer {token}".encode() if token else b""
        self._loopback = loopback

    def handle(self, request: HttpRequest) -> HttpResponse:
        """The answer to one request."""
        if self._loopback and not is_loopback_name(request.host):
            return problem(403, "the Host header names another site; use the node's address")
        path = request.path
        if path not in _PATHS:
            return problem(404, f"there is no {path}; there is {', '.join(_PATHS)}")
        wanted = "POST" if path.startswith("/chaos/") else "GET"
        if request.method != wanted:
            return problem(405, f"{path} is for {wanted}")
        if path == "/health":
            return self._health()
        if self._shown and not hmac.compare_digest(request.authorization.encode(), self._shown):
            return problem(401, "the cluster has a token: send Authorization: Bearer TOKEN")
        if path.startswith("/chaos"):
            return self._handle_chaos(request)
        if path == "/metrics":
            text = self._node.metrics().encode()
            return HttpResponse(200, text, "text/plain; version=0.0.4; charset=utf-8")
        return _json(self._node.status() if path == "/status" else self._node.state_hash())

    def _health(self) -> HttpResponse:
        if not self._node.serving:
            return problem(503, "the node does not serve")
        return _json({"health": "ok"})

    def _handle_chaos(self, request: HttpRequest) -> HttpResponse:
        if self._chaos is None:
            return problem(403, "faults are off: start the node with --enable-chaos")
        if request.path == "/chaos":
            return _json(self._chaos.state())
        try:
            document = msgspec.json.decode(request.body, type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError) as error:
            return problem(400, f"the body is not a JSON object: {error}")
        kind = request.path.rpartition("/")[2]
        set_fault = self._chaos.set_clock if kind == "clock" else self._chaos.set_disk
        try:
            state = set_fault(document)
        except ValueError as error:
            return problem(400, str(error))
        self._node.chaos_note(kind, state)
        return _json(state)


def is_loopback_name(host: str) -> bool:
    """Whether a Host header names this machine by a loopback name, or nothing at all."""
    try:
        name = urlsplit(f"//{host}").hostname
        return name in (None, "localhost") or ipaddress.ip_address(name or "").is_loopback
    except ValueError:
        return False


def _json(value: object) -> HttpResponse:
    return HttpResponse(200, msgspec.json.encode(value) + b"\n")
