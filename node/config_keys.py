"""The keys of the configuration, on one page, and the reading of them from file, environment and flags."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from market.errors import InvalidRequest
from market.quoting import MAX_DISCOUNT
from node import config_values as values
from node.config_values import ConfigError, header_line, line_of

Reader = Callable[[Any], Any]


class Key(NamedTuple):
    """One setting: the field of its struct, how it is read, an example as TOML, and its line in docs/config.md."""

    field: str
    read: Reader
    example: str
    about: str


_NODE = {
    "name": Key("name", values.read_word, '"alice"', "What people see this node called. Default `node`."),
    "listen": Key(
        "listen",
        values.read_listen,
        '["/ip4/0.0.0.0/tcp/4001"]',
        "Addresses to listen on. Default: port 4001 of this machine only. `0.0.0.0` is every network.",
    ),
    "introducers": Key(
        "introducers",
        values.read_introducers,
        '["/ip4/203.0.113.7/tcp/4001/p2p/12D3Koo…"]',
        "Peers to meet the network through; `cfab up --join` names others for one start.",
    ),
    "introducer": Key("introducer", values.read_bool, "true", "Help newcomers meet the network. Default false."),
    "provide": Key("provide", values.read_bool, "true", "Sell this machine. Default false; needs `[chain]`."),
    "api_socket": Key(
        "api_socket", values.read_text, '"/run/cfab.sock"', "Where the local API listens. Default `api.sock` at home."
    ),
}
_CHAIN = {
    "rpc": Key(
        "rpc",
        values.read_urls,
        '["https://rpc.example.org", "http://127.0.0.1:8545"]',
        "JSON-RPC endpoint of the chain, or up to eight, best first. With several, the next one answers for a dead, "
        "stuck or foreign one, and what money hangs on is read from two.",
    ),
    "chain_id": Key("chain_id", values.read_int(1, 2**53), "31337", "The number the chain must answer with."),
    "escrow": Key("escrow", values.read_address, '"0x…"', "The escrow contract that holds the money."),
    "token": Key("token", values.read_address, '"0x…"', "The token that is paid with."),
    "confirmations": Key(
        "confirmations", values.read_int(0, 1000), "2", "How deep a deposit must lie before it counts. Default 1."
    ),
    "start_block": Key(
        "start_block", values.read_int(0, 2**53), "123456", "The first block to look at: the escrow's own. Default 0."
    ),
    "coin_price": Key(
        "coin_price",
        values.read_tokens,
        '"2500"',
        "What one coin of the chain is worth in tokens: vouchers are then redeemed when that is worth the gas. Default "
        "0: gas is not weighed.",
    ),
    "fee_cap": Key(
        "fee_cap",
        values.read_gwei,
        "100",
        "The most a unit of gas may cost, in gwei; dearer gas is waited out. Default 500.",
    ),
    "urgent_fee_cap": Key(
        "urgent_fee_cap",
        values.read_gwei,
        "1000",
        "The same for what loses money by waiting, such as redeeming while a payer leaves. Default 2000.",
    ),
    "deposit_limit": Key(
        "deposit_limit",
        values.read_tokens,
        '"200"',
        "The most that the node's key may move into lanes and stake in 24 hours. With it, the key signs for lanes and "
        "payouts to `[payout] address` only. Default 0: no limit.",
    ),
}
_PROVIDER = {
    "price": Key("price", values.read_price, '"0.30/h"', "Tokens per card and hour. Default 0.30/h."),
    "gpu": Key(
        "gpu",
        values.read_gpu,
        '"auto"',
        "`auto`: the cards of this machine; `none`: CPU only; `simulated:RTX4090:24GB`: for tests. Default `auto`.",
    ),
    "slots": Key(
        "slots", values.read_int(1, 4096), "2", "Without real cards: how many shares are sold. A card is one slot."
    ),
    "cpu": Key("cpu_milli", values.read_cpu, "4", "CPU cores of each slot. Default 1."),
    "memory": Key("memory_mib", values.read_size, '"16GB"', "Memory of each slot. Default 2GiB."),
    "disk": Key("disk_mib", values.read_size, '"100GB"', "Disk space of each slot. Default 10GiB."),
    "region": Key(
        "region",
        values.read_word,
        '"eu-north"',
        "Where the machine stands: words from large to small. Without it, jobs that ask for a region pass by.",
    ),
    "jurisdiction": Key(
        "jurisdiction",
        values.read_country,
        '"de"',
        "The country whose law the machine is under, ISO 3166. Without it, jobs that ask for one pass by.",
    ),
    "interruptible": Key(
        "interruptible",
        values.read_bool,
        "true",
        "You may take the machine back during a job. Default false: sold to the end of each lease.",
    ),
    "notice": Key(
        "notice_ms",
        values.read_duration(1_000, 86_400_000),
        '"2m"',
        "How long before you take it back you promise to say so; with `interruptible` only.",
    ),
    "speed": Key(
        "speed",
        values.read_int(0, 1_000_000),
        "1060",
        "The card's measured speed; 1000 is one A100. Default 0: reckoned by its model. Receipts correct it.",
    ),
    "net": Key(
        "net_mbps", values.read_rate, '"1Gbit"', "What the line carries, in bits per second. Receipts correct it."
    ),
    "floor": Key(
        "floor", values.read_price, '"0.11/h"', "Never ask less than this: `cfab provider price` works it out."
    ),
    "quote_discount": Key(
        "quote_discount",
        values.read_percent(MAX_DISCOUNT // 10),
        '"10%"',
        "How far below the price you go for a job that asks you for a quote, when the whole machine is idle; less in"
        " proportion to what is in use, and never below `floor`. Default 0%: the price, for everybody.",
    ),
    "surge": Key(
        "surge",
        values.read_bool,
        "true",
        "Let the price follow use: each minute up or down by at most 5 %, towards 80 % of the slots in use, between"
        " `floor` and `price_cap`. Default false. The price of a lease that runs never moves.",
    ),
    "price_cap": Key(
        "price_cap",
        values.read_price,
        '"0.44/h"',
        "Never ask more than this. Default: no limit, with `surge` 4 times `floor`.",
    ),
    "machine": Key("machine", values.read_word, '"m0"', "What this machine is called in its offers. Default `m0`."),
    "tick": Key(
        "tick_ms", values.read_duration(200, 3_600_000), '"10s"', "How often a job reports and is paid. Default 10s."
    ),
    "grace": Key(
        "grace_ms",
        values.read_duration(200, 3_600_000),
        '"15s"',
        "How late a payment may be before the job is frozen. Default 15s. Tick and grace are all either side can lose.",
    ),
    "final_within": Key(
        "final_within_ms",
        values.read_duration(1_000, 3_600_000),
        '"5m"',
        "How long an ended job waits for its last payment. Default 5m.",
    ),
    "settle_patience": Key(
        "settle_patience_ms",
        values.read_duration(1_000, 3_600_000),
        '"30s"',
        "How long the requester is left to close its lane before the voucher is redeemed. Default 30s.",
    ),
    "redeem_above": Key(
        "redeem_above",
        values.read_tokens,
        '"25"',
        "The most tokens you leave in signatures on one lane; above it they are redeemed during the lease. Default 10.",
    ),
    "engine": Key(
        "engine", values.read_text, '"unix:///var/run/docker.sock"', "The Docker Engine to use. Default: `DOCKER_HOST`."
    ),
}
_REQUESTER = {
    "close_lanes": Key(
        "close_lanes", values.read_bool, "false", "Take unspent money back after each job. Default true."
    ),
    "close_patience": Key(
        "close_patience_ms",
        values.read_duration(1_000, 3_600_000),
        '"60s"',
        "How long an absent provider is asked to sign before it is taken back without it. Default 60s.",
    ),
    "lane_cost": Key(
        "lane_cost",
        values.read_tokens,
        '"0.02"',
        "What opening and settling a payment lane costs in gas (about 130,000), in tokens: providers with an open lane "
        "are cheaper by that. Default 0.",
    ),
    "fund_ahead": Key(
        "fund_ahead_ms",
        values.read_duration(60_000, 31 * 86_400_000),
        '"1h"',
        "Set aside the cost of so much of a job at a time, not all it can cost before it starts. When no more can be "
        "added you are warned half of it ahead; then the job stops, and its outputs are kept. Default: all.",
    ),
    "top_up": Key(
        "top_up",
        values.read_bool,
        "false",
        "With `fund_ahead`: add the next stretch from the wallet, up to the job's cap. Default true. False: add to the "
        "lane yourself.",
    ),
}
_WATCH = {
    "serve": Key(
        "serve",
        values.read_bool,
        "true",
        "Be a watchtower (`cfab up --watch`): hold others' vouchers and redeem them when their payer leaves while they "
        "are offline. The escrow pays them; you pay the gas. Default false.",
    ),
    "clients": Key("clients", values.read_peer_ids, '["12D3Koo…"]', "The peers you do that for. Default: anybody."),
    "places": Key(
        "places", values.read_int(1, 4096), "64", "How many payment lanes each of them may have. Default 256."
    ),
    "towers": Key(
        "towers",
        values.read_towers,
        '["/ip4/203.0.113.7/tcp/4001/p2p/12D3Koo…"]',
        "As a provider: the watchtowers that get your newest vouchers every few seconds.",
    ),
}
_WALLET = {
    "daily_limit": Key(
        "daily_limit",
        values.read_tokens,
        '"20"',
        "How many tokens this node may give away by its vouchers in one day (UTC). A job starts only if all "
        "it can cost still fits. Default 0: no limit.",
    ),
}
_PAYOUT = {
    "address": Key(
        "address",
        values.read_owner,
        '"0x…"',
        "The account that gets what this node earns: yours, with its key elsewhere. Default: earnings stay here.",
    ),
    "threshold": Key(
        "threshold", values.read_tokens, '"5"', "Nothing is sent below this: a transfer costs gas. Default 1."
    ),
    "every": Key(
        "every",
        values.read_schedule,
        '"week"',
        "Send at most once per `day`, `week` (from Monday) or month (from its day `1` to `28`), UTC. Default: as "
        "soon as the threshold is reached.",
    ),
    "keep": Key("keep", values.read_tokens, '"2"', "Tokens that always stay in the node's account. Default 0."),
}
KEYS: dict[str, dict[str, Key]] = {
    "node": _NODE,
    "chain": _CHAIN,
    "provider": _PROVIDER,
    "requester": _REQUESTER,
    "watch": _WATCH,
    "wallet": _WALLET,
    "payout": _PAYOUT,
}
"""section → key → what it takes."""
_PREFIX = "CFAB_"
_FLAGS = {"introducers": "--join", "serve": "--watch"}
"""Where the flag of ``cfab up`` has another name than the key."""


class Reading:
    """Values read so far; a later source replaces an earlier one.

    Attributes:
        sources: dotted key → ``file``, the variable's name or ``flag``.
    """

    def __init__(self, *, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self.sources: dict[str, str] = {}
        self._fields: dict[str, dict[str, Any]] = {name: {} for name in KEYS}

    def section(self, name: str) -> dict[str, Any]:
        """Field name → value for one section."""
        return self._fields[name]

    def place(self, section: str, key: str) -> str:
        """Where a value was given: file and line, variable or flag; empty for a default."""
        source = self.sources.get(f"{section}.{key}", "")
        if source == "file":
            return f"{self.path}:{line_of(self.text, section, key)}"
        if source == "flag":
            return _FLAGS.get(key, f"--{key}")
        return f"${source}" if source else ""

    def tables(self, tables: Mapping[str, Any]) -> None:
        """Take the content of the file.

        Raises:
            ConfigError: an unknown section or key, or a bad value.
        """
        for section, table in tables.items():
            if section not in KEYS or not isinstance(table, dict):
                line = header_line(self.text, section) or line_of(self.text, "", section)
                raise _unknown(f"[{section}]", section, list(KEYS), f"{self.path}:{line}")
            for key, value in table.items():
                where = f"{self.path}:{line_of(self.text, section, key)}"
                if key not in KEYS[section]:
                    raise _unknown(f"{section}.{key}", key, list(KEYS[section]), where)
                self._take(section, key, value, source="file", where=where)

    def variables(self, environ: Mapping[str, str]) -> None:
        """Take ``CFAB_<SECTION>_<KEY>`` variables; others are none of ours.

        Raises:
            ConfigError: a bad value.
        """
        for section, keys in KEYS.items():
            for key in keys:
                name = f"{_PREFIX}{section}_{key}".upper()
                if name in environ:
                    self._take(section, key, environ[name], source=name, where=f"${name}")

    def flags(self, flags: Mapping[str, Any]) -> None:
        """Take values given on the command line.

        Raises:
            ConfigError: a bad value.
        """
        for dotted, value in flags.items():
            section, _, key = dotted.partition(".")
            self._take(section, key, value, source="flag", where=_FLAGS.get(key, f"--{key}"))

    def _take(self, section: str, key: str, value: Any, *, source: str, where: str) -> None:
        rule = KEYS[section][key]
        try:
            self._fields[section][rule.field] = rule.read(value)
        except InvalidRequest as error:
            between = " " if isinstance(error, ConfigError) else ": "
            message = f"{section}.{key}{between}{error.message}"
            raise ConfigError(message, code=error.code, fix=error.fix, where=where) from None
        self.sources[f"{section}.{key}"] = source


def _unknown(shown: str, key: str, known: list[str], where: str) -> ConfigError:
    near = difflib.get_close_matches(key, known, 1, 0.6)
    fix = f"did you mean '{near[0]}'?" if near else "known here: " + ", ".join(known)
    return ConfigError(f"unknown setting {shown}", code="unknown_key", fix=fix, where=where)
