"""The node program: opens the real adapters, puts the node on top of them, serves the local API, stops cleanly.

The task tree, from the outside in: signals and the stop event around the network; on it the journal, the chain and
the engine; on those the trading node; the API last, so that nobody is answered before everything behind it works.
A crash anywhere ends the process: the journal has what matters, and the next start goes on from it.
"""

from __future__ import annotations

import logging
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio

from bootstrap.identity import key_of_peer_id, load_node_seed, load_session_key
from bootstrap.wallet import load_wallet
from ledger.evm_chain import Sending, open_evm_chain
from ledger.evm_sender import SendPolicy
from ledger.evm_tokens import EvmTokens
from ledger.payout_rules import PayoutPlan
from ledger.ports import Journal
from ledger.sqlite_journal import open_journal
from ledger.voucher import SessionKey
from market.errors import FabricError, InvalidRequest
from market.records import Settlement
from market.signing import Signer
from node.api import serve_api
from node.config import ChainConfig, NodeConfig, WatchConfig
from node.garbage import collect_less_often
from node.home import HISTORY_FILE, JOURNAL_FILE, NODE_KEY_FILE, SESSION_KEY_FILE, WALLET_FILE, ensure_home
from node.libp2p_network import open_libp2p_network
from node.machine import Machine
from node.machine_setup import machine_classes
from node.market_window import open_window
from node.offer_intake import OfferIntake
from node.peer_exchange import PeerExchange
from node.ports import Network
from node.service import NodeService
from node.system_clock import SystemClock
from node.trading import TradingNode, TradingSettings, World, trading_node
from node.trading_world import WatchSettings
from node.wallet_desk import open_wallet_desk
from runtime.docker_engine import open_docker_engine
from runtime.nvidia_probe import NvidiaProbe
from runtime.ports import ContainerEngine, EngineInfo, Gpu
from runtime.simulated_probe import SimulatedProbe

log = logging.getLogger(__name__)

PEERS_FILE = "peers.json"
_GOODBYE_S = 3.0
"""A node that is asked to stop has this long to take its offers back and to close what it opened."""


def run_node(config: NodeConfig, password: str) -> None:
    """Run until SIGINT, SIGTERM or a stop over the API. Blocks.

    Raises:
        FabricError: the node cannot start as configured, or a part of it gave up; one clear sentence each.
    """
    collect_less_often()
    try:
        trio.run(_main, config, password)
    except BaseExceptionGroup as group:
        # Nurseries wrap what their tasks raise; the user is told the cause, not the wrapping.
        causes = list(_leaves(group))
        ours = [cause for cause in causes if isinstance(cause, FabricError)]
        if ours and len(ours) == len(causes):
            raise ours[0] from group
        raise


async def _main(config: NodeConfig, password: str) -> None:
    ensure_home(config.home)
    stop, over = trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, stop)
        nursery.start_soon(_serve_to_the_end, config, password, stop, over)
        await stop.wait()
        with trio.move_on_after(_GOODBYE_S):
            await over.wait()
        nursery.cancel_scope.cancel()


async def _stop_on_signal(stop: trio.Event) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            stop.set()


async def _serve_to_the_end(config: NodeConfig, password: str, stop: trio.Event, over: trio.Event) -> None:
    try:
        await _serve(config, password, stop)
    finally:
        over.set()


async def _serve(config: NodeConfig, password: str, stop: trio.Event) -> None:
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        journal = world = trading = desk = None
        if config.chain is not None:
            # First of all: its lock says "another node runs on this home" before a busy port could say less.
            journal = await stack.enter_async_context(open_journal(config.home / JOURNAL_FILE))
        seed, book = load_node_seed(config.home / NODE_KEY_FILE), config.home / PEERS_FILE
        network = await stack.enter_async_context(
            open_libp2p_network(seed=seed, listen=config.listen, introducers=config.introducers, book_path=book)
        )
        exchange = _exchange(network)
        if config.chain is not None and journal is not None:
            world = await stack.enter_async_context(
                _open_world(config, config.chain, password, seed=seed, network=network, journal=journal, clock=clock)
            )
            trading = await stack.enter_async_context(_open_trading(config, config.chain, world))
            desk = await open_wallet_desk(world, trading, _payout_plan(config), start_block=config.chain.start_block)
        intake = trading.intake if trading else _listen_only(network, clock)
        market = open_window(network, clock, intake, history_file=config.home / HISTORY_FILE)
        service = NodeService(
            config,
            network=network,
            intake=intake,
            market=market,
            clock=clock,
            journal=journal,
            world=world,
            trading=trading,
            stop=stop,
            wallet_desk=desk,
        )
        tasks = await stack.enter_async_context(trio.open_nursery())
        tasks.start_soon(exchange.exchange_forever)
        tasks.start_soon(market.keep_history_forever)
        tasks.start_soon(desk.keeper.run_forever if desk else intake.catch_up_forever)
        await tasks.start(serve_api, service, config.api_socket)
        log.info("node %s is up at %s", config.name, ", ".join(network.addresses()) or "no address")
        await stop.wait()
        tasks.cancel_scope.cancel()


def _exchange(network: Network) -> PeerExchange:
    exchange = PeerExchange(network)
    exchange.register()
    return exchange


