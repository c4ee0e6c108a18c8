"""What the ledger asks of the world: a settlement chain and a durable journal.

Each port has one real adapter (``evm_chain.py``, ``sqlite_journal.py``) and one fake in ``tests/fakes``; one suite in
``tests/ports`` runs on both. Addresses are 20 raw bytes, hashes 32, amounts token units.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct


class LaneKey(Struct, frozen=True, order=True):
    """One payment account on-chain: who pays, who is paid, and whose signature moves the money."""

    payer: bytes
    payee: bytes
    signer: bytes


class LaneOnChain(Struct, frozen=True, kw_only=True):
    """A lane as the chain has it. ``balance`` and ``claimed`` are cumulative over the lane's whole life.

    ``balance - claimed`` is what the lane still holds. ``exit_at`` is the UTC second after which the payer's exit can
    finish, 0 when none runs. ``epoch`` grows at every close, so that an old close consent is dead.
    """

    balance: int = 0
    claimed: int = 0
    exit_at: int = 0
    epoch: int = 0


class ChainHead(Struct, frozen=True, kw_only=True):
    """The newest block: its number, hash and UTC timestamp in seconds."""

    number: int
    hash: bytes
    timestamp: int


class Transaction(Struct, frozen=True, kw_only=True):
    """A transaction of ours. ``succeeded`` is False when the contract reverted it, or would have: one that is foreseen
    to fail is not sent, and has a hash of 32 zero bytes. Look at it after every send."""

    hash: bytes
    block: int
    succeeded: bool
    gas_used: int


class LedgerEvent(Struct, frozen=True, kw_only=True):
    """One log entry of the escrow, as ``kind`` (``Deposited``, ``Redeemed``, ``ExitStarted``, ``ExitCancelled``,
    ``LaneClosed``) and its decoded arguments by name (addresses as 20 bytes)."""

    kind: str
    block: int
    index: int
    transaction: bytes
    arguments: dict[str, object]


class Chain(Protocol):
    """The settlement chain as seen by one account. Every call may raise ``market.errors.Unavailable``.

    A call that sends returns once the transaction is mined with the asked confirmations; it is safe to repeat
    after a crash because its effect is checked first by the caller (``payer``, ``payee``).
    """

    @property
    def account(self) -> bytes: ...
    @property
    def chain_id(self) -> int: ...
    @property
    def escrow(self) -> bytes: ...
    @property
    def exit_delay_s(self) -> int: ...
    async def head(self) -> ChainHead: ...
    async def lane(self, key: LaneKey, *, confirmations: int = 0) -> LaneOnChain:
        """The lane as of ``head - confirmations``."""
        ...

    async def token_balance(self, account: bytes) -> int: ...
    async def gas_balance(self, account: bytes) -> int: ...
    async def transaction(self, transaction: bytes) -> Transaction | None:
        """A mined transaction by hash, or None while unknown or pending."""
        ...

    async def unmined(self) -> int:
        """How many transactions of our account were sent and are not mined yet.

        A crash or a lost answer leaves us not knowing whether a deposit was sent: while one may be on its way,
        nothing is sent again.
        """
        ...

    async def deposit(self, payee: bytes, signer: bytes, amount: int) -> Transaction:
        """Fund our own lane. Approves the token first when the allowance is short."""
        ...

    async def redeem_many(self, payee: bytes, rows: Sequence[bytes]) -> Transaction: ...
    async def start_exit(self, payee: bytes, signer: bytes) -> Transaction: ...
    async def cancel_exit(self, payee: bytes, signer: bytes) -> Transaction: ...
    async def finish_exit(self, key: LaneKey) -> Transaction: ...
    async def close_together(
        self, key: LaneKey, *, cumulative: int, deadline_s: int, payee_signature: bytes, payer_signature: bytes
    ) -> Transaction: ...
    async def events(self, from_block: int, to_block: int) -> list[LedgerEvent]: ...


class JournalEntry(Struct, frozen=True, kw_only=True):
    """One durable fact: ``position`` is dense and grows by one, ``stream`` groups the facts of one subject
    (for example ``"lease/1f…"``), ``kind`` names the fact and ``body`` is its canonical encoding."""

    position: int
    stream: str
    kind: str
    at_ms: int
    body: bytes


class NewEntry(Struct, frozen=True, kw_only=True):
    """A fact to be appended."""

    stream: str
    kind: str
    at_ms: int
    body: bytes


class Journal(Protocol):
    """Append-only facts plus a small table of latest values. What :meth:`append` returned from survives kill -9 and
    power loss. All entries of one call, and its ``put``, become durable together or not at all."""

    async def append(
        self, entries: Sequence[NewEntry], put: dict[str, bytes] | None = None, *, urgent: bool = False
    ) -> list[JournalEntry]:
        """Make the entries durable, and set ``put`` keys in the value table, in one transaction.

        ``urgent`` entries (a voucher in hand) may use the room that is kept back for a full disk.

        Raises:
            Unavailable: the disk is full (code ``disk_full``) or failing; nothing was written.
        """
        ...

    async def read(self, stream: str) -> list[JournalEntry]: ...
    async def read_all(self, *, prefix: str = "", after: int = 0, limit: int = 10_000) -> list[JournalEntry]:
        """Entries whose stream starts with ``prefix`` and whose position is above ``after``, in order."""
        ...

    async def streams(self, prefix: str) -> list[str]:
        """Names of all streams that start with ``prefix``, oldest first."""
        ...

    async def get(self, key: str) -> bytes | None: ...
    async def get_all(self, prefix: str) -> dict[str, bytes]: ...
