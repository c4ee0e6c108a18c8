"""The ``TokenAccount`` port on a real EVM chain. It sends through the same sender as the escrow's calls do, so that a
payout and a redemption never race for a nonce."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from web3 import Web3

from ledger.evm_chain import EvmChain
from ledger.evm_reader import MAX_EVENT_BLOCKS, token_at
from ledger.evm_rpc import MAX_ENDPOINTS, Answer
from ledger.ports import ChainHead, Transaction
from ledger.token_account import TokenTransfer
from market.errors import Unavailable

_TRANSFER = Web3.keccak(text="Transfer(address,address,uint256)")
Sight = tuple[list[TokenTransfer], ChainHead]


class EvmTokens:
    """The tokens of the account behind ``chain``.

    Attributes:
        account, token: whose tokens, and which.
    """

    def __init__(self, chain: EvmChain) -> None:
        self.account = chain.account
        self.token = chain.token
        self._chain = chain
        self._rpc = chain._rpc
        self._sender = chain._sender

    async def head(self) -> ChainHead:
        """The newest block."""
        return await self._chain.head()

    async def gas_price(self) -> int:
        """What a unit of gas costs now, in wei."""

        def question(web3: Web3) -> int:
            return int(web3.eth.get_block("latest").get("baseFeePerGas", 0)) + int(web3.eth.max_priority_fee)

        return await self._rpc.ask(question)

    async def allowance(self, owner: bytes, spender: bytes) -> int:
        """How many of the owner's tokens ``spender`` may take."""
        pair = to_checksum_address(owner), to_checksum_address(spender)
        return await self._rpc.ask(lambda web3: int(token_at(web3, self.token).functions.allowance(*pair).call()))

    async def token_balance(self, account: bytes) -> int:
        """Token units that ``account`` holds."""
        return await self._chain.token_balance(account)

    async def unmined(self) -> int:
        """How many transactions of our account are on their way."""
        return await self._chain.unmined()

    async def transfer(self, to: bytes, amount: int) -> Transaction:
        """Send tokens away; ``succeeded`` is False when the token refuses."""
        data = token_at(Web3(), self.token).encode_abi("transfer", [to_checksum_address(to), amount])
        return await self._sender.send(self.token, bytes.fromhex(data[2:]))

    async def transfers_since(self, to: bytes, from_block: int) -> tuple[list[TokenTransfer], ChainHead]:
        """Our transfers to one account from a block on, and the newest block looked at: both of one endpoint.

        Where there are several endpoints, each is asked: on this hangs whether a payout is sent again, and one that
        hides a part of the log would have it sent twice.

        Raises:
            Unavailable: ``endpoints_differ``: only one of several shows a transfer, or one alone shows none.
        """

        def question(web3: Web3) -> tuple[list[TokenTransfer], ChainHead]:
            block = web3.eth.get_block("latest")
            head = ChainHead(number=block["number"], hash=bytes(block["hash"]), timestamp=block["timestamp"])
            found: list[TokenTransfer] = []
            for first in range(from_block, head.number + 1, MAX_EVENT_BLOCKS):
                last = min(first + MAX_EVENT_BLOCKS - 1, head.number)
                found += self._read_log(web3, to=to, first=first, last=last)
            return found, head

        if not self._rpc.several:
            return await self._rpc.ask(question)
        return self._agreed(await self._rpc.ask_each(question, most=MAX_ENDPOINTS))

    def _agreed(self, answers: Sequence[Answer[Sight]]) -> Sight:
        """What at least two saw, as of the endpoint that is behind the others."""
        if len(answers) == 1:
            if answers[0].value[0]:
                return answers[0].value
            raise Unavailable("only one endpoint answers, and it shows no payout", code="endpoints_differ")
        facts = [{(one.transaction, one.amount) for one in answer.value[0]} for answer in answers]
        seen = Counter(fact for each in facts for fact in each)
        if any(count < 2 for count in seen.values()):
            counts = [Answer(answer.endpoint, len(answer.value[0])) for answer in answers]
            self._rpc.dispute("transfers since a payout", counts)
            raise Unavailable("the endpoints do not agree on what was paid out", code="endpoints_differ")
        found = {one.transaction: one for answer in answers for one in answer.value[0]}
        head = min((answer.value[1] for answer in answers), key=lambda head: head.timestamp)
        return sorted(found.values(), key=lambda one: one.block), head

    def _read_log(self, web3: Web3, *, to: bytes, first: int, last: int) -> list[TokenTransfer]:
        parties = [HexBytes(account.rjust(32, b"\0")) for account in (self.account, to)]
        entries = web3.eth.get_logs(
            {
                "address": to_checksum_address(self.token),
                "fromBlock": first,
                "toBlock": last,
                "topics": [_TRANSFER, *parties],
            }
        )
        # Looked at once more: an endpoint that forgets to filter must not make a stranger's transfer one of ours.
        return [
            TokenTransfer(
                to=to,
                amount=int.from_bytes(entry["data"], "big"),
                transaction=bytes(entry["transactionHash"]),
                block=entry["blockNumber"],
            )
            for entry in entries
            if [bytes(topic) for topic in entry["topics"]] == [bytes(_TRANSFER), *(bytes(one) for one in parties)]
        ]
