"""A libp2p host as this program needs it: listening, findable, connected, gossiping. Opened and closed as a block.

py-libp2p 0.8.1 with the parts replaced that a stranger could use to end, fill or fool the process; see the modules
named ``libp2p_*``. It speaks Noise and Yamux over TCP, so js-libp2p and go-libp2p peers can join.
"""

from __future__ import annotations

import errno
import logging
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio
from libp2p.crypto.ed25519 import Ed25519PrivateKey
from libp2p.crypto.keys import KeyPair
from libp2p.host.basic_host import BasicHost
from libp2p.peer.id import ID
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from bootstrap.address_book import MAX_ADDRESSES, AddressBook, load, save
from bootstrap.connection_limits import DEFAULT_LIMITS, ConnectionLimits
from bootstrap.containment import contained, contained_forever
from bootstrap.first_peers import parse_introducers
from bootstrap.identity import key_of_seed
from bootstrap.libp2p_dialer import Dialer
from bootstrap.libp2p_gossip import Gossip
from bootstrap.libp2p_streams import PeerConnections
from bootstrap.libp2p_swarm import HardenedSwarm
from bootstrap.peer_address import PeerAddress, dialable, parse_address
from market.errors import InvalidRequest

_SAVE_BOOK_S = 60.0
_CLOSE_S = 5.0
_IDENTIFY_S, _IDENTIFY_STEP_S = 10.0, 0.1
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """How a host shall be.

    Attributes:
        seed: Ed25519 seed, 32 bytes; decides the peer id. Never printed.
        listen: where to listen, such as ``/ip4/0.0.0.0/tcp/4001``; port 0 means any.
        topics: the gossip topics that exist; peers cannot make us keep others.
        max_message: longest gossip message, bytes.
        introducers: addresses with peer ids that are kept connected.
        announce: what to tell others instead of the listening addresses, for a node behind a forwarded port.
        book_path: file to remember peers in, or none.
        limits: bounds on connections.
    """

    seed: bytes = field(repr=False)
    listen: tuple[str, ...]
    topics: frozenset[str]
    max_message: int
    introducers: tuple[str, ...] = ()
    announce: tuple[str, ...] = ()
    book_path: Path | None = None
    limits: ConnectionLimits = DEFAULT_LIMITS


class Host:
    """The parts of a running host, wired together by :func:`open_host`.

    Attributes:
        key: our Ed25519 public key.
        addresses: where others can reach us.
        connections: who is connected, and streams to them.
        gossip: topics.
        dialer: makes connections, and remembers where peers are.
        book: what it remembers.
        nursery: tasks that end with the host.
    """

    def __init__(self, settings: HostSettings) -> None:
        private = Ed25519PrivateKey.new(settings.seed)
        key_pair = KeyPair(private, private.get_public_key())
        swarm = HardenedSwarm(key_pair, settings.limits)
        self.key = key_of_seed(settings.seed)
        self.addresses: tuple[PeerAddress, ...] = ()
        self.libp2p = _ContainedHost(
            swarm,
            addresses=lambda: self.addresses,
            disable_identify_address_discovery=True,
        )
        self.connections = PeerConnections(self.libp2p, swarm)
        self.gossip = Gossip(self.libp2p, self.connections, settings.topics, max_message=settings.max_message)
        self.book = AddressBook(self.key, random.Random())
        self.dialer = Dialer(self.connections, self.book)
        self.nursery: trio.Nursery


class _ContainedHost(BasicHost):
    """The library's host. It asks who a peer is in a task of trio's own: one that raises ends the whole process. And it
    writes our addresses anew for every gossip packet, a fifth of what gossip costs: here once per change."""

    def __init__(self, *args: Any, addresses: Callable[[], tuple[PeerAddress, ...]], **options: Any) -> None:
        self._addresses = addresses
        self._written: tuple[object, list[Multiaddr]] = (None, [])
        super().__init__(*args, addrs_factory=lambda _: [Multiaddr(str(one)) for one in addresses()], **options)

    def get_addrs(self) -> list[Multiaddr]:
        if self._written[0] is not (addresses := self._addresses()):
            self._written = (addresses, super().get_addrs())
        return list(self._written[1])

    async def _identify_task_entry(self, peer_id: ID, reason: str) -> None:
        await contained(super()._identify_task_entry, peer_id, reason)


