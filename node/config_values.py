"""Read one value of the configuration, from TOML's own types or from the text of a variable or flag."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from bootstrap.identity import key_of_peer_id
from market.errors import InvalidRequest
from market.money import parse_hourly_price, parse_tokens
from node import countries
from node.quantities import parse_cpu_milli, parse_duration_ms, parse_rate_mbps, parse_size_bytes, parse_size_mib

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_MULTIADDR = re.compile(
    r"(/(ip4/[\d.]{7,15}|ip6/[0-9A-Fa-f:]{2,39}|dns[46]?/[A-Za-z0-9.-]{1,253}))/tcp/(\d{1,5})(/p2p/\w{40,64})?"
)
_PERCENT = re.compile(r"(\d{1,3})(?:\.(\d))?\s?%", re.ASCII)
_MAX_MBPS = 1_000_000
_MAX_ENDPOINTS = 8
_LAST_DAY = 28
_SIMULATED = re.compile(r"simulated:([A-Za-z0-9-]{1,48}):(\d+(?:GB|GiB|MiB))")


class ConfigError(InvalidRequest):
    """A configuration that cannot be used as written; ``is_setting`` tells it from a wrong request by shape."""

    is_setting = True


class GpuChoice(Struct, frozen=True, kw_only=True):
    """``kind`` is ``auto`` (what the machine has), ``none`` (sell CPU only) or ``simulated`` (tests and demos)."""

    kind: str
    model: str = ""
    vram_mib: int = 0


def read_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false", "1", "0"):
        return value.lower() in ("true", "1")
    raise _wrong("takes true or false")


def read_int(low: int, high: int) -> Callable[[Any], int]:
    """A reader of whole numbers from ``low`` to ``high``."""

    def read(value: Any) -> int:
        number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
        if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
            raise _wrong(f"takes a whole number from {low} to {high}")
        return number

    return read


def read_text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 512 or not value.isprintable():
        raise _wrong("takes a short text in quotes")
    return value


def read_word(value: Any) -> str:
    if value == "" or (isinstance(value, str) and _WORD.fullmatch(value)):
        return str(value)
    raise _wrong("takes a word of letters, digits, '-', '_' and '.'")


def read_list(value: Any) -> list[str]:
    """A list; from a variable or flag, items separated by commas."""
    items = [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items) or len(items) > 64:
        raise _wrong("takes a list of texts")
    return list(items)


def read_listen(value: Any) -> tuple[str, ...]:
    items = read_list(value)
    for item in items:
        found = _MULTIADDR.fullmatch(item)
        if not found or found[4] or int(found[3]) > 65535:
            raise _wrong(f"takes addresses to listen on, not '{item[:80]}'", 'for example ["/ip4/0.0.0.0/tcp/4001"]')
    return tuple(items)


def read_introducers(value: Any) -> tuple[str, ...]:
    items = read_list(value)
    for item in items:
        found = _MULTIADDR.fullmatch(item)
        if not found or not found[4] or not 0 < int(found[3]) <= 65535:
            fix = 'for example ["/ip4/203.0.113.7/tcp/4001/p2p/12D3Koo…"]'
            raise _wrong(f"takes addresses that end in /p2p/<peer id>, not '{item[:80]}'", fix)
    return tuple(items)


def read_peer_ids(value: Any) -> tuple[str, ...]:
    items = read_list(value)
    for item in items:
        try:
            key_of_peer_id(item)
        except InvalidRequest:
            raise _wrong(f"takes peer ids, not '{item[:80]}'", 'for example ["12D3Koo…"]: see cfab status') from None
    return tuple(items)


def read_towers(value: Any) -> tuple[str, ...]:
    items = read_introducers(value)
    read_peer_ids([item.rpartition("/")[2] for item in items])
    return items


def read_url(value: Any) -> str:
    text = read_text(value)
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise _wrong("takes the address of a JSON-RPC endpoint", "for example http://127.0.0.1:8545")
    return text


def read_urls(value: Any) -> tuple[str, ...]:
    """One endpoint or several; from a variable or flag, separated by commas."""
    items = read_list(value)
    if not 1 <= len(items) <= _MAX_ENDPOINTS or len(set(items)) != len(items):
        raise _wrong(
            f"takes one address or up to {_MAX_ENDPOINTS} different ones", 'for example ["https://…", "https://…"]'
        )
    return tuple(read_url(item) for item in items)


def read_gwei(value: Any) -> int:
    """A price of gas in gwei, such as ``500``, as wei."""
    return read_int(1, 1_000_000)(value) * 10**9


def read_address(value: Any) -> bytes:
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise _wrong("takes an account on the chain", "0x and 40 hex digits, in quotes")
    return bytes.fromhex(value[2:])


def read_owner(value: Any) -> bytes:
    """An account that money is sent to for good: a mistyped one is nobody's. Checked as wallets check it (EIP-55)."""
    account = read_address(value)
    digits = value[2:]
    if not any(account):
        raise _wrong("is nobody's account", "take one whose key you have")
    if digits not in (digits.lower(), digits.upper()):
        from eth_utils.address import is_checksum_address

        if not is_checksum_address(value):
            raise _wrong("has a letter wrong: its checksum does not hold", "copy it again from your wallet")
    return account


