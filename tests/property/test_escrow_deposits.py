"""Deposits by permit and by authorization on the shipped escrow against its model: nothing is taken twice, nothing
goes to another lane, and whoever was front-run still gets its deposit done (A17)."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger.create2 import DelayTerms
from ledger.ports import LaneKey
from ledger.token_signatures import authorization_digest, permit_digest
from ledger.voucher import SessionKey
from tests.fakes.escrow_fuzz import both, fuzz
from tests.fakes.escrow_model import WITHOUT_LIMIT, EscrowModel
from tests.fakes.escrow_on_revm import EscrowOnRevm, split

TERMS = DelayTerms(60, 60)
PURSE = 10**6
PAYER, STRANGER, PAYEE = SessionKey(b"\x11" * 32), SessionKey(b"\x33" * 32), b"\x22" * 20
LANES = [LaneKey(PAYER.address, PAYEE, bytes([0x40 + i]) * 20) for i in range(2)]
STRANGERS = LaneKey(STRANGER.address, PAYEE, b"\x50" * 20)
SALTS = [bytes([i]) * 32 for i in range(3)]

senders = st.sampled_from([PAYER, STRANGER])
amounts = st.integers(0, PURSE // 8)
lives = st.sampled_from([-1, 0, 1, 10**6])
happened: Counter[str] = Counter()


class DepositMachine(RuleBasedStateMachine):
    """Each rule does one thing to both; both must answer alike, and the invariants must hold after it."""

    @initialize()
    def deploy(self) -> None:
        self.real = EscrowOnRevm(terms=TERMS, funds=0)
        self.model = EscrowModel(self.real.domain, TERMS.exit_delay_s, TERMS.step_s)
        self.model.token_domain = self.real.token_domain
        self.now_s = 1_800_000_000
        self.real.set_time(self.now_s)
        for key in (PAYER, STRANGER):
            self.real.mint(key.address, PURSE)
            self.model.mint(key.address, PURSE)
        self.authorized: dict[tuple[LaneKey, bytes], int] = {}
        self.sent: list[tuple[LaneKey, int, bytes, int, bytes]] = []

    @rule(sender=senders, amount=st.sampled_from([0, 10**3, PURSE, WITHOUT_LIMIT]))
    def approve(self, sender: SessionKey, amount: int) -> None:
        self.real.approve(sender.address, amount)
        self.model.approve(sender.address, amount)

    @rule(
        sender=senders,
        signer=senders,
        amount=amounts,
        less=st.sampled_from([0, 0, 0, 1]),
        off=st.sampled_from([0, 0, 0, 1]),
        life=lives,
        used_first=st.booleans(),
    )
    def by_permit(
        self, *, sender: SessionKey, signer: SessionKey, amount: int, less: int, off: int, life: int, used_first: bool
    ) -> None:
        nonce = self.model.permits.get(sender.address, 0)
        deadline_s = self.now_s + life
        digest = permit_digest(
            self.real.token_domain,
            owner=sender.address,
            spender=self.real.domain.escrow,
            value=amount - less if amount else 0,
            nonce=nonce + off,
            deadline_s=deadline_s,
        )
        permit, key = signer.sign(digest), LANES[0]
        if used_first and signer is sender and life >= 0 and not off and not less:
            # Somebody saw the permit in the pool and was quicker with it.
            parts = (sender.address, self.real.domain.escrow, amount, deadline_s, *split(permit))
            name = "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"
            self.real.ask_token(STRANGER.address, name, *parts)
            self.model.approve(sender.address, amount)
            self.model.permits[sender.address] = nonce + 1
            happened["front-run"] += 1
            enough = 0 < amount <= self.real.token_balance(sender.address)
        else:
            used_first = False
        done = both(
            happened,
            lambda: self.real.deposit_with_permit(sender.address, key, amount, deadline_s=deadline_s, permit=permit),
            lambda: self.model.deposit_with_permit(
                sender.address, key, amount, deadline_s=deadline_s, permit=permit, now_s=self.now_s
            ),
        )
        assert not used_first or done == enough, "A17: the deposit is done all the same"
        happened["by permit"] += done

    @rule(lane=st.sampled_from(LANES), amount=amounts, salt=st.sampled_from(SALTS), life=lives, forged=st.booleans())
    def authorize(self, lane: LaneKey, amount: int, salt: bytes, life: int, forged: bool) -> None:
        until_s = self.now_s + life
        digest = authorization_digest(
            self.real.token_domain, escrow=self.real.domain.escrow, lane=lane, value=amount, salt=salt, until_s=until_s
        )
        self.sent.append((lane, amount, salt, until_s, (STRANGER if forged else PAYER).sign(digest)))
        self.send(len(self.sent) - 1, STRANGER, 0)

    @rule(pick=st.integers(0, 10**6), sender=senders, turn=st.integers(0, 5))
    def send(self, pick: int, sender: SessionKey, turn: int) -> None:
        if not self.sent:
            return
        lane, amount, salt, until_s, signature = self.sent[pick % len(self.sent)]
        if turn == 1:
            lane = LANES[1 - LANES.index(lane)]
        if turn == 2:
            lane = STRANGERS
        purse = self.real.token_balance(PAYER.address)
        done = both(
            happened,
            lambda: self.real.deposit_with_authorization(
                sender.address, lane, amount, until_s=until_s, salt=salt, signature=signature
            ),
            lambda: self.model.deposit_with_authorization(
                sender.address, lane, amount, until_s=until_s, salt=salt, signature=signature, now_s=self.now_s
            ),
        )
        if sender is STRANGER:
            paid = purse - self.real.token_balance(PAYER.address)
            assert paid == (amount if done and lane is not STRANGERS else 0), "the payer's money moves by its word only"
            happened["sent by a stranger"] += done and paid > 0

    @rule(seconds=st.integers(0, 2))
    def pass_time(self, seconds: int) -> None:
        self.now_s += seconds
        self.real.set_time(self.now_s)

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        lanes = {key: self.real.lane(key) for key in (*LANES, STRANGERS)}
        assert lanes == {key: self.model.lane(key) for key in lanes}
        assert self.real.token_balance(self.real.domain.escrow) == sum(lane.balance for lane in lanes.values()), "I1"
        accounts = (PAYER.address, STRANGER.address, self.real.domain.escrow)
        assert sum(map(self.real.token_balance, accounts)) == 2 * PURSE, "I12"


def test_signed_deposits_do_what_the_model_says() -> None:
    done = ("by permit", "front-run", "sent by a stranger")
    refused = ("AuthorizationRefused", "AuthorizationSpent", "ERC20InsufficientAllowance")
    fuzz(DepositMachine, happened, done + refused, examples=150, steps=30)
