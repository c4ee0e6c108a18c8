"""The keys of the configuration, on one page, and the reading of them from file, environment and flags."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from market.errors import InvalidRequest
from node import config_values as values
from node.config_values import ConfigError, line_of

Reader = Callable[[Any], Any]

KEYS: dict[str, dict[str, tuple[str, Reader]]] = {
    "node": {
        "name": ("name", values.read_word),
        "listen": ("listen", values.read_listen),
        "introducers": ("introducers", values.read_introducers),
        "introducer": ("introducer", values.read_bool),
        "provide": ("provide", values.read_bool),
        "api_socket": ("api_socket", values.read_text),
    },
    "chain": {
        "rpc": ("rpc", values.read_url),
        "chain_id": ("chain_id", values.read_int(1, 2**53)),
        "escrow": ("escrow", values.read_address),
        "token": ("token", values.read_address),
        "confirmations": ("confirmations", values.read_int(0, 1000)),
        "start_block": ("start_block", values.read_int(0, 2**53)),
    },
    "provider": {
        "price": ("price", values.read_price),
        "gpu": ("gpu", values.read_gpu),
        "slots": ("slots", values.read_int(1, 4096)),
        "cpu": ("cpu_milli", values.read_cpu),
        "memory": ("memory_mib", values.read_size),
        "disk": ("disk_mib", values.read_size),
        "region": ("region", values.read_word),
        "machine": ("machine", values.read_word),
        "tick": ("tick_ms", values.read_duration(200, 3_600_000)),
        "grace": ("grace_ms", values.read_duration(200, 3_600_000)),
        "final_within": ("final_within_ms", values.read_duration(1_000, 3_600_000)),
        "settle_patience": ("settle_patience_ms", values.read_duration(1_000, 3_600_000)),
        "engine": ("engine", values.read_text),
    },
    "requester": {
        "close_lanes": ("close_lanes", values.read_bool),
        "close_patience": ("close_patience_ms", values.read_duration(1_000, 3_600_000)),
    },
}
"""section → key → (field of the struct, reader)."""
_PREFIX = "CFAB_"
_FLAGS = {"introducers": "--join"}
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

    def tables(self, tables: Mapping[str, Any]) -> None:
        """Take the content of the file.

        Raises:
            ConfigError: an unknown section or key, or a bad value.
        """
        for section, table in tables.items():
            if section not in KEYS or not isinstance(table, dict):
                where = f"{self.path}:{line_of(self.text, '', section) if section not in KEYS else 1}"
                raise _unknown(f"[{section}]", section, list(KEYS), where)
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
        name, read = KEYS[section][key]
        try:
            self._fields[section][name] = read(value)
        except InvalidRequest as error:
            between = " " if isinstance(error, ConfigError) else ": "
            message = f"{section}.{key}{between}{error.message}"
            raise ConfigError(message, code=error.code, fix=error.fix, where=where) from None
        self.sources[f"{section}.{key}"] = source


def _unknown(shown: str, key: str, known: list[str], where: str) -> ConfigError:
    near = difflib.get_close_matches(key, known, 1, 0.6)
    fix = f"did you mean '{near[0]}'?" if near else "known here: " + ", ".join(known)
    return ConfigError(f"unknown setting {shown}", code="unknown_key", fix=fix, where=where)
