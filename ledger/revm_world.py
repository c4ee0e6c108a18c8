"""A small chain's state and the rules of its transactions, with the Rust EVM (pyrevm) doing the computing.

Each execution gets a fresh EVM filled from the state kept here, so that every transaction meets cold storage and pays
the gas it would pay anywhere. What pyrevm leaves out is done here: nonces, and fees (a contract that reads the gas
price finds 0). States are never changed, only replaced, so that an older block can still be asked. Knows no sockets and
no clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import rlp
from eth_hash.auto import keccak
from pyrevm import EVM, AccountInfo, BlockEnv, CfgEnv, Env, TxEnv
from pyrevm import Log as RevmLog

GAS_LIMIT = 30_000_000
BASE_FEE = 10**9
_ANALYSIS_PADDING = 33
_NOBODY = "0x" + "00" * 20
# pyrevm tells what a transaction touched, and what a revert returned, nowhere but in these texts.
_TOUCHED_ACCOUNT = re.compile(r"(0x[0-9a-f]{40}): Account \{ info:")
_TOUCHED_SLOT = re.compile(r"(?:\{|, )(\d+): \w*StorageSlot \{")
_REVERT_OUTPUT = re.compile(r"output: (0x[0-9a-f]*)")


@dataclass(frozen=True)
class EvmAccount:
    """One account; addresses are lower-case hex throughout this file."""

    balance: int = 0
    nonce: int = 0
    code: bytes = b""
    storage: Mapping[int, int] = field(default_factory=dict)


State = Mapping[str, EvmAccount]


@dataclass(frozen=True)
class Call:
    """A message to execute: ``to`` is None for a deployment."""

    sender: str
    to: str | None
    data: bytes
    value: int = 0
    gas: int = GAS_LIMIT


@dataclass(frozen=True)
class BlockContext:
    """What a contract may ask about the block it runs in."""

    chain_id: int
    number: int
    timestamp: int


@dataclass(frozen=True)
class Log:
    """One log entry: topics and data as raw bytes."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True)
class Outcome:
    """How an execution ended. ``state`` is the state after it, without fees; ``output`` is what it returned."""

    succeeded: bool
    state: State
    output: bytes
    gas_used: int
    logs: tuple[Log, ...] = ()
    created: str | None = None


def execute(state: State, call: Call, block: BlockContext) -> Outcome:
    """Run one call on ``state``. Nonces and fees are the caller's business, except that the sender must have the
    value."""
    sender = state.get(call.sender, EvmAccount())
    evm = _fresh_evm(state, call, block)
    created = None
    try:
        if call.to is None:
            created = _created_address(call.sender, sender.nonce)
            evm.deploy(call.sender, call.data, call.value, call.gas)
            output = b""
        else:
            output = bytes(evm.message_call(call.sender, call.to, call.data, call.value, call.gas))
    except RuntimeError as error:
        if evm.result is None:
            # Refused before it ran: not even the intrinsic gas or the value was there.
            return Outcome(False, state, b"", call.gas)
        found = _REVERT_OUTPUT.search(str(error))
        return Outcome(False, state, bytes.fromhex(found[1][2:]) if found else b"", evm.result.gas_used)
    result = evm.result
    assert result is not None, "a call that returned has a result"
    logs = tuple(_log(entry) for entry in result.logs)
    return Outcome(True, _state_after(evm, state), output, result.gas_used, logs, created)


def charge(state: State, sender: str, *, nonce: int, fee: int) -> State:
    """The state after ``sender`` has paid ``fee`` wei and used up ``nonce``."""
    account = state.get(sender, EvmAccount())
    return {**state, sender: replace(account, balance=account.balance - fee, nonce=nonce + 1)}


def estimate(state: State, call: Call, block: BlockContext) -> Outcome:
    """The outcome with ``gas_used`` raised to what the call needs while it runs: refunds come only at its end."""
    outcome = execute(state, call, block)
    if not outcome.succeeded:
        return outcome
    low, high = outcome.gas_used, GAS_LIMIT
    if execute(state, replace(call, gas=low), block).succeeded:
        return outcome
    while high - low > low // 64:
        middle = (low + high) // 2
        if execute(state, replace(call, gas=middle), block).succeeded:
            high = middle
        else:
            low = middle
    return replace(outcome, gas_used=high)


def _fresh_evm(state: State, call: Call, block: BlockContext) -> EVM:
    evm = EVM(
        env=Env(
            cfg=CfgEnv(chain_id=block.chain_id),
            block=BlockEnv(
                number=block.number, timestamp=block.timestamp, basefee=0, gas_limit=GAS_LIMIT, coinbase=_NOBODY
            ),
            tx=TxEnv(caller=call.sender),
        ),
        gas_limit=GAS_LIMIT,
        spec_id="CANCUN",
    )
    for address, account in state.items():
        # (pyrevm's type stub forgets the balance.)
        info = AccountInfo(  # type: ignore[call-arg]
            balance=account.balance, nonce=account.nonce, code=account.code or None
        )
        evm.insert_account_info(address, info)
        for slot, value in account.storage.items():
            # Inserting a slot leaves its account loaded, that is warm, and later slots half written; the value
            # itself goes to the database below and survives taking all that back.
            clean = evm.snapshot()
            evm.insert_account_storage(address, slot, value)
            evm.revert(clean)
    return evm


def _state_after(evm: EVM, before: State) -> State:
    after = dict(before)
    journal = evm.journal_str.split("}, transient_storage:", 1)[0]
    # Texts between two account headings belong to the first of them.
    pieces = _TOUCHED_ACCOUNT.split(journal)[1:]
    for address, text in zip(pieces[::2], pieces[1::2], strict=True):
        info = evm.basic(address)
        slots = {int(slot) for slot in _TOUCHED_SLOT.findall(text)}
        storage = {**before.get(address, EvmAccount()).storage, **{slot: evm.storage(address, slot) for slot in slots}}
        after[address] = EvmAccount(
            balance=info.balance,
            nonce=info.nonce,
            code=_code(evm, address, info.code_hash),
            storage={slot: value for slot, value in storage.items() if value},
        )
    return after


def _created_address(sender: str, nonce: int) -> str:
    return "0x" + keccak(rlp.encode([bytes.fromhex(sender[2:]), nonce]))[12:].hex()


def _code(evm: EVM, address: str, code_hash: bytes | None) -> bytes:
    code = bytes(evm.get_code(address) or b"")
    # revm hands out a new contract's code with the padding that its own analysis added.
    unpadded = code[:-_ANALYSIS_PADDING]
    return unpadded if code_hash is not None and keccak(unpadded) == bytes(code_hash) else code


def _log(entry: RevmLog) -> Log:
    topics, data = entry.data
    return Log(entry.address.lower(), tuple(bytes(topic) for topic in topics), bytes(data))
