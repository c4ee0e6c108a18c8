"""The shipped escrow, run in process on the Rust EVM, with the same verbs and errors as ``EscrowModel``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from eth_abi.abi import decode, encode
from eth_hash.auto import keccak
from pyrevm import EVM, AccountInfo, BlockEnv

from ledger.artifact import Artifact, load_artifact
from ledger.create2 import DelayTerms, escrow_init_code
from ledger.ports import Contradiction, LaneDeposit, LaneKey, LaneOnChain, Stake, TokenDomain
from ledger.voucher import Domain
from tests.fakes.stake_model import RevertError

FUNDER = b"\xf1" * 20
EVERYTHING = 2**255
CHAIN_ID = 1
ODD_TOKENS = ("FeeToken", "HookToken", "SilentToken", "TinyToken")
_TOKENS = Path(__file__).parent / "tokens"
_PANIC = keccak(b"Panic(uint256)")[:4]
_OUTPUT = re.compile(r"output: 0x([0-9a-f]*)")
_LANE = "address,address,address"


def load_token(name: str) -> Artifact:
    """The test token of that name, one of :data:`ODD_TOKENS` or ``TestToken``."""
    if name not in ODD_TOKENS:
        return load_artifact(name)
    return msgspec.json.decode((_TOKENS / f"{name}.json").read_bytes(), type=Artifact)


class EscrowOnRevm:
    """One escrow and its token on a chain of id 1. ``FUNDER`` has the tokens and pays every deposit that names no
    other sender."""

    def __init__(self, *, terms: DelayTerms, funds: int, token: str = "TestToken") -> None:
        self._evm = EVM()
        self._errors = [load_artifact("Escrow"), load_token(token)]
        self._evm.insert_account_info(_text(FUNDER), AccountInfo(balance=10**20))  # type: ignore[call-arg]
        self._token = self._evm.deploy(_text(FUNDER), load_token(token).bytecode)
        self.token = bytes.fromhex(self._token[2:])
        self._escrow = self._evm.deploy(_text(FUNDER), escrow_init_code(self.token, terms))
        self.domain = Domain(CHAIN_ID, bytes.fromhex(self._escrow[2:]))
        self.token_domain = TokenDomain(
            name="ComputeFabric Test Dollar", version="1", chain_id=CHAIN_ID, token=self.token
        )
        self.mint(FUNDER, funds)
        self.approve(FUNDER, EVERYTHING)

    def set_time(self, now_s: int) -> None:
        self._evm.set_block_env(BlockEnv(number=1, timestamp=now_s))

    def ask(self, sender: bytes, contract: str, signature: str, *arguments: Any) -> bytes:
        """Call a function and return its raw answer; RevertError names the contract's error."""
        return self._execute(sender, contract, calldata(signature, *arguments))

    def send(self, sender: bytes, data: bytes) -> bytes:
        """Call the escrow with ready calldata; as :meth:`ask`."""
        return self._execute(sender, self._escrow, data)

    def _execute(self, sender: bytes, contract: str, data: bytes) -> bytes:
        try:
            return bytes(self._evm.message_call(_text(sender), contract, calldata=data))
        except RuntimeError as error:
            found = _OUTPUT.search(str(error))
            raise RevertError(self._error_name(bytes.fromhex(found[1]) if found else b"")) from error

    # --- the token

    def mint(self, account: bytes, amount: int) -> None:
        self.ask_token(FUNDER, "mint(address,uint256)", account, amount)

    def approve(self, owner: bytes, amount: int) -> None:
        self.ask_token(owner, "approve(address,uint256)", self.domain.escrow, amount)

    def token_balance(self, account: bytes) -> int:
        return _number(self.ask_token(FUNDER, "balanceOf(address)", account))

    def ask_token(self, sender: bytes, signature: str, *arguments: Any) -> bytes:
        return self.ask(sender, self._token, signature, *arguments)

    # --- lanes

    def deposit(self, key: LaneKey, amount: int, *, sender: bytes = FUNDER) -> None:
        self.call(sender, f"deposit({_LANE},uint96)", key.payer, key.payee, key.signer, amount)

    def deposit_many(self, deposits: Sequence[LaneDeposit], *, step_s: int, sender: bytes = FUNDER) -> None:
        rows = [
            (*map(_text, (one.lane.payer, one.lane.payee, one.lane.signer)), one.amount, one.delay_s // step_s)
            for one in deposits
        ]
        self.call(sender, f"depositMany(({_LANE},uint96,uint8)[])", rows)

    def deposit_with_permit(self, sender: bytes, key: LaneKey, amount: int, *, deadline_s: int, permit: bytes) -> None:
        signature = f"depositWithPermit({_LANE},uint96,uint256,uint8,bytes32,bytes32)"
        self.call(sender, signature, key.payer, key.payee, key.signer, amount, deadline_s, *split(permit))

    def deposit_with_authorization(
        self, sender: bytes, key: LaneKey, amount: int, *, until_s: int, salt: bytes, signature: bytes
    ) -> None:
        name = f"depositWithAuthorization({_LANE},uint96,uint256,uint256,bytes32,uint8,bytes32,bytes32)"
        self.call(sender, name, key.payer, key.payee, key.signer, amount, 0, until_s, salt, *split(signature))

    def redeem_many(self, payee: bytes, rows: Sequence[bytes]) -> int:
        return _number(self.call(FUNDER, "redeemMany(address,bytes)", payee, b"".join(rows)))

    def redeem_many_to(self, payee: bytes, to: bytes, rows: Sequence[bytes]) -> int:
        return _number(self.call(payee, "redeemManyTo(address,bytes)", to, b"".join(rows)))

    def preview_redeem(self, payee: bytes, rows: Sequence[bytes]) -> int:
        return _number(self.call(FUNDER, "previewRedeem(address,bytes)", payee, b"".join(rows)))

    def start_exit(self, sender: bytes, payee: bytes, signer: bytes) -> None:
        self.call(sender, "startExit(address,address)", payee, signer)

    def cancel_exit(self, sender: bytes, payee: bytes, signer: bytes) -> None:
        self.call(sender, "cancelExit(address,address)", payee, signer)

    def finish_exit(self, key: LaneKey) -> None:
        self.call(FUNDER, f"finishExit({_LANE})", key.payer, key.payee, key.signer)

    def close_together(
        self, sender: bytes, key: LaneKey, *, cumulative: int, deadline_s: int, signatures: tuple[bytes, bytes]
    ) -> None:
        signature = f"closeTogether({_LANE},uint96,uint40,bytes,bytes)"
        self.call(sender, signature, key.payer, key.payee, key.signer, cumulative, deadline_s, *signatures)

    def release(self, key: LaneKey, *, new_balance: int, deadline_s: int, signature: bytes) -> None:
        name = "release(address,address,uint96,uint40,bytes)"
        self.call(key.payer, name, key.payee, key.signer, new_balance, deadline_s, signature)

    def lane(self, key: LaneKey) -> LaneOnChain:
        raw = self.call(FUNDER, f"lane({_LANE})", key.payer, key.payee, key.signer)
        balance, claimed, exit_at, delay_s, epoch = decode(["uint96", "uint96", "uint40", "uint40", "uint16"], raw)
        return LaneOnChain(balance=balance, claimed=claimed, exit_at=exit_at, delay_s=delay_s, epoch=epoch)

    # --- stake

    def add_stake(self, sender: bytes, amount: int) -> None:
        self.call(sender, "addStake(uint96)", amount)

    def leave_stake(self, sender: bytes) -> None:
        self.call(sender, "leaveStake()")

    def take_stake(self, sender: bytes) -> None:
        self.call(sender, "takeStake()")

    def slash(self, sender: bytes, proof: Contradiction) -> None:
        name = "slashEquivocation(address,uint8,bytes32,uint64,bytes32,bytes,bytes32,bytes)"
        told = (proof.body_a, proof.signature_a, proof.body_b, proof.signature_b)
        self.call(sender, name, proof.provider, proof.kind, proof.subject, proof.sequence, *told)

    def stake_of(self, provider: bytes) -> Stake:
        amount, unlock_at = decode(["uint96", "uint40"], self.call(FUNDER, "stakeOf(address)", provider))
        return Stake(amount=amount, unlock_at=unlock_at)

    def call(self, sender: bytes, signature: str, *arguments: Any) -> bytes:
        """Call a function of the escrow; as :meth:`ask`."""
        return self.ask(sender, self._escrow, signature, *arguments)

    def _error_name(self, data: bytes) -> str:
        if data[:4] == _PANIC:
            return "Panic"
        names = [artifact.error_name(data) for artifact in self._errors]
        return next((name for name in names if name != "unknown"), "unknown")


def calldata(signature: str, *arguments: Any) -> bytes:
    """A call as bytes; addresses are given as 20 of them."""
    types = _types(signature[signature.index("(") + 1 : -1])
    values = [_text(a) if kind == "address" else a for kind, a in zip(types, arguments, strict=True)]
    return keccak(signature.encode())[:4] + encode(types, values)


def split(compact: bytes) -> tuple[int, bytes, bytes]:
    """A compact signature as v, r and s."""
    with_parity = int.from_bytes(compact[32:], "big")
    return 27 + (with_parity >> 255), compact[:32], (with_parity & (2**255 - 1)).to_bytes(32, "big")


def _types(inside: str) -> list[str]:
    """The types of a signature, of which at most one, the last, is a tuple or an array of tuples."""
    plain, bracket, rest = inside.partition("(")
    return [*filter(None, plain.split(",")), *([bracket + rest] if bracket else [])]


def _text(address: bytes) -> str:
    return "0x" + address.hex()


def _number(word: bytes) -> int:
    return int.from_bytes(word, "big")
