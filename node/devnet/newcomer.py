"""How a node of one's own joins a market that was left up: its configuration, the steps, and money to begin with.

The money is made out of thin air by the devnet's own token: it works on that chain alone and is worth nothing.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

import trio

from ledger.deploy import fund
from ledger.local_chain import DEV_KEY
from market.errors import InvalidRequest
from market.money import UNITS_PER_TOKEN
from node.devnet.kept import Kept, recall
from node.devnet.local_market import LocalMarket
from node.devnet.topology import INTRODUCER, REQUESTER, newcomer_config

JOIN_FILE = "join.toml"
TOKENS = 100 * UNITS_PER_TOKEN
GAS_WEI = 10**18
_ACCOUNT = re.compile(r"(?:0x)?([0-9a-fA-F]{40})")


def welcome(market: LocalMarket) -> tuple[str, ...]:
    """Write the configuration into the market's folder, and return how to use the market, line by line."""
    assert market.chain is not None
    config = newcomer_config(market.seats[INTRODUCER], market.chain)
    file = market.folder / JOIN_FILE
    file.write_text(config)
    path = f'export PATH="{Path(sys.executable).parent}:$PATH"'
    return (
        "from a second terminal, as the demo's requester:",
        f"  {path} CFAB_HOME={market.seats[REQUESTER].home}",
        "  cfab ps -a · cfab offers · cfab receipts · cfab wallet",
        f"  cfab submit {market.folder}/job/job.yaml",
        "a node of your own, requester or provider, from another terminal:",
        f"  {path} CFAB_HOME=$HOME/cfab-newcomer",
        f"  mkdir -p -m 700 $CFAB_HOME && cp {file} $CFAB_HOME/config.toml",
        "  cfab wallet create           # prints its ACCOUNT",
        "  cfab demo --fund ACCOUNT     # test tokens and gas, good on this market only",
        "  cfab up                      # or 'cfab up --provide', to sell one CPU slot",
        f"its configuration, {JOIN_FILE}:",
        *(f"  {line}" for line in config.strip().splitlines()),
        "cfab demo --stop ends the market and leaves nothing of it",
    )


def fund_newcomer(account: str) -> Kept:
    """Give an account test tokens and gas on the chain of the market that is up.

    Raises:
        InvalidRequest: that is no account, or no market is up.
        Unavailable: the chain does not answer.
    """
    found = _ACCOUNT.fullmatch(account)
    if found is None:
        raise InvalidRequest(
            f"'{account[:80]}' is not an account", code="usage", fix="0x and 40 hex digits, as 'cfab wallet' shows them"
        )
    kept = recall()
    if kept is None or not kept.rpc:
        raise InvalidRequest(
            "no market of 'cfab demo --keep' is up", code="not_found", fix="start one with 'cfab demo --keep'"
        )
    token = bytes.fromhex(kept.token.removeprefix("0x"))
    trio.run(partial(fund, kept.rpc, DEV_KEY, bytes.fromhex(found[1]), token=token, units=TOKENS, gas_wei=GAS_WEI))
    return kept
