"""What a trading node works with: its ports, its keys, and how patient it is."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from ledger.payee import Wallet
from ledger.ports import Chain, Journal
from ledger.token_account import TokenAccount
from ledger.voucher import SessionKey
from market.signing import Signer
from node.gas_worth import GasPrice
from node.ports import Clock, Network

if TYPE_CHECKING:
    from ledger.evm_chain import ChainHealth


class WatchSettings(Struct, frozen=True, kw_only=True):
    """Watchtowers: whether we are one, for which peers (none named: for all) and how many lanes of each; and those that
    hold our own vouchers, with where they may be reached."""

    serve: bool = False
    clients: tuple[bytes, ...] = ()
    places: int = 256
    towers: Mapping[bytes, tuple[str, ...]] = {}


class TradingSettings(Struct, frozen=True, kw_only=True):
    """How patient a node is. Seconds, except ``confirmations`` in blocks.

    ``poll_s`` is how often the chain is asked while something is awaited; ``settle_patience_s`` how long a provider
    leaves it to the requester to close the lane; ``close_patience_s`` how long a requester asks an absent provider;
    ``opening_cost`` what opening and settling a payment lane costs in gas, as token units. ``exposure_cap`` is the most
    that a provider leaves unredeemed on a lane and ``coin_units`` what one of the chain's coins is worth, both in token
    units; 0 coins' worth: nobody said so. ``daily_limit`` is what may be vouched for in a day, 0 for no limit.
    ``fund_ahead_ms`` is the stretch of a job whose cost a requester sets aside at a time (0: all of it), and ``top_up``
    adds the next one without asking.
    """

    poll_s: float = 2.0
    settle_patience_s: float = 30.0
    close_patience_s: float = 60.0
    confirmations: int = 1
    close_lanes: bool = True
    fund_ahead_ms: int = 0
    top_up: bool = True
    start_block: int = 0
    opening_cost: int = 0
    exposure_cap: int = 10_000_000
    coin_units: int = 0
    daily_limit: int = 0
    watch: WatchSettings = WatchSettings()


class World(Struct, frozen=True, kw_only=True):
    """The ports and keys a trading node works with. ``gas_price`` is None where it cannot be asked,
    ``tokens`` where plain tokens cannot be sent, ``chain_health`` where there are no endpoints to look at."""

    network: Network
    journal: Journal
    chain: Chain
    clock: Clock
    rng: random.Random
    signer: Signer
    session_key: SessionKey
    wallet: Wallet
    folder: Path
    gas_price: GasPrice | None = None
    tokens: TokenAccount | None = None
    chain_health: Callable[[], ChainHealth] | None = None
