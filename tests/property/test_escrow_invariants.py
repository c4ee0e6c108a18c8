"""The shipped escrow against its model, and the invariants that money rests on (numbered as in ledger/contracts)."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger.create2 import DelayTerms
from ledger.ports import LaneDeposit, LaneKey, LaneOnChain
from ledger.voucher import ROW_BYTES, SessionKey, close_digest, release_digest, sign_voucher
from tests.fakes.escrow_fuzz import both, fuzz
from tests.fakes.escrow_model import MAX_AMOUNT, EscrowModel
from tests.fakes.escrow_on_revm import EVERYTHING, FUNDER, EscrowOnRevm

TERMS = DelayTerms(60, 60)
EXIT_DELAY_S = TERMS.exit_delay_s
FUNDS = 2**98
PURSE = 2**90
"""What each payer has of its own."""
PAYERS = [SessionKey(bytes([16 + i]) * 32) for i in range(3)]
PAYEES = [SessionKey(bytes([32 + i]) * 32) for i in range(2)]
SESSIONS = [SessionKey(bytes([48 + i]) * 32) for i in range(3)]
OUTSIDER = SessionKey(b"\x77" * 32)

payers = st.integers(0, 2)
payees = st.integers(0, 1)
amounts = st.integers(0, 63).flatmap(lambda n: st.just(MAX_AMOUNT - n) if n < 2 else st.integers(0, 10**9))
happened: Counter[str] = Counter()
"""What the whole run did: a contract that refuses everybody would keep every safety invariant (I14)."""


def lane_of(payer: int, payee: int) -> LaneKey:
    return LaneKey(PAYERS[payer].address, PAYEES[payee].address, SESSIONS[payer].address)


LANES = [lane_of(payer, payee) for payer in range(3) for payee in range(2)]


class EscrowMachine(RuleBasedStateMachine):
    """Each rule does one thing to both; both must answer alike, and the invariants must hold after it."""

    @initialize(filled=st.lists(st.integers(0, 10**9), min_size=6, max_size=6))
    def deploy(self, filled: list[int]) -> None:
        self.real = EscrowOnRevm(terms=TERMS, funds=FUNDS)
        self.model = EscrowModel(self.real.domain, EXIT_DELAY_S, TERMS.step_s)
        self.model.mint(FUNDER, FUNDS)
        self.model.approve(FUNDER, EVERYTHING)
        for key in PAYERS:
            for side in (self.real, self.model):
                side.mint(key.address, PURSE)
                side.approve(key.address, EVERYTHING)
        self.now_s = 1_800_000_000
        self.real.set_time(self.now_s)
        self.rows: list[tuple[int, bytes]] = []
        self.most_signed: dict[LaneKey, int] = {}
        self.seen: dict[LaneKey, LaneOnChain] = {}
        self.consents: list[tuple[LaneKey, int, int, bytes, bytes]] = []
        self.releases: list[tuple[LaneKey, int, int, bytes]] = []
        self.window_ends: dict[LaneKey, int] = {}
        for index, amount in enumerate(filled):
            self.deposit(index // 2, index % 2, amount)

    @rule(payer=payers, payee=payees, amount=amounts)
    def deposit(self, payer: int, payee: int, amount: int) -> None:
        key = lane_of(payer, payee)
        exit_before = self.real.lane(key).exit_at
        both(happened, lambda: self.real.deposit(key, amount), lambda: self.model.deposit(FUNDER, key, amount))
        assert self.real.lane(key).exit_at == exit_before, "I7"

    @rule(
        payer=payers,
        parts=st.lists(st.tuples(payers, payees, amounts, st.sampled_from([0, 0, 1, 59, 60, 61, 255])), max_size=4),
        own=st.booleans(),
    )
    def deposit_many(self, payer: int, parts: list[tuple[int, int, int, int]], own: bool) -> None:
        # Mostly into the sender's own lanes: only there may it choose a window.
        deposits = [
            LaneDeposit(lane=lane_of(payer if own else other, payee), amount=amount, delay_s=steps * TERMS.step_s)
            for other, payee, amount, steps in parts
        ]
        sender = PAYERS[payer].address
        done = both(
            happened,
            lambda: self.real.deposit_many(deposits, step_s=TERMS.step_s, sender=sender),
            lambda: self.model.deposit_many(sender, deposits),
        )
        happened["windows chosen"] += done and any(one.delay_s for one in deposits)

    @rule(place=st.integers(0, 2), nobody=st.booleans(), amount=st.integers(0, 9))
    def deposit_for_nobody(self, place: int, nobody: bool, amount: int) -> None:
        parties = [PAYERS[0].address, PAYEES[0].address, SESSIONS[0].address]
        parties[place] = bytes(20) if nobody else self.real.domain.escrow
        key = LaneKey(*parties)
        both(happened, lambda: self.real.deposit(key, amount), lambda: self.model.deposit(FUNDER, key, amount))
        assert self.real.lane(key).balance == 0, "A10"

    @rule(payer=payers, payee=payees, more=st.integers(0, 10**9), whose=st.sampled_from(["own", "own", "alien"]))
    def sign(self, payer: int, payee: int, more: int, whose: str) -> None:
        key = lane_of(payer, payee)
        cumulative = min(self.most_signed.get(key, 0) + more, MAX_AMOUNT)
        if whose == "own":
            self.most_signed[key] = cumulative
            self.rows.append((payee, sign_voucher(SESSIONS[payer], self.real.domain, key, cumulative).row()))
        else:
            alien = LaneKey(key.payer, key.payee, OUTSIDER.address)
            self.rows.append((payee, sign_voucher(OUTSIDER, self.real.domain, alien, cumulative).row()))

    @rule(payee=payees, garbage=st.binary(min_size=ROW_BYTES, max_size=ROW_BYTES))
    def receive_garbage(self, payee: int, garbage: bytes) -> None:
        self.rows.append((payee, garbage))

    @rule(pick=st.integers(0, 10**6), place=st.integers(0, ROW_BYTES - 1), flip=st.integers(1, 255))
    def tamper(self, pick: int, place: int, flip: int) -> None:
        if self.rows:
            payee, row = self.rows[pick % len(self.rows)]
            self.rows.append((payee, row[:place] + bytes([row[place] ^ flip]) + row[place + 1 :]))

    @rule(payer=payers, payee=payees, more=st.integers(1, 10**9))
    def work_and_redeem(self, payer: int, payee: int, more: int) -> None:
        self.sign(payer, payee, more, "own")
        self.redeem(payee, [len(self.rows) - 1], True)

    @rule(payee=payees, picks=st.lists(st.integers(0, 10**6), max_size=6), anybodys=st.booleans())
    def redeem(self, payee: int, picks: list[int], anybodys: bool) -> None:
        account = PAYEES[payee].address
        known = [row for whose, row in self.rows if anybodys or whose == payee]
        rows = [known[pick % len(known)] for pick in picks] if known else []
        before = self.real.token_balance(account)
        promised = self.real.preview_redeem(account, rows)
        paid = self.real.redeem_many(account, rows)  # I10: raises for no content at all
        assert self.model.redeem_many(account, rows)[0][1]["paid"] == paid == promised
        assert self.real.token_balance(account) - before == paid, "I11"
        assert self.real.redeem_many(account, rows) == 0, "I5"
        happened["redeemed"] += paid > 0
        happened["skipped rows"] += len(rows)

    @rule(payer=payers, payee=payees, more=st.integers(1, 10**9), to=st.integers(0, 3))
    def work_and_redeem_elsewhere(self, payer: int, payee: int, more: int, to: int) -> None:
        self.sign(payer, payee, more, "own")
        account, rows = PAYEES[payee].address, [self.rows[-1][1], bytes(ROW_BYTES)]
        purse = [OUTSIDER.address, PAYERS[0].address, bytes(20), self.real.domain.escrow][to]
        before = self.real.token_balance(account), self.real.token_balance(purse)
        promised = self.real.preview_redeem(account, rows)
        done = both(
            happened,
            lambda: self.real.redeem_many_to(account, purse, rows),
            lambda: self.model.redeem_many(account, rows, to=purse),
        )
        assert done == (to < 2)
        moved = self.real.token_balance(account) - before[0], self.real.token_balance(purse) - before[1]
        assert moved == (0, promised if done else 0), "I11"
        happened["redeemed elsewhere"] += moved[1] > 0

    @rule(payer=payers, payee=payees)
    def start_exit(self, payer: int, payee: int) -> None:
        key = lane_of(payer, payee)
        window_s = self.model.lane(key).delay_s
        done = both(
            happened,
            lambda: self.real.start_exit(key.payer, key.payee, key.signer),
            lambda: self.model.start_exit(key.payer, key.payee, key.signer, self.now_s),
        )
        if done:
            self.window_ends[key] = self.now_s + window_s

    @rule(payer=payers, payee=payees, sender=st.sampled_from(["payer", "payee", "outsider"]))
    def cancel_exit(self, payer: int, payee: int, sender: str) -> None:
        key = lane_of(payer, payee)
        account = {"payer": key.payer, "payee": key.payee, "outsider": OUTSIDER.address}[sender]
        both(
            happened,
            lambda: self.real.cancel_exit(account, key.payee, key.signer),
            lambda: self.model.cancel_exit(account, key.payee, key.signer),
        )

    @rule(pick=st.integers(0, 5), wait=st.sampled_from([-1, 0, 1]))
    def finish_exit(self, pick: int, wait: int) -> None:
        running = [key for key in LANES if self.model.lane(key).exit_at]
        key = (running or LANES)[pick % len(running or LANES)]
        # Just before, at, or just after the moment it is due.
        self.pass_time(max(0, self.model.lane(key).exit_at + wait - self.now_s))
        lane, before = self.model.lane(key), self.real.token_balance(key.payer)
        done = both(happened, lambda: self.real.finish_exit(key), lambda: self.model.finish_exit(key, self.now_s))
        # The model's clock, not the contract's, says when an exit is due.
        assert done == (lane.exit_at != 0 and self.now_s >= lane.exit_at), "I6, I8"
        if done:
            assert self.now_s >= self.window_ends[key], "I8"
            assert self.real.token_balance(key.payer) - before == lane.balance - lane.claimed, "I6"
            happened["exits"] += 1

    @rule(payer=payers, payee=payees, part=st.integers(-20, 120), life=st.sampled_from([-1, 0, 10**5, 10**6]))
    def consent(self, payer: int, payee: int, part: int, life: int) -> None:
        key = lane_of(payer, payee)
        lane = self.model.lane(key)
        cumulative = max(0, lane.claimed + (lane.balance - lane.claimed) * part // 100)
        deadline_s = self.now_s + life
        digest = close_digest(self.real.domain, key, epoch=lane.epoch, cumulative=cumulative, deadline_s=deadline_s)
        signatures = PAYEES[payee].sign(digest), PAYERS[payer].sign(digest)
        self.consents.append((key, cumulative, deadline_s, *signatures))

    @rule(pick=st.integers(0, 10**6), sender=st.sampled_from(["payer", "payee", "outsider"]), missing=st.integers(0, 5))
    def close_together(self, pick: int, sender: str, missing: int) -> None:
        if not self.consents:
            return
        key, cumulative, deadline_s, *signatures = self.consents[pick % len(self.consents)]
        if missing < 2:
            # What anybody could put together without one party: the other one's signature in its place.
            signatures[missing] = signatures[1 - missing]
        account = {"payer": key.payer, "payee": key.payee, "outsider": OUTSIDER.address}[sender]
        lane = self.model.lane(key)
        before = self.real.token_balance(key.payee), self.real.token_balance(key.payer)
        done = both(
            happened,
            lambda: self.real.close_together(
                account, key, cumulative=cumulative, deadline_s=deadline_s, signatures=(signatures[0], signatures[1])
            ),
            lambda: self.model.close_together(
                account,
                key,
                cumulative=cumulative,
                deadline_s=deadline_s,
                payee_signature=signatures[0],
                payer_signature=signatures[1],
                now_s=self.now_s,
            ),
        )
        if done:
            after = self.real.token_balance(key.payee), self.real.token_balance(key.payer)
            moved = after[0] - before[0], after[1] - before[1]
            assert moved == (cumulative - lane.claimed, lane.balance - cumulative), "I9"
            happened["closes"] += 1

    @rule(
        payer=payers, payee=payees, part=st.integers(-20, 120), life=st.sampled_from([-1, 0, 10**6]), now=st.booleans()
    )
    def let_go(self, payer: int, payee: int, part: int, life: int, now: bool) -> None:
        key = lane_of(payer, payee)
        lane = self.model.lane(key)
        kept = max(0, lane.claimed + (lane.balance - lane.claimed) * part // 100)
        terms = {"epoch": lane.epoch, "new_balance": kept, "deadline_s": self.now_s + life}
        signature = PAYEES[payee].sign(release_digest(self.real.domain, key, **terms))
        self.releases.append((key, kept, self.now_s + life, signature))
        if now:
            self.release(0, False)

    @rule(pick=st.integers(0, 10**6), forged=st.booleans())
    def release(self, pick: int, forged: bool) -> None:
        if not self.releases:
            return
        key, kept, deadline_s, signature = self.releases[-1 - pick % min(4, len(self.releases))]
        if forged:
            signature = signature[:1] + bytes([signature[1] ^ 1]) + signature[2:]
        before, lane = self.real.token_balance(key.payer), self.model.lane(key)
        done = both(
            happened,
            lambda: self.real.release(key, new_balance=kept, deadline_s=deadline_s, signature=signature),
            lambda: self.model.release(
                key.payer,
                key.payee,
                key.signer,
                new_balance=kept,
                deadline_s=deadline_s,
                payee_signature=signature,
                now_s=self.now_s,
            ),
        )
        assert not (done and forged), "I9"
        if done:
            assert self.real.token_balance(key.payer) - before == lane.balance - kept, "I9"
            assert self.real.lane(key).exit_at == lane.exit_at, "I7"
            happened["releases"] += 1

    @rule(seconds=st.integers(0, EXIT_DELAY_S))
    def pass_time(self, seconds: int) -> None:
        self.now_s += seconds
        self.real.set_time(self.now_s)

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        lanes = {key: self.real.lane(key) for key in LANES}
        assert lanes == {key: self.model.lane(key) for key in LANES}
        held = sum(lane.balance - lane.claimed for lane in lanes.values())
        assert self.real.token_balance(self.real.domain.escrow) == held, "I1"
        assert sum(map(self.real.token_balance, self.holders())) == FUNDS + len(PAYERS) * PURSE, "I12"
        for key, lane in lanes.items():
            before = self.seen.get(key, LaneOnChain())
            assert lane.claimed <= lane.balance, "I2"
            assert lane.claimed >= before.claimed, "I3"
            assert lane.epoch >= before.epoch
            assert lane.delay_s >= before.delay_s or before.balance == before.claimed, "I8"
            if lane.epoch != before.epoch and lane.balance == lane.claimed:
                assert lane.exit_at in (0, before.exit_at), "I7"
        self.seen = lanes

    @invariant()
    def nobody_drew_more_than_was_signed(self) -> None:
        if not hasattr(self, "model"):
            return
        agreed: dict[LaneKey, int] = {}
        for key, cumulative, *_ in self.consents:
            agreed[key] = max(agreed.get(key, 0), cumulative)
        for key in LANES:
            allowed = max(self.most_signed.get(key, 0), agreed.get(key, 0))
            assert self.real.lane(key).claimed <= allowed, "I4"

    def holders(self) -> list[bytes]:
        return [FUNDER, self.real.domain.escrow] + [key.address for key in (*PAYERS, *PAYEES, OUTSIDER)]


def test_the_escrow_keeps_its_invariants_and_does_what_the_model_says() -> None:
    done = ("redeemed", "redeemed elsewhere", "exits", "closes", "releases", "windows chosen")
    refused = ("ConsentMissing", "ExitNotDue", "ConsentExpired", "DelayMayOnlyGrow", "NotThePayer")
    fuzz(EscrowMachine, happened, done + refused, examples=200, steps=50)
