"""The checks of ``cfab doctor`` that look from this machine at the market: who can reach it, what it can sell and pay.

A check never changes anything, and never hangs: every call out has a time limit.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from market.errors import FabricError
from node.cli.check_results import failed, passed, warned
from node.home import WALLET_FILE

if TYPE_CHECKING:
    from node.config import ChainConfig, NodeConfig
    from node.control import Check

_TIMEOUT_S = 3.0
_IP = re.compile(r"/ip[46]/([0-9A-Fa-f.:]+)/")


def check_reach(config: NodeConfig) -> list[Check]:
    """Whether this node will meet anybody, and anybody can meet it. None of it stops a node from starting."""
    found: list[Check] = []
    if not config.introducers and not config.introducer:
        fix = "set introducers under [node], or use --join"
        found.append(warned("introducers", "none: this node waits for others to find it", fix))
    if config.chain is None and not config.introducer:
        found.append(warned("money", "no [chain]: this node can look, not buy or sell", "add [chain] to the config"))
    if config.listen and all(map(_is_loopback, config.listen)):
        who = "nobody can buy from it" if config.provide else "nobody can call it"
        fix = 'set listen = ["/ip4/0.0.0.0/tcp/4001"] under [node], or use --listen'
        if config.provide or config.introducer:
            found.append(warned("listen", f"only on this machine itself: from elsewhere {who}", fix))
    if config.watch.serve and not config.watch.clients:
        detail = "serves anybody: you pay the gas for what strangers are owed, and ask the chain about their lanes"
        found.append(warned("watchtower", detail, "name those you serve: clients under [watch]"))
    return found


def check_gpu(config: NodeConfig) -> list[Check]:
    """What a provider that asks for this machine's cards would find."""
    if not config.provide or config.provider.gpu.kind != "auto":
        return []
    from runtime.nvidia_probe import NvidiaProbe

    gpus = NvidiaProbe().gpus()
    if not gpus:
        fix = 'install the NVIDIA driver, or sell CPU only with gpu = "none" under [provider]'
        return [failed("gpu", "no GPU was found on this machine", fix)]
    return [passed("gpu", ", ".join(f"{gpu.model} ({gpu.vram_mib / 1024:.0f}GiB)" for gpu in gpus))]


def check_place(config: NodeConfig) -> list[Check]:
    """Whether an offer will say where the machine stands and whose law it is under. Jobs that ask pass by one that does
    not."""
    if not config.provide:
        return []
    sold = config.provider
    wanted = (
        ("region", sold.region, 'set region = "eu-north", or what is true, under [provider]'),
        ("jurisdiction", sold.jurisdiction, 'set jurisdiction = "de", or the country it is, under [provider]'),
    )
    return [
        passed(name, value) if value else warned(name, f"none: jobs that ask for a {name} pass this machine by", fix)
        for name, value, fix in wanted
    ]


def check_money(home: Path, config: NodeConfig) -> list[Check]:
    """The chain, and the gas money of the wallet on it."""
    if config.chain is None:
        return []
    found = [check_chain(config.chain, url) for url in config.chain.rpc]
    if found[0]["ok"] and (home / WALLET_FILE).exists():
        found.append(check_gas(home / WALLET_FILE, config))
    return found


def check_chain(chain: ChainConfig, url: str = "") -> Check:
    """One endpoint, by default the first: there, on the right chain, with our escrow."""
    url = url or chain.rpc[0]
    from ledger.artifact import load_artifact

    place = urlsplit(url)
    where = f"{place.hostname}:{place.port or (443 if place.scheme == 'https' else 80)}"
    try:
        chain_id = int(_rpc(url, "eth_chainId", []), 16)
        code = bytes.fromhex(str(_rpc(url, "eth_getCode", ["0x" + chain.escrow.hex(), "latest"]))[2:])
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return failed("chain", f"no JSON-RPC answer from {where}", "start the chain, or mend rpc under [chain]")
    if chain_id != chain.chain_id:
        return failed(
            "chain", f"{where} is chain {chain_id}, not {chain.chain_id}", "mend rpc or chain_id under [chain]"
        )
    if not code:
        return failed("chain", f"there is no contract at 0x{chain.escrow.hex()}", "mend escrow under [chain]")
    if not load_artifact("Escrow").is_deployed_as(code):
        return failed(
            "chain",
            f"the contract at 0x{chain.escrow.hex()} is not the escrow of this release",
            "mend escrow under [chain]; money sent there may be lost",
        )
    return passed("chain", f"{chain_id} at {where}, with the escrow of this release")


def check_gas(wallet: Path, config: NodeConfig) -> Check:
    """A provider without gas cannot redeem what it earned; a requester without it cannot set money aside."""
    from bootstrap.wallet import wallet_account
    from node.quantities import format_gas

    assert config.chain is not None
    try:
        account = "0x" + wallet_account(wallet).hex()
        wei = int(_rpc(config.chain.rpc[0], "eth_getBalance", [account, "latest"]), 16)
    except FabricError as error:
        return failed("gas", error.message, error.fix)
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException):
        return warned("gas", "the chain does not say how much there is", "")
    if wei:
        return passed("gas", format_gas(wei))
    bad = failed if config.provide else warned
    return bad("gas", f"{account} has none", "send some of the chain's coin to the wallet")


def _is_loopback(address: str) -> bool:
    found = _IP.match(address)
    return found is not None and ipaddress.ip_address(found[1]).is_loopback


def _rpc(url: str, method: str, params: list[Any]) -> Any:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_S)
    try:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read(1 << 22))["result"]
    finally:
        connection.close()
