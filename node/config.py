"""The node's configuration: one TOML file, overridden by the environment, overridden by flags.

Every value is typed and bounded here, so that the rest of the node never sees text. Nothing secret belongs in it:
keys are files of their own, passwords are asked for.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from market.errors import InvalidRequest
from node import config_keys
from node.config_checks import check_payout, check_provider
from node.config_values import ConfigError, GpuChoice, line_of
from node.home import API_SOCKET, CONFIG_FILE

DEFAULT_LISTEN = "/ip4/127.0.0.1/tcp/4001"


class ChainConfig(Struct, frozen=True, kw_only=True):
    """Where money is settled. ``confirmations`` is how deep a deposit must lie before it counts; ``start_block`` the
    first block that can hold something of ours, normally that of the escrow's deployment; ``coin_price`` is what one
    coin of the chain is worth in token units, 0 when nobody said so. ``rpc`` are its endpoints, best first.
    ``fee_cap`` and ``urgent_fee_cap`` are wei per gas; ``deposit_limit`` token units in 24 hours, 0 for none."""

    rpc: tuple[str, ...]
    chain_id: int
    escrow: bytes
    token: bytes
    confirmations: int = 1
    start_block: int = 0
    coin_price: int = 0
    fee_cap: int = 500 * 10**9
    urgent_fee_cap: int = 2_000 * 10**9
    deposit_limit: int = 0


class ProviderConfig(Struct, frozen=True, kw_only=True):
    """What this machine sells. CPU, memory and disk are per slot; prices are nanotokens per GPU-second.

    ``redeem_above`` is the most that is left unredeemed on a lane, in token units. ``floor`` 0 is none;
    ``price_cap`` 0 is the usual multiple of the floor; ``quote_discount`` is permille below the
    price. ``speed`` and ``net_mbps`` 0: not measured.
    """

    price: int = 83_333
    gpu: GpuChoice = GpuChoice(kind="auto")
    slots: int = 1
    cpu_milli: int = 1_000
    memory_mib: int = 2_048
    disk_mib: int = 10_240
    region: str = ""
    jurisdiction: str = ""
    interruptible: bool = False
    notice_ms: int = 0
    speed: int = 0
    net_mbps: int = 0
    floor: int = 0
    quote_discount: int = 0
    surge: bool = False
    price_cap: int = 0
    machine: str = "m0"
    tick_ms: int = 10_000
    grace_ms: int = 15_000
    final_within_ms: int = 300_000
    settle_patience_ms: int = 30_000
    redeem_above: int = 10_000_000
    engine: str = ""


class RequesterConfig(Struct, frozen=True, kw_only=True):
    """How this node buys. ``close_lanes`` takes unspent money back after each job, with both signatures; a provider
    that does not answer is asked for ``close_patience_ms`` before it is taken back without it. ``lane_cost`` is the gas
    of a new lane in token units. ``fund_ahead_ms`` is the stretch of a job whose cost is set aside at a time, 0 for all
    of it; ``top_up``: the next one without asking."""

    fund_ahead_ms: int = 0
    top_up: bool = True
    close_lanes: bool = True
    close_patience_ms: int = 60_000
    lane_cost: int = 0


class WatchConfig(Struct, frozen=True, kw_only=True):
    """Watchtowers. ``serve``: be one, for ``clients`` only (peer ids; none: for anybody), ``places`` lanes for each.
    ``towers`` are those that hold our own vouchers, by their addresses."""

    serve: bool = False
    clients: tuple[str, ...] = ()
    places: int = 256
    towers: tuple[str, ...] = ()


class WalletConfig(Struct, frozen=True, kw_only=True):
    """The hot keys of this machine: ``daily_limit`` token units at most are given away in one day of UTC; 0: no
    limit."""

    daily_limit: int = 0


class PayoutConfig(Struct, frozen=True, kw_only=True):
    """Where earnings go (``address`` empty: nowhere), from which sum on, how often, and what stays."""

    address: bytes = b""
    threshold: int = 1_000_000
    every: str = ""
    keep: int = 0


class NodeConfig(Struct, frozen=True, kw_only=True):
    """Everything a node is told before it starts.

    Attributes:
        home: the node's folder.
        name: for people, in logs and lists.
        listen: multiaddrs to listen on.
        introducers: peers to meet the network through, each ending in ``/p2p/<peer id>``.
        introducer, provide: the roles besides requester.
        api_socket: where the local API listens.
        chain: None for a node that neither buys nor sells, such as a pure introducer.
        sources: dotted key → where its value came from (``file``, a variable, a flag); absent means the default.
    """

    home: Path
    name: str
    listen: tuple[str, ...] = (DEFAULT_LISTEN,)
    introducers: tuple[str, ...] = ()
    introducer: bool = False
    provide: bool = False
    api_socket: Path
    chain: ChainConfig | None = None
    provider: ProviderConfig = ProviderConfig()
    requester: RequesterConfig = RequesterConfig()
    watch: WatchConfig = WatchConfig()
    wallet: WalletConfig = WalletConfig()
    payout: PayoutConfig = PayoutConfig()
    sources: dict[str, str] = field(default_factory=dict)


def load_config(
    home: Path,
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> NodeConfig:
    """Read the configuration.

    Args:
        home: the node's folder; the file is ``config.toml`` in it unless ``file`` names another.
        file: a file that must exist.
        environ: variables ``CFAB_<SECTION>_<KEY>``; the process's own by default.
        flags: dotted key → value, such as ``{"node.provide": True}``.

    Raises:
        InvalidRequest: file missing or not TOML, unknown key, bad value, or a combination that cannot work; ``where``
            names the file and line, the variable or the flag.
    """
    path = file or home / CONFIG_FILE
    tables, text = _read_file(path, required=file is not None)
    read = config_keys.Reading(path=path, text=text)
    read.tables(tables)
    read.variables(os.environ if environ is None else environ)
    read.flags(flags or {})
    return _assemble(home, read)


def _read_file(path: Path, *, required: bool) -> tuple[dict[str, Any], str]:
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text), text
    except FileNotFoundError:
        if not required:
            return {}, ""
        raise InvalidRequest("there is no such config file", code="not_found", where=str(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(
            f"the config is not TOML: {error}", code="bad_config", fix="strings need quotes", where=str(path)
        ) from None
    except OSError as error:
        raise InvalidRequest(f"cannot read the config: {error.strerror}", code="bad_config", where=str(path)) from None


def _assemble(home: Path, read: config_keys.Reading) -> NodeConfig:
    node = dict(read.section("node"))
    chain = read.section("chain")
    if chain and (missing := [key for key in ("rpc", "chain_id", "escrow", "token") if key not in chain]):
        raise ConfigError(
            f"[chain] lacks {', '.join(missing)}",
            code="missing_key",
            fix="give rpc, chain_id, escrow and token, or remove the section",
            where=f"{read.path}:{line_of(read.text, 'chain', '')}",
        )
    if node.get("provide") and not chain:
        raise ConfigError(
            "a provider needs a [chain] to be paid on",
            code="missing_key",
            fix="add [chain] with rpc, chain_id, escrow and token to the config",
            where=str(read.path),
        )
    watch = WatchConfig(**read.section("watch"))
    if watch.serve and not chain:
        raise ConfigError(
            "a watchtower needs a [chain] to watch",
            code="missing_key",
            fix="add [chain] with rpc, chain_id, escrow and token to the config",
            where=read.place("watch", "serve"),
        )
    node.setdefault("name", "node")
    node["api_socket"] = home / node.get("api_socket", API_SOCKET)
    return NodeConfig(
        home=home,
        chain=ChainConfig(**chain) if chain else None,
        provider=_provider(read),
        requester=RequesterConfig(**read.section("requester")),
        watch=watch,
        wallet=WalletConfig(**read.section("wallet")),
        payout=_payout(read),
        sources=read.sources,
        **node,
    )


def _provider(read: config_keys.Reading) -> ProviderConfig:
    provider = ProviderConfig(**read.section("provider"))
    check_provider(provider, read.place)
    return provider


def _payout(read: config_keys.Reading) -> PayoutConfig:
    payout = PayoutConfig(**read.section("payout"))
    check_payout(payout, read.place)
    return payout