def read_price(value: Any) -> int:
    return parse_hourly_price(read_text(value))


def read_tokens(value: Any) -> int:
    """An amount of tokens, such as ``"0.02"``, as units."""
    return parse_tokens(read_text(value))


def read_schedule(value: Any) -> str:
    """``day``, ``week``, a day of the month that every month has, or nothing."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else read_text(value)
    if text in ("", "day", "week") or (text.isascii() and text.isdigit() and 1 <= int(text) <= _LAST_DAY):
        return text.lstrip("0")
    raise _wrong("takes day, week, or a day of the month from 1 to 28", 'for example "week"')


def read_percent(most: int) -> Callable[[Any], int]:
    """A reader of percentages up to ``most``, with one decimal at most: ``"2.5%"`` is 25, in permille."""

    def read(value: Any) -> int:
        found = _PERCENT.fullmatch(read_text(value))
        permille = 10 * int(found[1]) + int(found[2] or 0) if found else -1
        if not 0 <= permille <= 10 * most:
            raise _wrong(f"takes a percentage from 0% to {most}%", 'for example "10%"')
        return permille

    return read


def read_duration(low: int, high: int) -> Callable[[Any], int]:
    """A reader of durations within ``low`` to ``high`` milliseconds."""

    def read(value: Any) -> int:
        ms = parse_duration_ms(read_text(value))
        if not low <= ms <= high:
            raise _wrong(f"is out of range ({low} ms to {high // 1000} s)")
        return ms

    return read


def read_size(value: Any) -> int:
    return parse_size_mib(read_text(value))


def read_country(value: Any) -> str:
    """A country's code, or nothing."""
    text = read_text(value)
    return countries.read_country(text) if text else ""


def read_rate(value: Any) -> int:
    """Megabits per second, above zero."""
    mbps = parse_rate_mbps(read_text(value))
    if not 1 <= mbps <= _MAX_MBPS:
        raise _wrong("is out of range (1Mbit to 1000Gbit)")
    return mbps


def read_cpu(value: Any) -> int:
    return parse_cpu_milli(str(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else "")


def read_gpu(value: Any) -> GpuChoice:
    text = read_text(value)
    if text in ("auto", "none"):
        return GpuChoice(kind=text)
    if found := _SIMULATED.fullmatch(text):
        # A GB of a card's memory is between 10⁹ and 2³⁰ bytes; a simulated card has the larger one, like the real ones.
        vram = parse_size_bytes(found[2].replace("GB", "GiB")) // 2**20
        return GpuChoice(kind="simulated", model=found[1], vram_mib=vram)
    raise _wrong(f"does not know '{text[:80]}'", "auto, none, or for tests simulated:RTX4090:24GB")


def line_of(text: str, section: str, key: str) -> int:
    """The line of ``key`` in ``[section]`` of a TOML text, or of the section when ``key`` is empty; 1 if not found."""
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([\w-]+)\s*\]", line):
            current = header[1]
            if current == section and not key:
                return number
        elif current == section and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return 1


def header_line(text: str, section: str) -> int:
    """The line where ``[section]``, ``[[section]]`` or a part of it begins; 0 if nowhere."""
    header = re.compile(rf"\s*\[+\s*[\"']?{re.escape(section)}[\"']?\s*[\].]")
    return next((number for number, line in enumerate(text.splitlines(), 1) if header.match(line)), 0)


def _wrong(message: str, fix: str = "") -> ConfigError:
    return ConfigError(message, code="bad_config", fix=fix)