@asynccontextmanager
async def open_host(settings: HostSettings) -> AsyncIterator[Host]:
    """Run a host inside this block.

    Raises:
        InvalidRequest: a malformed address, or ``code="port_in_use"``.
    """
    first = parse_introducers(settings.introducers)
    announced = tuple(map(parse_address, settings.announce))
    listen_at = [_checked(parse_address(text)) for text in settings.listen]
    _quieten_libraries()
    host = Host(settings)
    if settings.book_path is not None:
        load(host.book, settings.book_path)
    for address in first:
        assert address.key is not None
        host.dialer.learn(address.key, (address,), keep=True)
    failure: Exception | None = None
    try:
        async with _running(host, listen_at, announced):
            host.nursery.start_soon(contained_forever, _keep_saving, host.book, settings.book_path)
            try:
                yield host
            except Exception as error:  # noqa: BLE001 - raised below, not wrapped once per nursery in here
                failure = error
    finally:
        _save(host.book, settings.book_path)
    if failure is not None:
        raise failure


@asynccontextmanager
async def _running(host: Host, listen: list[PeerAddress], announced: tuple[PeerAddress, ...]) -> AsyncIterator[None]:
    async with host.libp2p.run([Multiaddr(str(address)) for address in listen]):
        host.addresses = announced or _listening_addresses(host)
        async with (
            background_trio_service(host.gossip.pubsub),
            background_trio_service(host.gossip.router),
            trio.open_nursery() as nursery,
        ):
            host.nursery = nursery
            nursery.start_soon(contained_forever, host.dialer.run)
            host.connections.on_connected.append(partial(nursery.start_soon, contained, _learn_addresses, host))
            try:
                yield
            finally:
                host.connections.on_connected.clear()
            nursery.cancel_scope.cancel()
        with trio.move_on_after(_CLOSE_S):
            await host.libp2p.close()  # leaving run() alone would leave the connections open


def _checked(address: PeerAddress) -> PeerAddress:
    """Make sure that we can listen there. The library would share a port with another node, each getting half."""
    family = socket.AF_INET6 if address.kind == "ip6" else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
            probe.listen(1)
        except OSError as error:
            raise _cannot_listen(address, error) from None
    return address


def _cannot_listen(address: PeerAddress, error: OSError) -> InvalidRequest:
    if error.errno == errno.EADDRINUSE:
        return InvalidRequest(
            f"something else is already listening on {address}",
            code="port_in_use",
            fix="stop it (is another node running?), or choose another port in `listen`",
            where=str(address),
        )
    return InvalidRequest(
        f"cannot listen on {address}: {error.strerror}",
        code="cannot_listen",
        fix="listen on an address of this machine and a port above 1023",
        where=str(address),
    )


def _listening_addresses(host: Host) -> tuple[PeerAddress, ...]:
    found = []
    for address in map(parse_address, map(str, host.libp2p.get_transport_addrs())):
        reachable = _outward_address(address.kind) if address.is_unspecified else address.host
        found.append(PeerAddress(address.kind, reachable, address.port, host.key))
    return tuple(found)


def _outward_address(kind: str) -> str:
    """The address this machine uses towards others: asking the kernel for a route sends nothing."""
    family, beyond, nowhere = (
        (socket.AF_INET, "192.0.2.1", "127.0.0.1") if kind == "ip4" else (socket.AF_INET6, "2001:db8::1", "::1")
    )
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((beyond, 9))
            return str(probe.getsockname()[0])
        except OSError:
            return nowhere


async def _learn_addresses(host: Host, peer: bytes) -> None:
    """Whoever dialed us can be dialed back later where it says it listens, which the library asks it."""
    with trio.move_on_after(_IDENTIFY_S):
        while not (said := host.connections.listen_addresses(peer)):
            await trio.sleep(_IDENTIFY_STEP_S)
        host.dialer.learn(peer, dialable(peer, said, limit=MAX_ADDRESSES))


async def _keep_saving(book: AddressBook, path: Path | None) -> None:
    while True:
        await trio.sleep(_SAVE_BOOK_S)
        _save(book, path)


def _save(book: AddressBook, path: Path | None) -> None:
    if path is None:
        return
    try:
        save(book, path)
    except OSError:
        _log.warning("the address book could not be saved to %s", path)


def _quieten_libraries() -> None:
    """Strangers' failures are not our user's errors: the libraries would log each of them as one."""
    for name in ("libp2p", "libp2p.network.auto_connector", "noise", "multiaddr"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
