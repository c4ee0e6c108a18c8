"""A payer and a payee with their books, wallets and a chain between them; either may crash at any time."""

from __future__ import annotations

import trio

from ledger.payee import Payee
from ledger.payer import Payer
from ledger.ports import LaneKey
from ledger.voucher import SessionKey
from tests.fakes.memory_chain import MemoryChain
from tests.fakes.memory_journal import MemoryJournal

START_MS = 1_760_000_000_000
TOKENS = 1_000_000


class TrioClock:
    """UTC that moves with trio's clock, and so stands still under a mock one."""

    def __init__(self) -> None:
        self._origin = trio.current_time()

    def now_ms(self) -> int:
        return START_MS + round((trio.current_time() - self._origin) * 1000)


class LaneWorld:
    """Everything between one payer and one payee.

    Attributes:
        lane: the lane that the payer's session key signs for.
        payer_chain, payee_chain: each side's view of the chain, with its fault knobs.
        payer_journal, payee_journal: what survives :meth:`crash_payer` and :meth:`crash_payee`.
    """

    def __init__(self, *, exit_delay_s: int = 3600, confirmations: int = 1) -> None:
        self.clock = TrioClock()
        self.chain = MemoryChain(self.clock, exit_delay_s=exit_delay_s)
        self.payer_wallet = SessionKey(b"\x01" * 32)
        self.payee_wallet = SessionKey(b"\x02" * 32)
        self.session = SessionKey(b"\x03" * 32)
        self.lane = LaneKey(
            payer=self.payer_wallet.address, payee=self.payee_wallet.address, signer=self.session.address
        )
        self.payer_chain = self.chain.view(self.payer_wallet.address, confirmations=confirmations)
        self.payee_chain = self.chain.view(self.payee_wallet.address, confirmations=confirmations)
        for account in (self.payer_wallet.address, self.payee_wallet.address):
            self.chain.give_gas(account)
        self.chain.mint(self.payer_wallet.address, TOKENS)
        self.confirmations = confirmations
        self.payer_journal = MemoryJournal()
        self.payee_journal = MemoryJournal()
        self.payer = self._new_payer()
        self.payee = self._new_payee()

    async def crash_payer(self, *, keep_in_flight: bool = False) -> None:
        """The payer's process dies, and another one starts on what its journal kept."""
        self.payer_journal = self.payer_journal.crash(keep_in_flight=keep_in_flight)
        await self.restart_payer()

    async def restart_payer(self) -> None:
        """Another payer process, on the journal as it is."""
        self.payer = self._new_payer()
        await self.payer.load()

    async def crash_payee(self, *, keep_in_flight: bool = False) -> None:
        self.payee_journal = self.payee_journal.crash(keep_in_flight=keep_in_flight)
        await self.restart_payee()

    async def restart_payee(self) -> None:
        """Another payee process, on the journal as it is."""
        self.payee = self._new_payee()
        await self.payee.load()

    async def funded(self, lease_id: bytes, cap: int) -> None:
        """A lease that both sides hold for funded."""
        await self.payer.reserve(lease_id, self.lane.payee, cap)
        await self.payer.ensure_funded(lease_id)
        assert await self.payee.admit(lease_id, self.lane, cap)

    async def pay(self, lease_id: bytes, amount: int) -> None:
        """One tick: the payer vouches, the payee takes it."""
        await self.payee.accept(lease_id, amount, await self.payer.acknowledge(lease_id, amount))

    def tokens(self, account: bytes) -> int:
        return self.chain.state_at(self.chain.head_number()).model.tokens.get(account, 0)

    @property
    def paid(self) -> int:
        return self.tokens(self.lane.payee)

    @property
    def held(self) -> int:
        return self.tokens(self.chain.domain.escrow)

    @property
    def kept(self) -> int:
        """What the payer has in its wallet."""
        return self.tokens(self.lane.payer)

    def _new_payer(self) -> Payer:
        return Payer(self.payer_chain, self.payer_journal, self.session, self.clock.now_ms)

    def _new_payee(self) -> Payee:
        return Payee(
            self.payee_chain,
            self.payee_journal,
            self.payee_wallet,
            self.clock.now_ms,
            confirmations=self.confirmations,
        )
