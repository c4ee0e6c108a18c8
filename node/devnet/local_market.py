"""A whole market on loopback, raised step by step: keys, a chain with escrow and token, and the nodes as processes.

Everything lies in one private folder. Raising it twice needs two folders; taking it down leaves nothing, not even
that folder.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import trio
from msgspec import Struct

from bootstrap.identity import key_of_seed, load_node_seed, load_session_key, peer_id_of
from bootstrap.wallet import create_wallet
from ledger.anvil import find_anvil
from ledger.deploy import deploy, fund
from ledger.local_chain import DEV_KEY
from market.errors import FabricError, Unavailable
from market.money import UNITS_PER_TOKEN
from node.cli.client import NodeClient
from node.devnet.processes import Processes
from node.devnet.retire import retire_nodes
from node.devnet.topology import INTRODUCER, NODES, REQUESTER, TRADERS, ChainFacts, Seat, config_text
from node.home import API_SOCKET, CONFIG_FILE, NODE_KEY_FILE, SESSION_KEY_FILE, WALLET_FILE

CHAIN = "chain"
CHAIN_ID = 31337
CHAIN_VARIABLE = "CFAB_DEMO_CHAIN"
"""Set to ``embedded`` to do without anvil even where it is installed."""
EXIT_DELAY_S = 8
"""How long a payer waits for its money without the provider's consent. Minutes to days on a real chain."""
PASSWORD = "play money"
_PASSWORD_FILE = "password"
_SCRYPT_N = 2**12
_TOKENS = 100 * UNITS_PER_TOKEN
_GAS_WEI = 10**18
_UP_TIMEOUT_S = 60.0
_STOP_GRACE_S = 8.0
_LOOK_S = 0.05


class Leftovers(Struct, frozen=True, kw_only=True):
    """What was still there after the nodes had stopped, and was then removed: nothing, unless somebody was killed.

    ``killed`` are processes that did not end when asked. ``engine`` are containers, networks and volumes.
    """

    killed: tuple[str, ...] = ()
    engine: tuple[tuple[str, str], ...] = ()