def _listen_only(network: Network, clock: SystemClock) -> OfferIntake:
    """A node without a chain passes offers on and answers for its book, as an introducer does."""
    intake = OfferIntake(network, clock)
    intake.register()
    return intake


async def _open_wallet(path: Path, password: str) -> bytes:
    if not await trio.Path(path).exists():
        raise InvalidRequest(
            "this node has no wallet yet", code="no_wallet", fix="make one with 'cfab wallet create'", where=str(path)
        )
    return await trio.to_thread.run_sync(load_wallet, path, password)


@asynccontextmanager
async def _open_world(
    config: NodeConfig,
    chain_config: ChainConfig,
    password: str,
    *,
    seed: bytes,
    network: Network,
    journal: Journal,
    clock: SystemClock,
) -> AsyncIterator[World]:
    secret = await _open_wallet(config.home / WALLET_FILE, password)
    async with open_evm_chain(
        rpc_url=chain_config.rpc,
        chain_id=chain_config.chain_id,
        escrow=chain_config.escrow,
        token=chain_config.token,
        account_key=secret,
        policy=_send_policy(chain_config),
        sending=Sending(
            journal=journal,
            now_ms=clock.now_ms,
            deposit_limit=chain_config.deposit_limit,
            payouts=frozenset({config.payout.address} - {b""}),
        ),
    ) as chain:
        yield World(
            network=network,
            journal=journal,
            chain=chain,
            chain_health=chain.health,
            clock=clock,
            # Bid and job ids must not be guessable: they come from the operating system, not from a seed.
            rng=secrets.SystemRandom(),
            signer=Signer.from_seed(seed),
            session_key=SessionKey(load_session_key(config.home / SESSION_KEY_FILE)),
            wallet=SessionKey(secret),
            folder=config.home,
            gas_price=EvmTokens(chain).gas_price,
            tokens=EvmTokens(chain),
        )


@asynccontextmanager
async def _open_trading(config: NodeConfig, chain: ChainConfig, world: World) -> AsyncIterator[TradingNode]:
    settings = TradingSettings(
        poll_s=_poll_ms(chain) / 1000,
        confirmations=chain.confirmations,
        close_lanes=config.requester.close_lanes,
        close_patience_s=config.requester.close_patience_ms / 1000,
        settle_patience_s=config.provider.settle_patience_ms / 1000,
        start_block=chain.start_block,
        opening_cost=config.requester.lane_cost,
        exposure_cap=config.provider.redeem_above,
        coin_units=chain.coin_price,
        daily_limit=config.wallet.daily_limit,
        watch=_watch_settings(config.watch),
        fund_ahead_ms=config.requester.fund_ahead_ms,
        top_up=config.requester.top_up,
    )
    if not config.provide:
        async with trading_node(world, settings, machines=[], engine=None) as node:
            yield node
        return
    async with open_docker_engine(
        node_id=world.signer.key.hex()[:16], state_dir=config.home / "runtime", url=config.provider.engine or None
    ) as engine:
        machines = await _machines(config, chain, world, engine)
        async with trading_node(world, settings, machines=machines, engine=engine) as node:
            yield node


def _payout_plan(config: NodeConfig) -> PayoutPlan | None:
    payout = config.payout
    if not payout.address:
        return None
    return PayoutPlan(to=payout.address, threshold=payout.threshold, every=payout.every, keep=payout.keep)


def _watch_settings(watch: WatchConfig) -> WatchSettings:
    towers: dict[bytes, tuple[str, ...]] = {}
    for address in watch.towers:
        key = key_of_peer_id(address.rpartition("/")[2])
        towers[key] = (*towers.get(key, ()), address)
    clients = tuple(key_of_peer_id(client) for client in watch.clients)
    return WatchSettings(serve=watch.serve, clients=clients, places=watch.places, towers=towers)


async def _machines(config: NodeConfig, chain: ChainConfig, world: World, engine: ContainerEngine) -> list[Machine]:
    info: EngineInfo = await engine.info()
    settlement = Settlement(chain_id=chain.chain_id, escrow=chain.escrow, payee=world.chain.account)
    classes = machine_classes(config.provider, _gpus(config), info, settlement)
    return [Machine(one, world.signer) for one in classes]


def _gpus(config: NodeConfig) -> list[Gpu]:
    choice = config.provider.gpu
    if choice.kind == "none":
        return []
    if choice.kind == "simulated":
        return SimulatedProbe(config.provider.slots, model=choice.model, vram_mib=choice.vram_mib).gpus()
    return NvidiaProbe().gpus()


def _poll_ms(chain: ChainConfig) -> int:
    """A chain on this machine mines every second and costs nothing to ask; a public endpoint is asked politely."""
    near = all("127.0.0.1" in url or "localhost" in url for url in chain.rpc)
    return 200 if near else 2_000


def _send_policy(chain: ChainConfig) -> SendPolicy:
    return SendPolicy(
        confirmations=chain.confirmations,
        poll_ms=_poll_ms(chain),
        fee_cap_wei=chain.fee_cap,
        urgent_cap_wei=chain.urgent_fee_cap,
    )


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for inner in group.exceptions:
        found += _leaves(inner) if isinstance(inner, BaseExceptionGroup) else [inner]
    return found
