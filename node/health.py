"""What a running node can say of its own health, line by line, each with a remedy."""

from __future__ import annotations

import shutil

from bootstrap.identity import key_of_peer_id
from ledger.redeem_plan import BASE_GAS, ROW_GAS
from market.errors import FabricError
from market.money import format_tokens
from node.config import NodeConfig
from node.control import Check
from node.offer_intake import OfferIntake
from node.ports import Network
from node.quantities import format_gas
from node.trading import TradingNode, World

_LOW_DISK = 1 << 30
_STALE_HEAD_S = 120
_SPIKE = 5
"""How much dearer gas may become before our lanes are redeemed."""


async def health_checks(
    config: NodeConfig, network: Network, intake: OfferIntake, world: World | None, trading: TradingNode | None
) -> list[Check]:
    """Check peers, market, disk, chain, gas and wallet, in this order."""
    peers = len(network.peers())
    checks = [
        *_absent(config, {info.key for info in network.peers()}),
        _check(
            "peers", peers > 0 or config.introducer, f"{peers} connected", "add an introducer to [node].introducers"
        ),
        _check("market", len(intake.book) > 0, f"{len(intake.book)} live offers", "wait for providers", warning=True),
        _disk(config),
    ]
    if world is not None:
        checks += await _chain(world)
    if world is not None and trading is not None:
        checks += await _redeeming(world, trading)
    return checks


def _absent(config: NodeConfig, connected: set[bytes]) -> list[Check]:
    """Introducers that are not connected, by name: a mistyped or dead one is what keeps most newcomers out."""
    named = {address: key_of_peer_id(address.rpartition("/p2p/")[2]) for address in config.introducers}
    absent = [address for address, key in named.items() if key not in connected]
    fix = "see that it runs and that this address is right, or name another under [node].introducers or with --join"
    return [_check("introducer", False, f"{address} is not connected", fix, warning=True) for address in absent]


def _disk(config: NodeConfig) -> Check:
    free = shutil.disk_usage(config.home).free
    return _check("disk", free > _LOW_DISK, f"{free >> 20} MiB free", f"free space on the disk of {config.home}")


async def _chain(world: World) -> list[Check]:
    try:
        head = await world.chain.head()
        tokens = await world.chain.token_balance(world.chain.account)
        gas = await world.chain.gas_balance(world.chain.account)
    except FabricError as error:
        return [_check("chain", False, error.message, error.fix or "check [chain].rpc")]
    age = world.clock.now_ms() // 1000 - head.timestamp
    return [
        _check("chain", True, f"block {head.number}", ""),
        _check(
            "clock",
            abs(age) < _STALE_HEAD_S,
            f"newest block is {age} s old",
            "check this machine's clock",
            warning=True,
        ),
        _check("gas", gas > 0, format_gas(gas), "send some of the chain's coin to the wallet"),
        _check("tokens", tokens > 0, _tokens(tokens), "send tokens to the wallet to buy jobs", warning=True),
    ]


async def _redeeming(world: World, trading: TradingNode) -> list[Check]:
    """Whether what is held in signatures can be turned into money when it has to be: in a gas spike, too."""
    lanes = len(trading.selling.collector.lanes_at_stake()) if trading.selling else 0
    lanes += trading.tower.view().lanes if trading.tower else 0
    checks = []
    if lanes and world.gas_price is not None:
        try:
            held = await world.chain.gas_balance(world.chain.account)
            wanted = (BASE_GAS + ROW_GAS * lanes) * await world.gas_price() * _SPIKE
        except FabricError:
            return []  # the chain's own line says it
        detail = f"{lanes} vouchers cost {format_gas(wanted)} to redeem when gas is {_SPIKE} times as dear as now"
        fix = "send some of the chain's coin to the wallet: a payer that leaves then could not be stopped in time"
        checks.append(_check("gas reserve", held >= wanted, detail, fix, warning=True))
    if trading.selling and trading.selling.collector.trouble:
        checks.append(_check("redeeming", False, trading.selling.collector.trouble, "see the lines above"))
    for tower in trading.selling.hand_over.view() if trading.selling else ():
        detail = tower.trouble or f"holds the vouchers of {tower.lanes} lanes"
        fix = "see that it runs, serves this node ([watch].clients there) and that its address is right"
        checks.append(_check("watchtower", not tower.trouble, detail, fix, warning=True))
    return checks


def _tokens(units: int) -> str:
    return f"{format_tokens(units)} tokens"


def _check(name: str, good: bool, detail: str, fix: str, *, warning: bool = False) -> Check:
    return {
        "name": name,
        "ok": good or warning,
        "warning": warning and not good,
        "detail": detail,
        "fix": "" if good else fix,
    }
