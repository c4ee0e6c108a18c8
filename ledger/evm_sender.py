"""The transactions of one account: signed, sent in the order of their nonces, paid for within a cap, and seen
through.

Each is written down before it is sent, and kept until it lies too deep for a reorganisation (``evm_flights``). A lost
answer is not a failure: the same bytes are sent until the chain says what became of them. Keys stay with the signer.
"""

from __future__ import annotations

from functools import partial

import trio
from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from web3.types import TxParams, Wei

from ledger import evm_account
from ledger.evm_flights import Call, EvmFlights, SendingView
from ledger.evm_flights import SendPolicy as SendPolicy
from ledger.evm_rpc import EvmRpc
from ledger.flight_steps import Progress
from ledger.gas_fees import Fee, GasMarket, opening_fee
from ledger.outbox import Flight, Outbox
from ledger.ports import Transaction
from ledger.transaction_signing import KeySigner, TransactionSigner, UnsignedTransaction
from market.errors import InvalidRequest, Unavailable

NOT_SENT = bytes(32)
"""The hash of a transaction that the contract refused before it was sent: nothing was spent."""
MAX_GAS = 2**24
"""What one transaction may use on the main chain; an estimate above it is no estimate."""
_NONCE_RACES = 10


class EvmSender:
    """Sends for one account. Many tasks may send at once; nonces are handed out one at a time.

    Args:
        signer: who holds the key; the bare secret of 32 bytes will do for a development account.
        outbox: where transactions are written down; without one they are remembered as long as this object lives.

    Attributes:
        account: the sending account, 20 bytes.
    """

    def __init__(
        self,
        rpc: EvmRpc,
        signer: TransactionSigner | bytes,
        *,
        chain_id: int,
        policy: SendPolicy,
        outbox: Outbox | None = None,
    ) -> None:
        holder: TransactionSigner = KeySigner(signer) if isinstance(signer, bytes) else signer
        self._rpc = rpc
        self._chain_id = chain_id
        self._policy = policy
        self.account: bytes = holder.account
        outbox = outbox or Outbox(None, chain_id=chain_id, account=self.account, now_ms=lambda: 0)
        self._flights = EvmFlights(rpc, holder, chain_id=chain_id, policy=policy, outbox=outbox)

    async def send(
        self,
        to: bytes | None,
        data: bytes,
        *,
        value: int = 0,
        confirmations: int | None = None,
        urgent: bool = False,
    ) -> Transaction:
        """Send a call (or, without ``to``, deploy ``data``) and wait until it is mined and confirmed.

        The same call again, while an earlier one that nobody waits for is still on its way, waits for that one.
        ``succeeded`` is False when the contract refused; with the hash :data:`NOT_SENT` it did so before
        anything was sent.

        Args:
            urgent: waiting loses money, as in an exit: a higher cap on fees counts, also for what it queues behind.

        Raises:
            InvalidRequest: ``gas_short``: the account cannot pay for the gas; or the signer's. Nothing was sent.
            Unavailable: the chain is silent, refuses, or stays dearer than the cap. Whether the transaction will still
                happen is not known then: look at what it was to change before sending it again.
        """
        call = Call(to, data, value)
        depth = self._policy.confirmations if confirmations is None else confirmations
        progress = await self._adopt(call, depth, urgent=urgent)
        if progress is None:
            gas = await self._estimate(call)
            if gas is None:
                head = await self._rpc.ask(lambda web3: int(web3.eth.block_number))
                return Transaction(hash=NOT_SENT, block=head, succeeded=False, gas_used=0)
            progress = await self._start(call, gas, depth, urgent=urgent)
        return await self._follow(progress)

    async def unmined(self) -> int:
        """How many transactions of the account wait in the pool. May be too high for a moment, never too low."""
        await self._flights.round(fresh=True)
        waiting = await self._rpc.ask(partial(evm_account.in_pool, account=self.account))
        return max(waiting, len(self._flights.unmined()))

    async def resume(self) -> None:
        """Read what the last run may have sent, and send it again: the same bytes, which happen once at most."""
        await self._flights.resume()

    async def keep(self) -> None:
        """See transactions through that nobody waits for, and watch mined ones until they are final. Never returns."""
        await self._flights.keep()

    def view(self) -> SendingView:
        """What is under way, for people."""
        return self._flights.view()

    async def _adopt(self, call: Call, depth: int, *, urgent: bool) -> Progress | None:
        """An earlier transaction with the same call that is not mined and that nobody waits for.

        Raises:
            Unavailable: ``reorganised``.
        """
        if not self._flights.any_open():
            return None
        await self._flights.round(fresh=True)
        if self._flights.taken_back() and not urgent:
            # What the caller knows of the chain may lack that transaction: it would do the same again.
            raise Unavailable(
                "the chain took back a transaction that was mined; it is being sent again", code="reorganised"
            )
        flight = self._flights.orphan(call)
        if flight is None:
            return None
        progress = self._flights.progress(flight.nonce)
        progress.owned, progress.confirmations = True, depth
        if urgent:
            await self._flights.make_urgent(flight)
        return progress

    async def _estimate(self, call: Call) -> int | None:
        params: TxParams = {
            "from": to_checksum_address(self.account),
            "data": HexBytes(call.data),
            "value": Wei(call.value),
        }
        if call.to is not None:
            params["to"] = to_checksum_address(call.to)
        question = partial(evm_account.estimate, params=params)
        gas = await self._rpc.ask(question)
        if gas is None and self._rpc.several:
            # One endpoint's word is not enough to leave a redemption unsent.
            answers = await self._rpc.ask_each(question, most=3)
            gas = max((answer.value for answer in answers if answer.value is not None), default=None)
        if gas is not None and gas > MAX_GAS:
            raise Unavailable(f"the chain estimates {gas} gas, more than a transaction may use", code="chain_refused")
        # Room for what other transactions may change between this estimate and the block.
        return None if gas is None else min(gas + gas // 4, MAX_GAS)

    async def _start(self, call: Call, gas: int, depth: int, *, urgent: bool) -> Progress:
        """Wait for gas below the cap, write the transaction down and get it accepted."""
        give_up = trio.current_time() + self._policy.fee_patience_s
        races = 0
        while races < _NONCE_RACES:
            # Not within the lock: an urgent transaction must not queue behind one that waits for cheaper gas.
            async with self._flights.nonce_lock:
                terms = await self._terms()
                fee = opening_fee(terms.market, self._flights.caps, urgent=urgent)
                if fee is not None:
                    self._flights.waiting = ""
                    asked = self._unsigned(call, gas, terms, fee)
                    flight = await self._flights.begin(asked, urgent=urgent, confirmations=depth)
                    # It may end while it is launched, when answers are slow: then only this remembers how.
                    progress = self._flights.progress(flight.nonce)
                    if await self._launch_owned(flight, progress):
                        return progress
                    races += 1
            if fee is None:
                self._too_dear(terms.market, self._flights.caps.of(urgent=urgent), give_up)
            await self._pause()
        raise Unavailable("the account's transactions are sent from too many places", code="nonce_race")

    def _too_dear(self, market: GasMarket, cap: int, give_up: float) -> None:
        self._flights.waiting = f"gas costs {market.base + market.tip} wei, more than the cap of {cap}"
        if trio.current_time() > give_up:
            raise Unavailable(self._flights.waiting, code="fees_too_high", fix="wait, or raise fee_cap under [chain]")

    async def _terms(self) -> evm_account.Terms:
        question = partial(evm_account.terms_of, account=self.account)
        found = [answer.value for answer in await self._rpc.ask_each(question)]
        market = GasMarket(base=max(one.market.base for one in found), tip=min(one.market.tip for one in found))
        # The lowest nonce: one too low is refused and costs a moment, one too high would never be mined.
        nonce = max(min(one.nonce for one in found), self._flights.next_nonce)
        return evm_account.Terms(market, nonce, max(one.balance for one in found))

    def _unsigned(self, call: Call, gas: int, terms: evm_account.Terms, fee: Fee) -> UnsignedTransaction:
        if terms.balance < gas * fee.most + call.value:
            raise InvalidRequest(
                f"the account {to_checksum_address(self.account)} cannot pay for gas",
                code="gas_short",
                fix="send it some of the chain's own coin",
            )
        return UnsignedTransaction(
            chain_id=self._chain_id,
            nonce=terms.nonce,
            to=call.to,
            data=call.data,
            value=call.value,
            gas=gas,
            fee_cap=fee.most,
            tip_cap=fee.tip,
        )

    async def _launch_owned(self, flight: Flight, progress: Progress) -> bool:
        launched = False
        try:
            launched = await self._launch(flight)
        finally:
            # Given up, or cancelled: from now on it belongs to whoever asks for the same again.
            progress.owned, progress.launching = launched, False
        return launched

    async def _launch(self, flight: Flight) -> bool:
        """Get the first form of a transaction accepted. The same bytes go out until there is an answer to them.

        Returns False when another sender of the same account, such as a second program, was quicker with the nonce.
        """
        give_up = trio.current_time() + self._policy.patience_s
        an_answer_was_lost = False
        while True:
            try:
                await self._rpc.tell(partial(evm_account.send_raw, raw=flight.raw))
                return True
            except Unavailable as error:
                if error.code == "chain_refused":
                    if await self._known(flight):
                        return True
                    taken = await self._next_nonce() > flight.nonce
                    if taken and (an_answer_was_lost or self._flights.durable):
                        # Ours, if an earlier try got through, or another sender's: the looks that follow tell, and do
                        # it again under another nonce once the other's is final.
                        return True
                    # What is written down stays: a fork may hide for a moment that the chain has it.
                    if not an_answer_was_lost and not self._flights.durable:
                        await self._flights.drop(flight)
                        if taken:
                            return False
                    raise
                if trio.current_time() > give_up:
                    raise
                an_answer_was_lost = True
            await self._pause()

    async def _known(self, flight: Flight) -> bool:
        question = partial(evm_account.knows, hash=flight.hashes[0])
        return any(answer.value for answer in await self._rpc.ask_each(question, most=3))

    async def _next_nonce(self) -> int:
        return await self._rpc.ask(partial(evm_account.next_nonce, account=self.account))

    async def _follow(self, progress: Progress) -> Transaction:
        heard_at = trio.current_time()
        try:
            while True:
                try:
                    await self._flights.round()
                    heard_at = trio.current_time()
                except Unavailable:
                    if trio.current_time() - heard_at > self._policy.patience_s:
                        raise
                if progress.done is not None:
                    return progress.done
                if progress.displaced:
                    raise Unavailable("another transaction of the account took this one's place", code="displaced")
                await self._pause()
        finally:
            progress.owned = False

    async def _pause(self) -> None:
        await trio.sleep(self._policy.poll_ms / 1000)
