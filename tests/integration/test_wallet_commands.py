"""A wallet from its import to its stake: ``cfab`` as typed, a real node, a chain; and its secrets stay secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from eth_account import Account
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes

from ledger.deploy import Deployment, deploy, fund
from ledger.evm_reader import open_evm_reader, token_at
from ledger.evm_rpc import open_evm_rpc
from ledger.local_chain import DEV_KEY, LocalChain, start_local_chain
from ledger.ports import LaneKey
from ledger.voucher import SessionKey

pytestmark = [pytest.mark.processes, pytest.mark.chain]
SECRET, COLD, OWNER, PAYEE = b"\x71" * 32, b"\x72" * 32, b"\x0a" * 20, b"\x0c" * 20
ACCOUNT, COLD_ACCOUNT = SessionKey(SECRET).address, SessionKey(COLD).address
PASSWORD = "a password that is looked for everywhere"
TOKENS = 100_000_000
EXIT_DELAY_S = 3
DEADLINE_S = 90


@dataclass
class User:
    """One person at a terminal, with a node in the background."""

    home: Path
    local: LocalChain
    deployed: Deployment
    said: bytearray = field(default_factory=bytearray)

    async def types(self, *words: str, fails: int = 0) -> Any:
        """One ``cfab`` command with ``--json``; what it printed."""
        command = [sys.executable, "-m", "node.cli", *words, "--json"]
        run = partial(subprocess.run, command, env=self.environment, capture_output=True, timeout=DEADLINE_S)
        ended = await trio.to_thread.run_sync(run)
        self.said += ended.stdout + ended.stderr
        assert ended.returncode == fails, (words, ended.stdout, ended.stderr)
        assert b"Traceback" not in ended.stderr
        return json.loads(ended.stdout)

    @property
    def environment(self) -> dict[str, str]:
        secret = {"CFAB_PASSWORD_FILE": str(self.home.parent / "password")}
        return {"PATH": os.environ["PATH"], "HOME": str(self.home.parent), "CFAB_HOME": str(self.home), **secret}

    async def tokens(self, account: bytes) -> int:
        async with self._reader() as reader:
            return await reader.token_balance(account)

    async def lane(self, signer: bytes) -> int:
        async with self._reader() as reader:
            found = await reader.lane(LaneKey(ACCOUNT, PAYEE, signer))
        return found.balance - found.claimed

    async def allowance(self) -> int:
        owner, spender = to_checksum_address(ACCOUNT), to_checksum_address(self.deployed.escrow)
        async with open_evm_rpc(self.local.url) as rpc:
            token = self.deployed.token
            return await rpc.ask(lambda web3: int(token_at(web3, token).functions.allowance(owner, spender).call()))

    async def signs_elsewhere(self, call: dict[str, Any]) -> None:
        """What a hardware wallet does with a ready-made transaction."""
        async with open_evm_rpc(self.local.url) as rpc:
            sender = to_checksum_address(COLD_ACCOUNT)
            nonce = await rpc.ask(lambda web3: web3.eth.get_transaction_count(sender))
            price = await rpc.ask(lambda web3: int(web3.eth.gas_price))
            signed = Account.from_key(COLD).sign_transaction(
                {
                    "to": to_checksum_address(call["to"]),
                    "data": call["data"],
                    "value": int(call["value"]),
                    "chainId": call["chain_id"],
                    "gas": call["gas"],
                    "nonce": nonce,
                    "maxFeePerGas": 2 * price,
                    "maxPriorityFeePerGas": 1,
                    "type": 2,
                }
            )
            hash = await rpc.tell(lambda web3: web3.eth.send_raw_transaction(HexBytes(signed.raw_transaction)))
            with trio.fail_after(DEADLINE_S):
                receipt = await rpc.ask(lambda web3: web3.eth.wait_for_transaction_receipt(hash, timeout=30))
        assert receipt["status"] == 1

    def _reader(self) -> Any:
        return open_evm_reader(self.local.url, chain_id=self.deployed.chain_id, escrow=self.deployed.escrow)


def private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@pytest.fixture
async def user(tmp_path: Path) -> AsyncIterator[User]:
    async with start_local_chain(kind="embedded", block_time_s=0.2) as local:
        deployed = await deploy(local.url, DEV_KEY, exit_delay_s=EXIT_DELAY_S)
        for account in (ACCOUNT, COLD_ACCOUNT):
            await fund(local.url, DEV_KEY, account, token=deployed.token, units=TOKENS, gas_wei=10**18)
        private(tmp_path / "password", PASSWORD)
        yield User(tmp_path / "home", local, deployed)


def start(user: User, log: Path) -> subprocess.Popen[bytes]:
    deployed = user.deployed
    (user.home / "config.toml").write_text(
        f'[node]\nlisten = ["/ip4/127.0.0.1/tcp/0"]\n[chain]\nrpc = "{user.local.url}"\n'
        f'chain_id = {deployed.chain_id}\nescrow = "0x{deployed.escrow.hex()}"\ntoken = "0x{deployed.token.hex()}"\n'
        f'confirmations = 0\n[requester]\nclose_lanes = false\n[wallet]\ndaily_limit = "20"\n'
        f'[payout]\naddress = "0x{OWNER.hex()}"\nthreshold = "5"\nevery = "week"\n'
    )
    command = [sys.executable, "-m", "node.cli", "up", "--debug"]
    with log.open("wb") as written:
        return subprocess.Popen(command, env=user.environment, stderr=written)


async def until_up(user: User, node: subprocess.Popen[bytes], log: Path) -> None:
    with trio.fail_after(DEADLINE_S):
        while not await trio.Path(user.home / "api.sock").exists():
            assert node.poll() is None, await trio.Path(log).read_text()
            await trio.sleep(0.1)


def seen_of(process: int) -> bytes:
    """What other users, and programs that a process starts, can see of it."""
    return b"".join(Path(f"/proc/{process}/{name}").read_bytes() for name in ("cmdline", "environ"))


async def test_a_wallet_is_used_from_its_import_to_its_stake(user: User, tmp_path: Path) -> None:
    key_file, log = private(tmp_path / "key", SECRET.hex()), tmp_path / "node.log"
    made = await user.types("wallet", "import", "--key-file", str(key_file))
    assert made["account"] == "0x" + ACCOUNT.hex()
    assert await user.types("wallet", "import", "--key-file", str(key_file), fails=7)
    assert (await user.types("wallet", "export-address"))["account"] == to_checksum_address(ACCOUNT)
    node = start(user, log)
    try:
        await until_up(user, node, log)
        assert SECRET.hex().encode() not in seen_of(node.pid)
        assert PASSWORD.encode() not in seen_of(node.pid)
        await _money_in_and_out(user)
        await _stake(user)
        await _looks(user)
        await user.types("down")
    finally:
        node.kill()
        node.wait()
    for what in (bytes(user.said), log.read_bytes(), (user.home / "wallet.json").read_bytes()):
        for secret in (SECRET.hex(), SECRET.decode("latin1"), PASSWORD):
            assert secret.encode() not in what
    assert not [path for path in user.home.rglob("*") if path.is_file() and SECRET.hex().encode() in path.read_bytes()]


async def _money_in_and_out(user: User) -> None:
    payee = "0x" + PAYEE.hex()
    before = await user.types("wallet", "balance")
    assert (before["tokens"]["units"], before["lanes"]) == (TOKENS, [])
    signer = bytes.fromhex(before["signer"][2:])
    assert await user.types("wallet", "deposit", payee, "2.5", fails=2)  # nobody can be asked
    done = await user.types("wallet", "deposit", payee, "2.5", "--yes")
    assert await user.lane(signer) == done["lane"]["held"]["units"] == 2_500_000
    assert await user.allowance() == 0  # it was a permit: nothing is left standing open
    plan = await user.types("wallet", "deposit", payee, "1", "--print", "--from", "0x" + COLD_ACCOUNT.hex())
    for call in plan["transactions"]:
        await user.signs_elsewhere(call)
    assert await user.lane(signer) == 3_500_000
    assert await user.tokens(COLD_ACCOUNT) == TOKENS - 1_000_000
    assert await user.types("wallet", "deposit", payee, "1000", "--yes", fails=6)
    begun = await user.types("wallet", "withdraw", payee)
    assert begun["finished"] is False
    with trio.fail_after(DEADLINE_S):
        while not (taken := await user.types("wallet", "exit", payee))["finished"]:
            await trio.sleep(0.5)
    assert (taken["together"], taken["returned"]["units"]) == (False, 3_500_000)
    assert await user.tokens(ACCOUNT) == TOKENS + 1_000_000
    assert await user.types("wallet", "withdraw", payee, fails=1)


async def _stake(user: User) -> None:
    assert (await user.types("stake", "show"))["amount"]["units"] == 0
    added = await user.types("stake", "add", "10", "--yes")
    assert added["stake"]["amount"]["units"] == 10_000_000
    assert (await user.types("stake", "leave"))["stake"]["unlock_at"] is not None
    assert await user.types("stake", "take", fails=1)


async def _looks(user: User) -> None:
    lines = await user.types("wallet", "history")
    kinds = [line["kind"] for line in lines]
    assert kinds == ["stake_leave", "stake_add", "exit", "exit_started", "deposit", "deposit"]
    assert [line["amount"]["units"] for line in lines if line["kind"] == "deposit"] == [1_000_000, 2_500_000]
    payouts = await user.types("wallet", "payouts")
    assert (payouts["to"], payouts["waiting"]["units"], payouts["payouts"]) == ("0x" + OWNER.hex(), 0, [])
    assert (await user.types("provider", "earnings", "--by", "gpu"))["lines"] == []
    assert (await user.types("wallet", "balance"))["left_today"]["units"] == 20_000_000
    settings = {one["key"]: one["value"] for one in (await user.types("config"))["settings"]}
    assert (settings["wallet.daily_limit"], settings["payout.every"]) == ("20.000000", "week")
