"""A node's peers: which of them are let in, and the address of each.

Members join and leave while a node runs. So a link is made when the configuration names a member,
or when there is something to send to it. It is closed some time after the member left, because the
message that says so must still arrive.

Where a member is dialled: at the address ``--peers`` has for it, or for the node it lives on
(``n2`` for ``n2~2``), since that is how *this* node must dial; else where the configuration says it
joined; else where it said, in its hello, that it listens.

Who is let in: a peer of the cluster that means this very member (``Hello.to``), or one that
``--peers`` or the configuration names; with TLS its certificate names it too. Not one that was
wiped (``peer_directories``), none that looks for the member that lived here before, and none that
runs another consensus.

Used by ``node``; runs in the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from cluster.channel.single_socket_channel import OutgoingChannel
from cluster.consensus.membership import Configuration
from cluster.runtime.data_directory import Identity
from cluster.runtime.ending import ended
from cluster.runtime.links import PeerLink
from cluster.runtime.options import Address, NodeOptions, OptionError, parse_address
from cluster.runtime.peer_directories import PeerDirectories
from cluster.wire import Hello

#: A link's epoch is the start's number times this, plus the connection's number.
EPOCHS_PER_START = 1 << 20
#: How long the link to a member that left stays.
FAREWELL_S = 5.0


class Peers:
    """Links to peers, made as they are needed.

    Args:
        options: how the node was started; its id is the member's.
        identity: of its data directory.
        directories: what it remembers of theirs.
        configuration: the configuration in force; None if the core knows of none.
        tls: context for dialling, or None.
        changed: called with (peer, True) when connected and (peer, False) when lost.
        refused: called with a peer and why it does not take this node.
        channel: the class of the sending ends of channels.
    """

    def __init__(
        self,
        options: NodeOptions,
        identity: Identity,
        directories: PeerDirectories,
        *,
        configuration: Callable[[], Configuration | None],
        tls: Any,
        changed: Callable[[str, bool], None],
        refused: Callable[[str, str], None],
        channel: type[OutgoingChannel] = OutgoingChannel,
    ) -> None:
        self.links: dict[str, PeerLink] = {}
        self._options = options
        self._identity = identity
        self._directories = directories
        self._configuration = configuration
        self._tls = tls
        self._changed = changed
        self._refused = refused
        self._channel = channel
        #: kept when a member leaves: it may come back, and epochs never go down
        self._channels: dict[str, OutgoingChannel] = {}
        self._from_hellos: dict[str, Address] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}

    def follow(self) -> None:
        """Members may have changed: link to those there are, and let go of those that left."""
        wanted = self._members()
        for member in wanted:
            self.link_to(member)
        for member in self.links:
            if member not in wanted and member not in self._closing:
                self._closing[member] = asyncio.get_running_loop().create_task(
                    self._say_farewell(member)
                )

    def link_to(self, member: str) -> PeerLink | None:
        """The link to a member; None if its address is unknown."""
        link = self.links.get(member)
        if link is not None:
            return link
        address = self.address_of(member)
        if address is None or member == self._options.id:
            return None
        link = self.links[member] = PeerLink(
            member,
            address.host,
            address.port,
            hello=self._hello_to(member),
            tls=self._tls,
            changed=self._changed,
            refused=self._refused,
        )
        link.start()
        return link

    def address_of(self, member: str) -> Address | None:
        """Where a member is dialled; None if that is unknown."""
        address = self._options.address_of(member)
        found = self._configuration()
        if address is None and found is not None and found.address_of(member):
            address = parse_address(found.address_of(member), option=member)
        return address or self._from_hellos.get(member)

    def refusal(self, hello: Hello) -> str:
        """Why a peer that says hello is not let in; "" if it is."""
        own = self._options.id
        if hello.to and hello.to != own:
            return f"{hello.sender!r} looks for {hello.to!r}, and this is {own!r}"
        known = self._options.address_of(hello.sender) or hello.sender in self._members()
        if not known and not hello.to:
            return f"{hello.sender!r} is no peer of this node"
        if hello.consensus and hello.consensus != self._options.variant:
            return (
                f"{hello.sender!r} runs consensus {hello.consensus!r}, and {own!r} runs "
                f"{self._options.variant!r}"
            )
        if hello.address:
            try:
                self._from_hellos[hello.sender] = parse_address(hello.address, option=hello.sender)
            except OptionError:
                return f"{hello.sender!r} says that it listens at {hello.address!r}"
        return self._directories.problem(hello.sender, hello.directory)

    async def close(self) -> None:
        """End every link."""
        await ended(*self._closing.values())
        await asyncio.gather(*(link.close() for link in self.links.values()))

    def _members(self) -> tuple[str, ...]:
        found = self._configuration()
        nodes = tuple(self._options.peers) if found is None else found.nodes
        return tuple(node for node in nodes if node != self._options.id)

    async def _say_farewell(self, member: str) -> None:
        await asyncio.sleep(FAREWELL_S)
        if member not in self._members():
            await self.links[member].close()
            del self.links[member]
        del self._closing[member]

    def _hello_to(self, member: str) -> Callable[[], Hello]:
        before = self._identity.starts * EPOCHS_PER_START
        channel = self._channels.setdefault(member, self._channel(before))
        options = self._options

        def hello() -> Hello:
            return Hello(
                options.config.cluster,
                options.id,
                peer=True,
                epoch=channel.open(),
                to=member,
                directory=self._identity.directory,
                address=str(options.listen),
                token=options.token,
                consensus=options.variant,
            )

        return hello
