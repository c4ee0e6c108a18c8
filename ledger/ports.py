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
    finish, 0 when none runs. ``delay_s`` is how long the next exit will wait: it cannot shrink while the lane holds
    money, and is 0 only in a lane that was never filled. ``epoch`` grows at every close and release, so that an old
    consent is dead. A release lowers ``balance``.
    """

    balance: int = 0
    claimed: int = 0
    exit_at: int = 0
    epoch: int = 0
    delay_s: int = 0


class LaneDeposit(Struct, frozen=True, kw_only=True):
    """One of several deposits. ``delay_s`` 0 leaves the lane's; another one, a whole number of the escrow's steps, only
    the payer may choose, and not below the lane's while it holds money."""

    lane: LaneKey
    amount: int
    delay_s: int = 0


class Stake(Struct, frozen=True, kw_only=True):
    """What a provider has staked. ``unlock_at`` is the UTC second from which it can be taken, 0 while it stays."""

    amount: int = 0
    unlock_at: int = 0


class Contradiction(Struct, frozen=True, kw_only=True):
    """Two statements that a provider signed with one ``subject`` (32 bytes) and ``sequence`` but different bodies.

    ``kind`` is 0 for receipts (the subject is the lease), 1 for grants (the slot that was sold). Signatures are over
    the escrow's ``statementDigest``, compact.
    """

    provider: bytes
    kind: int
    subject: bytes
    sequence: int
    body_a: bytes
    signature_a: bytes
    body_b: bytes
    signature_b: bytes


class TokenDomain(Struct, frozen=True, kw_only=True):
    """How a token's own signatures (permits, authorizations) name it."""

    name: str
    version: str
    chain_id: int
    token: bytes


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
    """One log entry of the escrow, as ``kind`` (``Deposited``, ``Redeemed``, ``DelaySet``, ``ExitStarted``,
    ``ExitCancelled``, ``Released``, ``LaneClosed``, ``StakeChanged``, ``Slashed``) and its decoded
    arguments by name (addresses as 20 bytes)."""

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
    def exit_delay_s(self) -> int:
        """The window of a lane whose payer chose none."""
        ...

    @property
    def delay_step_s(self) -> int:
        """Lanes' delays are 1 to 255 of these."""
        ...

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

    async def deposit_many(self, deposits: Sequence[LaneDeposit]) -> Transaction:
        """Fund several lanes, anybody's, with one transfer of our tokens: all of them or none. Approves first."""
        ...

    async def token_domain(self) -> TokenDomain:
        """What the token's signatures are made over.

        Raises:
            InvalidRequest: ``no_token_signatures``: the token has none that can be checked here.
        """
        ...

    async def permit_nonce(self, owner: bytes) -> int:
        """The number that the next permit of ``owner`` has to bear."""
        ...

    async def deposit_with_permit(
        self, payee: bytes, signer: bytes, amount: int, *, deadline_s: int, permit: bytes
    ) -> Transaction:
        """Fund our own lane by our permit (``token_signatures.permit_digest``, compact), without approving first.

        A permit that fails is passed over: then our allowance has to do.
        """
        ...

    async def deposit_with_authorization(
        self, lane: LaneKey, amount: int, *, until_s: int, salt: bytes, authorization: bytes
    ) -> Transaction:
        """Fund the payer's lane with the payer's money, by its ``token_signatures.authorization_digest``; we pay gas.

        When the payer is ourselves and the authorization fails without having been used, our allowance has to do.
        """
        ...

    async def preview_redeem(self, payee: bytes, rows: bytes) -> int:
        """What :meth:`redeem_many` would pay for these rows, put together, now. Costs nothing."""
        ...

    async def redeem_many(self, payee: bytes, rows: Sequence[bytes], *, urgent: bool = False) -> Transaction:
        """Redeem vouchers. ``urgent``: an exit runs, after which they are worth nothing; the gas may cost more."""
        ...

    async def redeem_to(self, to: bytes, rows: Sequence[bytes]) -> Transaction:
        """As :meth:`redeem_many` for vouchers to ourselves, paid out to another account."""
        ...

    async def start_exit(self, payee: bytes, signer: bytes) -> Transaction: ...
    async def cancel_exit(self, payee: bytes, signer: bytes) -> Transaction: ...
    async def finish_exit(self, key: LaneKey) -> Transaction: ...
    async def close_together(
        self, key: LaneKey, *, cumulative: int, deadline_s: int, payee_signature: bytes, payer_signature: bytes
    ) -> Transaction: ...
    async def release(
        self, payee: bytes, signer: bytes, *, new_balance: int, deadline_s: int, payee_signature: bytes
    ) -> Transaction:
        """Take back at once what our lane has above ``new_balance``, with the payee's consent (``release_digest``)."""
        ...

    async def stake_of(self, provider: bytes, *, confirmations: int = 0) -> Stake: ...
    async def add_stake(self, amount: int) -> Transaction:
        """Stake more of our tokens, which also stops a leave. Approves first."""
        ...

    async def leave_stake(self) -> Transaction: ...
    async def take_stake(self) -> Transaction: ...
    async def slash_equivocation(self, proof: Contradiction) -> Transaction:
        """Show the escrow a provider's contradiction; a quarter of what it loses is ours."""
        ...

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


OLD_COPY = "journal/old-copy"
"""A stream of the journal's own: an entry says that the journal goes on from a copy, or without its end
mark. What was written just after the entries before it may be lost."""


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
