"""Put an escrow on a chain, and on a development chain also a worthless token and a faucet for it.

Used by the devnet and by whoever opens a market on a test network; a running node never deploys anything.
"""

from __future__ import annotations

from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from msgspec import Struct

from ledger.artifact import load_artifact
from ledger.evm_reader import token_at
from ledger.evm_rpc import EvmRpc, open_evm_rpc
from ledger.evm_sender import EvmSender, SendPolicy
from ledger.ports import Transaction
from market.errors import Unavailable

_QUICK = SendPolicy(confirmations=0, poll_ms=50)


class Deployment(Struct, frozen=True, kw_only=True):
    """What was put on a chain, and what a node's configuration needs to know of it."""

    chain_id: int
    token: bytes
    escrow: bytes
    exit_delay_s: int
    block: int


async def deploy(
    rpc_url: str, deployer_key: bytes, *, exit_delay_s: int, token: bytes | None = None, policy: SendPolicy = _QUICK
) -> Deployment:
    """Deploy an escrow for ``token``; without one, a mintable test token comes first.

    Args:
        deployer_key: secret of the account that pays for it; it gets no rights by doing so.
        exit_delay_s: the payer's exit window, 1 second to 30 days. Fixed for ever.

    Raises:
        InvalidRequest: the account cannot pay for the gas.
        Unavailable: the chain does not answer, or refuses the code (as when the delay is out of range).
    """
    async with open_evm_rpc(rpc_url) as rpc:
        chain_id = await rpc.ask(lambda web3: int(web3.eth.chain_id))
        sender = EvmSender(rpc, deployer_key, chain_id=chain_id, policy=policy)
        if token is None:
            token = await _create(rpc, await sender.send(None, load_artifact("TestToken").bytecode))
        arguments = encode(["address", "uint40"], [to_checksum_address(token), exit_delay_s])
        created = await sender.send(None, load_artifact("Escrow").bytecode + arguments)
        escrow = await _create(rpc, created)
    return Deployment(chain_id=chain_id, token=token, escrow=escrow, exit_delay_s=exit_delay_s, block=created.block)


async def fund(
    rpc_url: str, faucet_key: bytes, account: bytes, *, token: bytes, units: int = 0, gas_wei: int = 0
) -> None:
    """Give an account test tokens out of thin air, and some of the chain's own coin from the faucet's account.

    Raises:
        InvalidRequest: the faucet cannot pay for the gas.
        Unavailable: the chain does not answer, or the token cannot be minted by just anybody.
    """
    async with open_evm_rpc(rpc_url) as rpc:
        chain_id = await rpc.ask(lambda web3: int(web3.eth.chain_id))
        sender = EvmSender(rpc, faucet_key, chain_id=chain_id, policy=_QUICK)
        if gas_wei:
            _succeeded(await sender.send(account, b"", value=gas_wei))
        if units:
            mint = await rpc.ask(
                lambda web3: token_at(web3, token).encode_abi("mint", [to_checksum_address(account), units])
            )
            _succeeded(await sender.send(token, bytes.fromhex(mint[2:])))


async def _create(rpc: EvmRpc, transaction: Transaction) -> bytes:
    hash = _succeeded(transaction).hash
    receipt = await rpc.ask(lambda web3: web3.eth.get_transaction_receipt(HexBytes(hash)))
    return bytes.fromhex(str(receipt["contractAddress"])[2:])


def _succeeded(transaction: Transaction) -> Transaction:
    if not transaction.succeeded:
        raise Unavailable("the chain refused the transaction", code="chain_refused")
    return transaction
