"""Put an escrow on a chain, and on a development chain also a worthless token and a faucet for it.

Used by the devnet and by whoever opens a market on a test network; a running node never deploys anything.
"""

from __future__ import annotations

import trio
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from msgspec import Struct

from ledger.artifact import load_artifact
from ledger.create2 import (
    FACTORY,
    FACTORY_CODE,
    FACTORY_COST_WEI,
    FACTORY_SENDER,
    FACTORY_TRANSACTION,
    SALT,
    delay_terms,
    escrow_address,
    escrow_init_code,
)
from ledger.evm_reader import token_at
from ledger.evm_rpc import EvmRpc, open_evm_rpc
from ledger.evm_sender import EvmSender, SendPolicy
from ledger.ports import Transaction
from market.errors import Unavailable

_QUICK = SendPolicy(confirmations=0, poll_ms=50)
_FACTORY_PATIENCE_S = 60.0


class Deployment(Struct, frozen=True, kw_only=True):
    """What was put on a chain, and what a node's configuration needs to know of it. ``block`` is 0 when the escrow was
    there before."""

    chain_id: int
    token: bytes
    escrow: bytes
    exit_delay_s: int
    block: int


async def deploy(
    rpc_url: str, deployer_key: bytes, *, exit_delay_s: int, token: bytes | None = None, policy: SendPolicy = _QUICK
) -> Deployment:
    """Deploy an escrow for ``token``; without one, a mintable test token comes first.

    The escrow's address follows from the token and the delay (``ledger.create2``), so a second call finds the first
    one's. The factory that makes it so is installed where it is missing.

    Args:
        deployer_key: secret of the account that pays for it; it gets no rights by doing so.
        exit_delay_s: how long a payer waits that chose no delay, 1 second to 255 hours. Fixed for ever.

    Raises:
        InvalidRequest: the account cannot pay for the gas, or ``exit_delay``.
        Unavailable: the chain does not answer, or refuses the code (as when the token is none).
    """
    terms = delay_terms(exit_delay_s)
    async with open_evm_rpc(rpc_url) as rpc:
        chain_id = await rpc.ask(lambda web3: int(web3.eth.chain_id))
        sender = EvmSender(rpc, deployer_key, chain_id=chain_id, policy=policy)
        await install_factory(rpc, sender, poll_s=policy.poll_ms / 1000)
        if token is None:
            token = await _create(rpc, await sender.send(None, load_artifact("TestToken").bytecode))
        escrow = escrow_address(token, terms)
        block = 0
        if not await _code(rpc, escrow):
            block = _succeeded(await sender.send(FACTORY, SALT + escrow_init_code(token, terms))).block
        if not load_artifact("Escrow").is_deployed_as(await _code(rpc, escrow)):
            raise Unavailable("the factory of this chain does not deploy as it should", code="factory_broken")
    return Deployment(chain_id=chain_id, token=token, escrow=escrow, exit_delay_s=exit_delay_s, block=block)


async def install_factory(rpc: EvmRpc, sender: EvmSender, *, poll_s: float) -> None:
    """Put the usual factory on a chain that lacks it, with the transaction that needs nobody's key.

    Raises:
        Unavailable: ``factory_missing``: the chain takes no transactions without a chain id, or never mined it.
    """
    found = await _code(rpc, FACTORY)
    if found == FACTORY_CODE:
        return
    fix = "take a chain that has it, or ask who runs this one to install it"
    if found:
        raise Unavailable("other code is where the factory should be", code="factory_missing", fix=fix)
    _succeeded(await sender.send(FACTORY_SENDER, b"", value=FACTORY_COST_WEI))
    try:
        await rpc.tell(lambda web3: web3.eth.send_raw_transaction(HexBytes(FACTORY_TRANSACTION)))
    except Unavailable as error:
        raise Unavailable(f"the factory cannot be installed: {error}", code="factory_missing", fix=fix) from error
    with trio.move_on_after(_FACTORY_PATIENCE_S):
        while await _code(rpc, FACTORY) != FACTORY_CODE:
            await trio.sleep(poll_s)
        return
    raise Unavailable("the factory's transaction was not mined", code="factory_missing", fix=fix)


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


async def _code(rpc: EvmRpc, address: bytes) -> bytes:
    return await rpc.ask(lambda web3: bytes(web3.eth.get_code(to_checksum_address(address))))


async def _create(rpc: EvmRpc, transaction: Transaction) -> bytes:
    hash = _succeeded(transaction).hash
    receipt = await rpc.ask(lambda web3: web3.eth.get_transaction_receipt(HexBytes(hash)))
    return bytes.fromhex(str(receipt["contractAddress"])[2:])


def _succeeded(transaction: Transaction) -> Transaction:
    if not transaction.succeeded:
        raise Unavailable("the chain refused the transaction", code="chain_refused")
    return transaction
