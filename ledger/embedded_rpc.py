"""The ``eth_`` methods that a wallet or web3 asks of a chain, answered by an ``EmbeddedChain``.

Speaks the values of JSON-RPC (hex quantities, hex data); knows no socket. A method that is not here is refused, never
guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ledger.embedded_chain import Block, EmbeddedChain, Mined
from ledger.revm_world import BASE_FEE, GAS_LIMIT, BlockContext, Call, Outcome, estimate, execute
from market.errors import FabricError, InvalidRequest

_REVERTED = 3
_REFUSED = -32000
_NO_METHOD = -32601
_BAD_PARAMETERS = -32602
_TIP = 10**9
_NO_BLOOM = "0x" + "00" * 256
_NO_HASH = "0x" + "00" * 32
_NOBODY = "0x" + "00" * 20


class RpcError(Exception):
    """A JSON-RPC error answer."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(message)
        self.answer = {"code": code, "message": message} | ({"data": data} if data is not None else {})


class EmbeddedRpc:
    """Answers one request at a time; the caller sees to that."""

    def __init__(self, chain: EmbeddedChain) -> None:
        self._chain = chain
        self._methods: dict[str, Callable[..., Any]] = {
            "eth_chainId": lambda: hex(chain.chain_id),
            "net_version": lambda: str(chain.chain_id),
            "web3_clientVersion": lambda: "ComputeFabric embedded chain",
            "eth_syncing": lambda: False,
            "eth_accounts": list,
            "eth_blockNumber": lambda: hex(chain.head.number),
            "eth_gasPrice": lambda: hex(BASE_FEE + _TIP),
            "eth_maxPriorityFeePerGas": lambda: hex(_TIP),
            "eth_feeHistory": self._fee_history,
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getBalance": lambda who, at="latest": hex(self._account(who, at).balance),
            "eth_getCode": lambda who, at="latest": _data(self._account(who, at).code),
            "eth_getTransactionCount": lambda who, at="latest": hex(self._account(who, at).nonce),
            "eth_call": self._call,
            "eth_estimateGas": self._estimate_gas,
            "eth_sendRawTransaction": lambda raw: _data(chain.send(bytes.fromhex(raw[2:]))),
            "eth_getTransactionReceipt": self._receipt,
            "eth_getTransactionByHash": self._transaction,
            "eth_getLogs": self._logs,
            "evm_mine": self._mine,
        }

    def answer(self, method: str, parameters: list[Any]) -> Any:
        """The result of one request.

        Raises:
            RpcError: what the client is to be told instead.
        """
        found = self._methods.get(method)
        if found is None:
            raise RpcError(_NO_METHOD, f"the method {method} is not available")
        self._chain.catch_up()
        try:
            return found(*parameters)
        except FabricError as error:
            raise RpcError(_REFUSED, error.message) from error
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            # A client's parameters of the wrong number, type or form.
            raise RpcError(_BAD_PARAMETERS, f"bad parameters for {method}: {error}") from error

    # --- blocks and accounts

    def _block(self, at: str | dict[str, Any]) -> Block:
        number = self._number(at["blockNumber"] if isinstance(at, dict) else at)
        found = self._chain.blocks.get(number)
        if found is None:
            raise InvalidRequest(f"block {number} is not here", code="no_block")
        return found

    def _number(self, at: str) -> int:
        if at in ("latest", "pending", "safe", "finalized"):
            return self._chain.head.number
        return 0 if at == "earliest" else int(at, 16)

    def _account(self, who: str, at: str) -> Any:
        return self._chain.account(who, self._block(at))

    def _block_by_number(self, at: str, full: bool = False) -> dict[str, Any] | None:
        found = self._chain.blocks.get(self._number(at))
        return self._show_block(found, full) if found else None

    def _block_by_hash(self, hash: str, full: bool = False) -> dict[str, Any] | None:
        wanted = bytes.fromhex(hash[2:])
        found = next((block for block in self._chain.blocks.values() if block.hash == wanted), None)
        return self._show_block(found, full) if found else None

    def _mine(self) -> str:
        self._chain.mine()
        return "0x0"

    def _fee_history(self, count: str | int, newest: str, _percentiles: list[float] | None = None) -> dict[str, Any]:
        last = self._number(newest)
        number = int(count, 16) if isinstance(count, str) else count
        first = max(0, last - min(number, 1024) + 1)
        blocks = last - first + 1
        return {
            "oldestBlock": hex(first),
            "baseFeePerGas": [hex(BASE_FEE)] * (blocks + 1),
            "gasUsedRatio": [0.0] * blocks,
            "reward": [[hex(_TIP)] * len(_percentiles or ())] * blocks,
        }

    # --- executing without a trace

    def _call(self, call: dict[str, Any], at: str | dict[str, Any] = "latest") -> str:
        block = self._block(at)
        context = BlockContext(self._chain.chain_id, block.number, block.timestamp)
        return _data(_unless_reverted(execute(block.state, _read_call(call), context)).output)

    def _estimate_gas(self, call: dict[str, Any], _at: str = "latest") -> str:
        outcome = estimate(self._chain.head.state, _read_call(call), self._chain.next_context())
        return hex(_unless_reverted(outcome).gas_used)

    # --- transactions and logs

    def _transaction(self, hash: str) -> dict[str, Any] | None:
        found = self._chain.mined.get(bytes.fromhex(hash[2:]))
        return _show_transaction(found) if found else None

    def _receipt(self, hash: str) -> dict[str, Any] | None:
        found = self._chain.mined.get(bytes.fromhex(hash[2:]))
        if found is None:
            return None
        return _place(found) | {
            "type": hex(found.transaction.kind),
            "from": found.transaction.sender,
            "to": found.transaction.to,
            "status": hex(found.succeeded),
            "gasUsed": hex(found.gas_used),
            "cumulativeGasUsed": hex(found.gas_used),
            "effectiveGasPrice": hex(found.gas_price),
            "contractAddress": found.created,
            "logs": _show_logs(found),
            "logsBloom": _NO_BLOOM,
        }

    def _logs(self, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        first = self._number(wanted.get("fromBlock", "latest"))
        last = self._number(wanted.get("toBlock", "latest"))
        addresses = wanted.get("address", [])
        addresses = {a.lower() for a in ([addresses] if isinstance(addresses, str) else addresses)}
        topics = wanted.get("topics", [])
        return [
            log
            for mined in self._chain.mined.values()
            if first <= mined.block.number <= last
            for log in _show_logs(mined)
            if (not addresses or log["address"] in addresses) and _topics_match(log["topics"], topics)
        ]

    def _show_block(self, block: Block, full: bool) -> dict[str, Any]:
        return {
            "number": hex(block.number),
            "hash": _data(block.hash),
            "parentHash": _data(block.parent),
            "timestamp": hex(block.timestamp),
            "transactions": [
                _show_transaction(self._chain.mined[hash]) if full else _data(hash) for hash in block.transactions
            ],
            "gasUsed": hex(block.gas_used),
            "gasLimit": hex(GAS_LIMIT),
            "baseFeePerGas": hex(BASE_FEE),
            "miner": _NOBODY,
            "difficulty": "0x0",
            "totalDifficulty": "0x0",
            "extraData": "0x",
            "nonce": "0x" + "00" * 8,
            "mixHash": _NO_HASH,
            "sha3Uncles": _NO_HASH,
            "stateRoot": _NO_HASH,
            "receiptsRoot": _NO_HASH,
            "transactionsRoot": _NO_HASH,
            "logsBloom": _NO_BLOOM,
            "size": "0x0",
            "uncles": [],
        }


def _show_transaction(mined: Mined) -> dict[str, Any]:
    sent = mined.transaction
    return {
        "hash": _data(sent.hash),
        "blockHash": _data(mined.block.hash),
        "blockNumber": hex(mined.block.number),
        "transactionIndex": "0x0",
        "type": hex(sent.kind),
        "chainId": hex(sent.chain_id),
        "from": sent.sender,
        "to": sent.to,
        "nonce": hex(sent.nonce),
        "input": _data(sent.data),
        "value": hex(sent.value),
        "gas": hex(sent.gas),
        "gasPrice": hex(mined.gas_price),
        "maxFeePerGas": hex(sent.fee_cap),
        "maxPriorityFeePerGas": hex(sent.tip_cap),
    }


def _show_logs(mined: Mined) -> list[dict[str, Any]]:
    return [
        _place(mined)
        | {
            "address": log.address,
            "topics": [_data(topic) for topic in log.topics],
            "data": _data(log.data),
            "logIndex": hex(index),
            "removed": False,
        }
        for index, log in enumerate(mined.logs)
    ]


def _place(mined: Mined) -> dict[str, Any]:
    # One transaction per block, so it is always the first.
    return {
        "transactionHash": _data(mined.transaction.hash),
        "transactionIndex": "0x0",
        "blockHash": _data(mined.block.hash),
        "blockNumber": hex(mined.block.number),
    }


def _topics_match(topics: list[str], wanted: list[Any]) -> bool:
    if len(wanted) > len(topics):
        return False
    return all(
        choice is None or topic in ([choice] if isinstance(choice, str) else choice)
        for topic, choice in zip(topics, wanted, strict=False)
    )


def _read_call(call: dict[str, Any]) -> Call:
    data = call.get("data") or call.get("input") or "0x"
    return Call(
        sender=call.get("from", _NOBODY).lower(),
        to=call["to"].lower() if call.get("to") else None,
        data=bytes.fromhex(data[2:]),
        value=int(call.get("value", "0x0"), 16),
        gas=min(int(call.get("gas", hex(GAS_LIMIT)), 16), GAS_LIMIT),
    )


def _unless_reverted(outcome: Outcome) -> Outcome:
    if not outcome.succeeded:
        raise RpcError(_REVERTED, "execution reverted", _data(outcome.output))
    return outcome


def _data(raw: bytes) -> str:
    return "0x" + raw.hex()
