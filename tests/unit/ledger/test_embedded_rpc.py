"""The JSON-RPC face of the embedded chain: what a wallet asks is answered, the unknown is refused, never guessed."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account
from eth_utils.address import to_checksum_address

from ledger.embedded_chain import EmbeddedChain
from ledger.embedded_rpc import EmbeddedRpc, RpcError

WALLET = Account.from_key(b"\x41" * 32)
WHO = WALLET.address.lower()
LOGGER_CODE = "600a600c600039600a6000f3602a60005260206000a0"
"""Init code of a contract that logs the word 42 without a topic, then stops."""


@pytest.fixture
def rpc() -> EmbeddedRpc:
    return EmbeddedRpc(EmbeddedChain(chain_id=31337, now_s=lambda: 1.8e9, block_time_s=1, funded={WHO: 10**18}))


def send(rpc: EmbeddedRpc, **fields: Any) -> str:
    nonce = int(rpc.answer("eth_getTransactionCount", [WHO, "pending"]), 16)
    whole = {"type": 2, "chainId": 31337, "nonce": nonce, "gas": 100_000, "value": 0, "to": ""} | fields
    signed = WALLET.sign_transaction({**whole, "maxFeePerGas": 2 * 10**9, "maxPriorityFeePerGas": 10**9})
    return str(rpc.answer("eth_sendRawTransaction", [signed.raw_transaction.to_0x_hex()]))


def refusal(rpc: EmbeddedRpc, method: str, *parameters: Any) -> int:
    with pytest.raises(RpcError) as refused:
        rpc.answer(method, list(parameters))
    return int(refused.value.answer["code"])


def test_the_chain_s_name_and_prices(rpc: EmbeddedRpc) -> None:
    assert rpc.answer("eth_chainId", []) == "0x7a69"
    assert rpc.answer("net_version", []) == "31337"
    assert int(rpc.answer("eth_gasPrice", []), 16) == 2 * 10**9
    history = rpc.answer("eth_feeHistory", ["0x5", "latest", [50.0]])
    assert history["oldestBlock"] == "0x0"
    assert len(history["baseFeePerGas"]) == len(history["reward"]) + 1 == 2


def test_a_transaction_is_found_everywhere_it_should_be(rpc: EmbeddedRpc) -> None:
    hash = send(rpc, data=LOGGER_CODE)
    receipt = rpc.answer("eth_getTransactionReceipt", [hash])
    assert (receipt["status"], receipt["from"], receipt["blockNumber"]) == ("0x1", WHO, "0x1")
    assert rpc.answer("eth_getTransactionByHash", [hash])["nonce"] == "0x0"
    block = rpc.answer("eth_getBlockByNumber", ["latest", True])
    assert block["transactions"][0]["hash"] == hash
    assert rpc.answer("eth_getBlockByHash", [block["hash"]])["transactions"] == [hash]
    assert rpc.answer("eth_getCode", [receipt["contractAddress"]]) == "0x602a60005260206000a0"


def test_logs_are_filtered_by_block_address_and_topics(rpc: EmbeddedRpc) -> None:
    address = rpc.answer("eth_getTransactionReceipt", [send(rpc, data=LOGGER_CODE)])["contractAddress"]
    send(rpc, to=to_checksum_address(address))

    def found(**wanted: Any) -> int:
        return len(rpc.answer("eth_getLogs", [{"fromBlock": "0x0", "toBlock": "latest"} | wanted]))

    assert found() == found(address=address) == found(address=[address]) == found(topics=[]) == 1
    assert found(address="0x" + "00" * 20) == found(topics=["0x" + "00" * 32]) == found(toBlock="0x1") == 0


def test_a_revert_brings_its_data(rpc: EmbeddedRpc) -> None:
    with pytest.raises(RpcError) as refused:
        rpc.answer("eth_call", [{"data": "0x60ab6000526001601ffd"}, "latest"])
    assert refused.value.answer == {"code": 3, "message": "execution reverted", "data": "0xab"}
    assert refusal(rpc, "eth_estimateGas", {"data": "0x60ab6000526001601ffd"}) == 3


def test_what_is_not_there_is_null(rpc: EmbeddedRpc) -> None:
    nothing = "0x" + "00" * 32
    assert rpc.answer("eth_getTransactionReceipt", [nothing]) is None
    assert rpc.answer("eth_getTransactionByHash", [nothing]) is None
    assert rpc.answer("eth_getBlockByNumber", ["0x99"]) is None
    assert rpc.answer("eth_getBlockByHash", [nothing]) is None


@pytest.mark.parametrize(
    ("method", "parameters", "code"),
    [
        ("eth_unheardOf", [], -32601),
        ("eth_getBalance", [], -32602),
        ("eth_getBalance", [WHO, "0xzz"], -32602),
        ("eth_getBalance", [WHO, "0x99"], -32000),
        ("eth_call", [5], -32602),
        ("eth_call", [{"to": "0x12", "data": "0x"}], -32602),
        ("eth_sendRawTransaction", ["0x00"], -32000),
        ("eth_sendRawTransaction", [None], -32602),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_right_code(
    rpc: EmbeddedRpc, method: str, parameters: list[Any], code: int
) -> None:
    assert refusal(rpc, method, *parameters) == code


def test_a_block_can_be_asked_for(rpc: EmbeddedRpc) -> None:
    rpc.answer("evm_mine", [])
    assert rpc.answer("eth_blockNumber", []) == "0x1"
