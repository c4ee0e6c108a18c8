"""``cfab up`` with a chain section that would cost money: the node does not start, and says what, where and why."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import trio

from bootstrap.wallet import create_wallet
from ledger.deploy import Deployment, deploy
from ledger.evm_rpc import open_evm_rpc
from ledger.evm_sender import EvmSender, SendPolicy
from ledger.local_chain import DEV_KEY
from node.home import WALLET_FILE
from tests.fakes.escrow_on_revm import load_token
from tests.fakes.faulty_rpc import FaultyRpc, new_chain, serve_rpc

pytestmark = pytest.mark.processes
PATIENCE_S = 60


@pytest.fixture
async def chain() -> AsyncIterator[tuple[FaultyRpc, str]]:
    rpc = FaultyRpc(new_chain())
    async with serve_rpc(rpc) as url:
        yield rpc, url


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    create_wallet(folder / WALLET_FILE, "play money", scrypt_n=2**12)
    (tmp_path / "password").write_text("play money")
    (tmp_path / "password").chmod(0o600)
    return folder


async def up(home: Path, url: str, *, chain_id: int, escrow: bytes, token: bytes) -> str:
    """What a node that must not start says on stderr."""
    (home / "config.toml").write_text(
        f'[chain]\nrpc = "{url}"\nchain_id = {chain_id}\nescrow = "0x{escrow.hex()}"\ntoken = "0x{token.hex()}"\n'
    )
    words = [sys.executable, "-m", "node.cli", "up", "--home", str(home)]
    environment = {**os.environ, "CFAB_HOME": str(home), "CFAB_PASSWORD_FILE": str(home.parent / "password")}
    start = partial(subprocess.run, words, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    ended = await trio.to_thread.run_sync(start)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    return ended.stderr


async def test_a_node_refuses_what_is_not_the_escrow_of_its_release(chain: tuple[FaultyRpc, str], home: Path) -> None:
    rpc, url = chain
    made = await deploy(url, DEV_KEY, exit_delay_s=60)
    right = {"chain_id": made.chain_id, "escrow": made.escrow, "token": made.token}
    for wrong, told in (
        ({"chain_id": 1}, ("chain 31337, not 1", "chain_id under [chain]", "the address of the right chain")),
        ({"escrow": made.token}, ("not the escrow of this release", "escrow under [chain]", "cfab chain address")),
        ({"escrow": b"\x0e" * 20}, ("has no contract", "escrow under [chain]", "cfab chain address")),
        ({"token": b"\x0c" * 20}, ("the escrow holds the token", "token under [chain]", "mend token")),
    ):
        said = await up(home, url, **{**right, **wrong})  # type: ignore[arg-type]
        assert [part for part in told if part not in said] == [], said
    tiny = await escrow_of_odd_token(rpc, url)
    said = await up(home, url, chain_id=tiny.chain_id, escrow=tiny.escrow, token=tiny.token)
    assert "18 decimals, not 6" in said


async def escrow_of_odd_token(rpc: FaultyRpc, url: str) -> Deployment:
    async with open_evm_rpc(url) as client:
        policy = SendPolicy(confirmations=0, poll_ms=5)
        sender = EvmSender(client, DEV_KEY, chain_id=rpc.chain.chain_id, policy=policy)
        made = await sender.send(None, load_token("TinyToken").bytecode)
    token = bytes.fromhex(str(rpc.chain.mined[made.hash].created)[2:])
    return await deploy(url, DEV_KEY, exit_delay_s=60, token=token)
