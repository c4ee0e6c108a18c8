"""The shipped escrow, run in process on the Rust EVM, with the same verbs and errors as ``EscrowModel``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from eth_abi.abi import decode, encode
from eth_hash.auto import keccak
from pyrevm import EVM, AccountInfo, BlockEnv

from ledger.artifact import load_artifact
from ledger.ports import LaneKey, LaneOnChain
from ledger.voucher import Domain
from tests.fakes.escrow_model import RevertError

FUNDER = b"\xf1" * 20
EVERYTHING = 2**255
_PANIC = keccak(b"Panic(uint256)")[:4]
_OUTPUT = re.compile(r"output: 0x([0-9a-f]*)")


class EscrowOnRevm:
    """One escrow and its token on a chain of id 1. ``FUNDER`` pays every deposit."""

    def __init__(self, *, exit_delay_s: int, funds: int) -> None:
        self._evm = EVM()
        self._evm.insert_account_info(_text(FUNDER), AccountInfo(balance=10**20))  # type: ignore[call-arg]
        self._token = self._evm.deploy(_text(FUNDER), load_artifact("TestToken").bytecode)
        arguments = encode(["address", "uint40"], [self._token, exit_delay_s])
        self._escrow = self._evm.deploy(_text(FUNDER), load_artifact("Escrow").bytecode + arguments)
        self.domain = Domain(1, bytes.fromhex(self._escrow[2:]))
        self.ask(FUNDER, self._token, "mint(address,uint256)", FUNDER, funds)
        self.ask(FUNDER, self._token, "approve(address,uint256)", self.domain.escrow, EVERYTHING)

    def set_time(self, now_s: int) -> None:
        self._evm.set_block_env(BlockEnv(number=1, timestamp=now_s))

    def ask(self, sender: bytes, contract: str, signature: str, *arguments: Any) -> bytes:
        """Call a function and return its raw answer; RevertError names the contract's error."""
        types = signature[signature.index("(") + 1 : -1].split(",")
        values = [_text(a) if kind == "address" else a for kind, a in zip(types, arguments, strict=True)]
        data = keccak(signature.encode())[:4] + encode(types, values)
        try:
            return bytes(self._evm.message_call(_text(sender), contract, calldata=data))
        except RuntimeError as error:
            found = _OUTPUT.search(str(error))
            raise RevertError(_error_name(bytes.fromhex(found[1]) if found else b"")) from error

    def deposit(self, key: LaneKey, amount: int) -> None:
        self._call(FUNDER, "deposit(address,address,address,uint96)", key.payer, key.payee, key.signer, amount)

    def redeem_many(self, payee: bytes, rows: Sequence[bytes]) -> int:
        return _number(self._call(FUNDER, "redeemMany(address,bytes)", payee, b"".join(rows)))

    def preview_redeem(self, payee: bytes, rows: Sequence[bytes]) -> int:
        return _number(self._call(FUNDER, "previewRedeem(address,bytes)", payee, b"".join(rows)))

    def start_exit(self, sender: bytes, payee: bytes, signer: bytes) -> None:
        self._call(sender, "startExit(address,address)", payee, signer)

    def cancel_exit(self, sender: bytes, payee: bytes, signer: bytes) -> None:
        self._call(sender, "cancelExit(address,address)", payee, signer)

    def finish_exit(self, key: LaneKey) -> None:
        self._call(FUNDER, "finishExit(address,address,address)", key.payer, key.payee, key.signer)

    def close_together(
        self, sender: bytes, key: LaneKey, *, cumulative: int, deadline_s: int, signatures: tuple[bytes, bytes]
    ) -> None:
        signature = "closeTogether(address,address,address,uint96,uint40,bytes,bytes)"
        self._call(sender, signature, key.payer, key.payee, key.signer, cumulative, deadline_s, *signatures)

    def lane(self, key: LaneKey) -> LaneOnChain:
        raw = self._call(FUNDER, "lane(address,address,address)", key.payer, key.payee, key.signer)
        balance, claimed, exit_at, epoch = decode(["uint96", "uint96", "uint40", "uint24"], raw)
        return LaneOnChain(balance=balance, claimed=claimed, exit_at=exit_at, epoch=epoch)

    def token_balance(self, account: bytes) -> int:
        return _number(self.ask(FUNDER, self._token, "balanceOf(address)", account))

    def _call(self, sender: bytes, signature: str, *arguments: Any) -> bytes:
        return self.ask(sender, self._escrow, signature, *arguments)


def _text(address: bytes) -> str:
    return "0x" + address.hex()


def _number(word: bytes) -> int:
    return int.from_bytes(word, "big")


def _error_name(data: bytes) -> str:
    if data[:4] == _PANIC:
        return "Panic"
    name = load_artifact("Escrow").error_name(data)
    return name if name != "unknown" else load_artifact("TestToken").error_name(data)