class LocalMarket:
    """One devnet. Call :meth:`raise_up` once, and :meth:`take_down` whatever happened.

    Attributes:
        folder: holds everything.
        processes: the chain and the nodes.
        seats: who sits where, by name; filled while rising.
        accounts: wallet address of each trader.
        node_ids: what the engine labels of each node's containers say, by name.
    """

    def __init__(self, folder: Path, *, outlive: bool) -> None:
        self.folder = folder
        self.processes = Processes(folder, outlive=outlive)
        self.seats: dict[str, Seat] = {}
        self.accounts: dict[str, bytes] = {}
        self.node_ids: dict[str, str] = {}
        self.chain: ChainFacts | None = None
        self.chain_kind = ""

    def client(self, name: str) -> NodeClient:
        """The API of one node, as its user would reach it."""
        return NodeClient(self.seats[name].home / API_SOCKET)

    async def raise_up(self, *, real_gpu: bool = False) -> None:
        """Make keys, start the chain, deploy, fund, start the nodes, and wait until each answers its API.

        Args:
            real_gpu: let one provider sell this machine's NVIDIA card.

        Raises:
            Unavailable: something ended early or did not answer in time; the message names its log.
        """
        port = free_ports(1)[0]
        self._start_chain(port)
        await trio.to_thread.run_sync(self._make_keys)
        await self._until(partial(_listens, port), CHAIN)
        self.chain = await self._open_bank(f"http://127.0.0.1:{port}", real_gpu=real_gpu)
        for name in NODES:
            self.start_node(name)
        for name in NODES:
            await self._until(partial(self._answers, name), name)

    def start_node(self, name: str) -> None:
        """Start a node from its folder, as ``cfab up`` does."""
        home = self.seats[name].home
        words = [sys.executable, "-m", "node.cli", "up", "--home", str(home)]
        self.processes.start(
            name, words, {**os.environ, "CFAB_HOME": str(home), "CFAB_PASSWORD_FILE": str(self.folder / _PASSWORD_FILE)}
        )

    async def wait_offers(self, count: int) -> list[dict[str, Any]]:
        """Wait until the requester sees this many offers."""
        offers: list[dict[str, Any]] = []

        async def enough() -> bool:
            nonlocal offers
            offers = await trio.to_thread.run_sync(self.client(REQUESTER).get, "offers")
            return len(offers) >= count

        await self._until(enough, REQUESTER)
        return offers

    def take_down(self) -> Leftovers:
        """Stop the nodes, then the chain, and remove what is left in the engine. Safe to repeat.

        Raises:
            Unavailable: the engine does not answer; the processes have ended all the same.
        """
        names = list(self.processes.tickets())
        killed = self.processes.stop([name for name in names if name != CHAIN], grace_s=_STOP_GRACE_S)
        killed += self.processes.stop([CHAIN], grace_s=_STOP_GRACE_S)
        return Leftovers(killed=tuple(killed), engine=tuple(retire_nodes(self.homes())))

    def homes(self) -> dict[str, Path]:
        """Engine node id → home folder of each node."""
        return {node_id: self.seats[name].home for name, node_id in self.node_ids.items()}

    def remove_folder(self) -> None:
        """Delete keys, journals and logs."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start_chain(self, port: int) -> None:
        anvil = None if os.environ.get(CHAIN_VARIABLE) == "embedded" else find_anvil()
        self.chain_kind = "anvil" if anvil else "embedded"
        if anvil:
            # Mined at once, and time still moves when nothing happens: exits need that.
            words = [anvil, "--silent", "--mixed-mining", "--block-time", "1"]
        else:
            words = [sys.executable, "-m", "ledger.embedded_evm", "--block-time", "1"]
        self.processes.start(CHAIN, [*words, "--chain-id", str(CHAIN_ID), "--port", str(port)])

    def _make_keys(self) -> None:
        password = self.folder / _PASSWORD_FILE
        password.touch(mode=0o600)
        password.write_text(PASSWORD)
        for name, port in zip(NODES, free_ports(len(NODES)), strict=True):
            home = self.folder / name
            home.mkdir(mode=0o700)
            key = key_of_seed(load_node_seed(home / NODE_KEY_FILE))
            self.node_ids[name] = key.hex()[:16]
            self.seats[name] = Seat(name=name, home=home, port=port, peer_id=peer_id_of(key))
            if name in TRADERS:
                load_session_key(home / SESSION_KEY_FILE)
                self.accounts[name] = create_wallet(home / WALLET_FILE, PASSWORD, scrypt_n=_SCRYPT_N)

    async def _open_bank(self, url: str, *, real_gpu: bool) -> ChainFacts:
        """Deploy the escrow and a test token, give gas to every trader and tokens to the one who buys."""
        made = await deploy(url, DEV_KEY, exit_delay_s=EXIT_DELAY_S)
        for name, account in self.accounts.items():
            units = _TOKENS if name == REQUESTER else 0
            await fund(url, DEV_KEY, account, token=made.token, units=units, gas_wei=_GAS_WEI)
        facts = ChainFacts(
            rpc=url, chain_id=made.chain_id, escrow=made.escrow, token=made.token, start_block=made.block
        )
        for seat in self.seats.values():
            text = config_text(seat, self.seats[INTRODUCER], facts, real_gpu=real_gpu)
            await trio.Path(seat.home / CONFIG_FILE).write_text(text)
        return facts

    async def _answers(self, name: str) -> bool:
        try:
            await trio.to_thread.run_sync(self.client(name).get, "status")
        except FabricError:
            return False
        return True

    async def _until(self, condition: Any, name: str) -> None:
        """Wait for a condition that child ``name`` is to bring about; give up when it, or any before it, ended."""
        with trio.move_on_after(_UP_TIMEOUT_S):
            while not await condition():
                if gone := self.processes.exited():
                    raise Unavailable(f"{gone[0]}", code="devnet_failed", where=str(self.processes.log(gone[0].name)))
                await trio.sleep(_LOOK_S)
            return
        where = str(self.processes.log(name))
        raise Unavailable(f"{name} was not ready within {_UP_TIMEOUT_S:.0f} s", code="devnet_failed", where=where)


def free_ports(count: int) -> list[int]:
    """Loopback ports that are free now. All are held while choosing, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()


async def _listens(port: int) -> bool:
    with suppress(OSError):
        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
        return True
    return False
