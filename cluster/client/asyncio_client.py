"""The client over real sockets: carries out what the sans-IO session asks for.

All thinking (retries, redirects, deduplication ids, deadlines, what is honestly known of the
outcome) is in ``cluster.client.session``, which the simulator runs as well. Here are a socket, a
timer, and a future for each command.

    client = AsyncioClient({"n1": "127.0.0.1:7001", "n2": "127.0.0.1:7002"}, name="worker-1")
    outcome = await client.call(Command("put", "x", (1,)))
    outcome.status          # "ok", "fail" or "unknown"

A node that refuses the client says why before it hangs up, and the outcome's error says it.

Raises nothing for what the cluster does: an outcome says it. Public.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, TypeAlias, cast

import msgspec

from cluster.client.session import Action, ClientSession, Complete, Connect, SendRequest
from cluster.ports import SetTimer
from cluster.runtime.ending import ended
from cluster.runtime.frames import BadFrame, encode_frame, response_decoder
from cluster.runtime.links import tune
from cluster.runtime.options import OptionError, parse_address
from cluster.runtime.tls import HUNG_UP, why_failed
from cluster.wire import REQUEST_BYTES_MAX, Command, Hello

#: The outcome of a command: ``status``, ``value``, ``revision``, ``error``, ``node``.
Outcome: TypeAlias = Complete

CONNECT_TIMEOUT_S = 2.0
#: Longest command, encoded: a request is a little more than its command.
COMMAND_BYTES_MAX = REQUEST_BYTES_MAX - 4096
_encode = msgspec.msgpack.Encoder().encode


def _unsent(command: Command) -> str:
    """Why a command cannot be sent; empty if it can."""
    try:
        size = len(_encode(command))
    except OverflowError:  # what msgpack cannot hold
        return "a command with an integer outside of -2^63 to 2^64 - 1 was not sent"
    except UnicodeEncodeError as error:
        bad = error.object[error.start : error.end]
        return f"a command with {bad!r} was not sent: its keys and values should be Unicode text"
    if size > COMMAND_BYTES_MAX:
        return f"a command of {size} bytes was not sent: the most is {COMMAND_BYTES_MAX}"
    return ""


class EntropyRng:
    """The Rng port of a real client: back-off must not be the same for all of them."""

    def __init__(self) -> None:
        self._source = random.Random()

    def between(self, low: int, high: int) -> int:
        """A uniform integer in [low, high]."""
        return self._source.randint(low, high)


class _Wire(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, client: AsyncioClient, node: str, epoch: int, hello: Hello) -> None:
        self._client = client
        self._node = node
        self._epoch = epoch
        self._hello = hello
        self._decoder = response_decoder()
        self._transport: asyncio.Transport | None = None
        self._refused = ""
        self._secure = self._heard = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._secure = transport.get_extra_info("ssl_object") is not None
        self._transport = cast(asyncio.Transport, transport)
        tune(transport.get_extra_info("socket"))
        self._transport.write(encode_frame(self._hello))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        reason = why_failed(exc) or str(exc or "it closed the connection")
        if self._secure and not self._heard:
            reason = why_failed(exc) or HUNG_UP
        why = self._refused or f"{self._node}: {reason}"
        self._client._disconnected(self._epoch, why)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            responses = self._decoder.feed(data)
        except BadFrame as error:
            self._refused = f"{self._node} answers {error}"
            self.close()
            return
        for response in responses:
            if response.status == "refused":
                self._refused = f"{self._node} refuses this client: {response.error}"
            else:
                self._client._on_response(self._epoch, response)

    def write(self, frame: bytes) -> None:
        if self._transport is not None:
            self._transport.write(frame)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None


class AsyncioClient:
    """One session of one client.

    Args:
        addresses: node id to ``host:port``, the preferred node first.
        name: unique among all clients there ever are; drawn at random if "".
        cluster: the cluster's name.
        timeout_s: deadline of a call that gives none.
        window: commands under way at once; more wait their turn, in order.
        attempt_s: how long one node may take to answer before another is tried; twice as long for
            each later copy of a request, unless the client is restless.
        restless: see :class:`cluster.client.session.ClientSession`.
        tls: context made by :func:`cluster.runtime.tls.client_context`, or None.
        token: the cluster's token, if it has one.
        revision: one that another session saw: ``session`` reads are as new as it.

    Raises:
        OptionError: an address is not ``host:port``.
        ValueError: no addresses.
    """

    def __init__(
        self,
        addresses: Mapping[str, str],
        *,
        name: str = "",
        cluster: str = "splitbrain",
        timeout_s: float = 5.0,
        window: int = 1,
        attempt_s: float = 1.0,
        restless: bool = False,
        tls: ssl.SSLContext | None = None,
        token: str = "",
        revision: int = 0,
    ) -> None:
        self._addresses = {
            node: parse_address(address, option=f"the address of {node}")
            for node, address in addresses.items()
        }
        self._session = ClientSession(
            name or f"client-{random.SystemRandom().getrandbits(64):016x}",
            tuple(addresses),
            rng=EntropyRng(),
            window=window,
            attempt_ns=int(attempt_s * 1e9),
            restless=restless,
            revision=revision,
        )
        self._cluster = cluster
        self._timeout_s = timeout_s
        self._tls = tls
        self._token = token
        self._calls: dict[int, asyncio.Future[Outcome]] = {}
        self._wire: _Wire | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def session(self) -> ClientSession:
        """The session: its name, and the highest revision it has seen."""
        return self._session

    async def call(
        self,
        command: Command,
        *,
        mode: str = "linearizable",
        node: str = "",
        timeout_s: float | None = None,
        staleness_s: float = 0.0,
    ) -> Outcome:
        """Do a command and say what became of it.

        A call that is cancelled makes no other wait; a write may have happened, and may yet.

        Args:
            command: what to do.
            mode: of a read: one of :data:`cluster.data.follower_reads.READ_MODES`.
            node: the node to ask first; a stale read is answered by it or not at all.
            timeout_s: deadline, from now.
            staleness_s: of a ``bounded`` read: how long ago the answer may be from.

        Raises:
            ValueError: there is no such node.
            RuntimeError: the client is closed.
        """
        if self._closed:
            raise RuntimeError("the client is closed")
        if node and node not in self._addresses:
            raise ValueError(f"there is no node {node!r} among {', '.join(self._addresses)}")
        unsent = _unsent(command)
        if unsent:
            return Outcome(0, "fail", error=unsent, answered=True)
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        id, actions = self._session.submit(
            time.monotonic_ns(),
            command,
            timeout_ns=int(limit_s * 1e9),
            mode=mode,
            to=node,
            staleness_ns=int(staleness_s * 1e9),
        )
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._calls[id] = future
        self._carry_out(actions)
        try:
            return await future
        except asyncio.CancelledError:
            if not self._closed:
                self._carry_out(self._session.withdraw(time.monotonic_ns(), id))
            raise

    async def close(self) -> None:
        """End the session; commands without an outcome end as honestly as they stand."""
        if self._closed:
            return
        self._closed = True
        self._carry_out(self._session.close())
        if self._timer is not None:
            self._timer.cancel()
        if self._dialling is not None:
            await ended(self._dialling)
        if self._wire is not None:
            self._wire.close()

    async def __aenter__(self) -> AsyncioClient:
        """The client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()

    def _on_response(self, epoch: int, response: Any) -> None:
        self._carry_out(self._session.on_response(time.monotonic_ns(), epoch, response))

    def _disconnected(self, epoch: int, error: str) -> None:
        if not self._closed:
            self._carry_out(self._session.on_disconnected(time.monotonic_ns(), epoch, error))

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if type(action) is SendRequest:
                if self._wire is not None:
                    self._wire.write(encode_frame(action.request))
            elif type(action) is Complete:
                future = self._calls.pop(action.id, None)
                if future is not None and not future.done():
                    future.set_result(action)
            elif type(action) is SetTimer:
                self._arm(action.at_ns)
            elif type(action) is Connect and not self._closed:
                self._connect(action)

    def _connect(self, action: Connect) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        if self._dialling is not None:
            self._dialling.cancel()
        self._dialling = asyncio.get_running_loop().create_task(self._dial(action))

    async def _dial(self, action: Connect) -> None:
        name, epoch = self._session.name, action.epoch
        hello = Hello(self._cluster, name, peer=False, epoch=epoch, token=self._token)
        tls: dict[str, Any] = {}
        if self._tls is not None:
            tls = {"ssl": self._tls, "server_hostname": action.node}
        address = self._addresses.get(action.node)
        try:
            if address is None:
                address = parse_address(action.address, option=f"the address of {action.node}")
            # Not wait_for, which may swallow a cancellation that comes as the dial ends.
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                make = partial(_Wire, self, action.node, epoch, hello)
                _, wire = await asyncio.get_running_loop().create_connection(
                    make, address.host, address.port, **tls
                )
        except OptionError as error:  # what a member joined with is no address
            self._disconnected(epoch, str(error))
            return
        except (TimeoutError, OSError) as error:
            reason = why_failed(error) or str(error) or "no connection in time"
            self._disconnected(epoch, f"{action.node} at {address}: {reason}")
            return
        self._wire = wire
        self._carry_out(self._session.on_connected(time.monotonic_ns(), epoch))

    def _arm(self, at_ns: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(0, at_ns - time.monotonic_ns()) / 1e9
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick, at_ns)

    def _tick(self, at_ns: int) -> None:
        now_ns = time.monotonic_ns()
        if now_ns < at_ns:  # the loop's clock is coarser than ours
            self._arm(at_ns)
        elif not self._closed:
            self._carry_out(self._session.on_tick(now_ns))
