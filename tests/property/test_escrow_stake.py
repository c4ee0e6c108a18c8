"""Stake and slashing of the shipped escrow against its model, with lanes open beside them (I1, I12, I13, I14)."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import structs

from ledger.create2 import DelayTerms
from ledger.ports import Contradiction, LaneKey
from ledger.voucher import SessionKey, sign_voucher
from tests.fakes.escrow_fuzz import both, fuzz
from tests.fakes.escrow_model import EscrowModel
from tests.fakes.escrow_on_revm import EVERYTHING, FUNDER, EscrowOnRevm
from tests.fakes.stake_model import NOBODY
from tests.fakes.statements import statement_digest

TERMS = DelayTerms(60, 60)
STAKE_DELAY_S = 2 * 255 * TERMS.step_s
PURSE = 2**97
PROVIDERS = [SessionKey(bytes([32 + i]) * 32) for i in range(2)]
PAYER, SESSION, REPORTER = SessionKey(b"\x10" * 32), SessionKey(b"\x30" * 32), SessionKey(b"\x77" * 32)
BODIES = [bytes([0xB0 + i]) * 32 for i in range(3)]
SUBJECTS = [bytes([0x50 + i]) * 32 for i in range(2)]

providers = st.integers(0, 1)
amounts = st.one_of(st.integers(0, 9), st.integers(0, 10**12), st.sampled_from([2**96 - 1, 2**95]))
happened: Counter[str] = Counter()


class StakeMachine(RuleBasedStateMachine):
    """Each rule does one thing to both; both must answer alike, and the invariants must hold after it."""

    @initialize(held=st.integers(1, 10**9))
    def deploy(self, held: int) -> None:
        self.real = EscrowOnRevm(terms=TERMS, funds=held)
        self.model = EscrowModel(self.real.domain, TERMS.exit_delay_s, TERMS.step_s)
        self.model.mint(FUNDER, held)
        self.model.approve(FUNDER, EVERYTHING)
        self.now_s = 1_800_000_000
        self.real.set_time(self.now_s)
        for key in PROVIDERS:
            for side in (self.real, self.model):
                side.mint(key.address, PURSE)
                side.approve(key.address, EVERYTHING)
        self.lane = LaneKey(PAYER.address, PROVIDERS[0].address, SESSION.address)
        self.real.deposit(self.lane, held)
        self.model.deposit(FUNDER, self.lane, held)
        self.total = held + 2 * PURSE
        for key in PROVIDERS:
            self.real.add_stake(key.address, 10**6)
            self.model.add_stake(key.address, 10**6)
        self.unlocked_at: dict[int, int] = {}
        self.slashed: set[tuple[int, int, bytes, int]] = set()

    @rule(who=providers, amount=amounts)
    def add(self, who: int, amount: int) -> None:
        sender = PROVIDERS[who].address
        done = both(happened, lambda: self.real.add_stake(sender, amount), lambda: self.model.add_stake(sender, amount))
        if done:
            assert self.real.stake_of(sender).unlock_at == 0, "I13: new money stops a leave"
            self.unlocked_at.pop(who, None)

    @rule(who=providers)
    def leave(self, who: int) -> None:
        sender = PROVIDERS[who].address
        done = both(happened, lambda: self.real.leave_stake(sender), lambda: self.model.leave_stake(sender, self.now_s))
        if done:
            self.unlocked_at[who] = self.now_s + STAKE_DELAY_S

    @rule(who=providers, wait=st.sampled_from([-1, 0, 1]))
    def take(self, who: int, wait: int) -> None:
        # Just before, at, or just after the moment it is due.
        self.pass_time(max(0, self.unlocked_at.get(who, self.now_s) + wait - self.now_s))
        sender = PROVIDERS[who].address
        stake, before = self.real.stake_of(sender), self.real.token_balance(sender)
        done = both(happened, lambda: self.real.take_stake(sender), lambda: self.model.take_stake(sender, self.now_s))
        # The test's own clock says when it is due.
        due = self.unlocked_at.get(who)
        assert done == (due is not None and self.now_s >= due), "I13"
        if done:
            del self.unlocked_at[who]
            assert self.real.token_balance(sender) - before == stake.amount, "I13"
            happened["taken"] += stake.amount > 0

    @rule(
        who=providers,
        kind=st.sampled_from([0, 1, 1, 2]),
        subject=st.sampled_from(SUBJECTS),
        sequence=st.sampled_from([1, 1, 2**64 - 1]),
        bodies=st.tuples(st.sampled_from(BODIES[:1]), st.sampled_from(BODIES[::-1])),
        tricks=st.sampled_from(["none", "none", "none", "alien", "swapped", "elsewhere"]),
        by_itself=st.booleans(),
        leave_first=st.booleans(),
    )
    def slash(
        self,
        *,
        who: int,
        kind: int,
        subject: bytes,
        sequence: int,
        bodies: tuple[bytes, bytes],
        tricks: str,
        by_itself: bool,
        leave_first: bool,
    ) -> None:
        if leave_first:
            self.leave(who)
        proof = self.proof(PROVIDERS[who], kind=kind, subject=subject, sequence=sequence, bodies=bodies, tricks=tricks)
        sender = PROVIDERS[who].address if by_itself else REPORTER.address
        before, purse = self.real.stake_of(proof.provider), self.real.token_balance(sender)
        done = both(happened, lambda: self.real.slash(sender, proof), lambda: self.model.slash(sender, proof))
        if not done:
            assert self.real.stake_of(proof.provider) == before
            return
        fault = (who, kind, subject, sequence)
        assert fault not in self.slashed, "I13: once for each thing"
        assert tricks == "none", "I13: needs two signatures of the provider, over two bodies"
        assert bodies[0] != bodies[1], "I13"
        self.slashed.add(fault)
        after = self.real.stake_of(proof.provider)
        lost, gained = before.amount - after.amount, self.real.token_balance(sender) - purse
        assert (lost, after.unlock_at) == ((before.amount + 1) // 2, before.unlock_at), "I13"
        assert gained == lost // 4, "A16: whoever shows it gets a quarter, be it the provider itself"
        happened["slashed"] += 1
        happened["slashed while leaving"] += before.unlock_at > 0

    def proof(
        self, key: SessionKey, *, kind: int, subject: bytes, sequence: int, bodies: tuple[bytes, bytes], tricks: str
    ) -> Contradiction:
        signers = (key, REPORTER) if tricks == "alien" else (key, key)
        domain = structs.replace(self.real.domain, chain_id=2) if tricks == "elsewhere" else self.real.domain
        signed = [
            signer.sign(statement_digest(domain, min(kind, 1), subject, sequence, body))
            for signer, body in zip(signers, bodies, strict=True)
        ]
        if tricks == "swapped":
            signed = [signed[0], signed[0]]
        return Contradiction(
            provider=key.address,
            kind=kind,
            subject=subject,
            sequence=sequence,
            body_a=bodies[0],
            signature_a=signed[0],
            body_b=bodies[1],
            signature_b=signed[1],
        )

    @rule(part=st.integers(1, 10**9))
    def redeem(self, part: int) -> None:
        row = sign_voucher(SESSION, self.real.domain, self.lane, part).row()
        assert (
            self.real.redeem_many(self.lane.payee, [row])
            == self.model.redeem_many(self.lane.payee, [row])[0][1]["paid"]
        )

    @rule(seconds=st.integers(0, STAKE_DELAY_S))
    def pass_time(self, seconds: int) -> None:
        self.now_s += seconds
        self.real.set_time(self.now_s)

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        stakes = [self.real.stake_of(key.address) for key in PROVIDERS]
        assert stakes == [self.model.stakes.of(key.address) for key in PROVIDERS]
        lane = self.real.lane(self.lane)
        held = lane.balance - lane.claimed + sum(stake.amount for stake in stakes)
        assert self.real.token_balance(self.real.domain.escrow) == held, "I1"
        holders = [FUNDER, NOBODY, PAYER.address, REPORTER.address, self.real.domain.escrow]
        holders += [key.address for key in PROVIDERS]
        assert sum(map(self.real.token_balance, holders)) == self.total, "I12"


def test_a_stake_is_held_and_lost_as_the_model_says() -> None:
    done = ("taken", "slashed", "slashed while leaving")
    refused = ("StakeLocked", "NothingStaked", "AlreadyPunished", "NotItsStatement", "NoContradiction")
    fuzz(StakeMachine, happened, done + refused, examples=150, steps=40)
