"""What the owner asks of a node's money, asked of whole nodes in virtual time."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from ledger.hot_payer import HotPayer
from ledger.payout_rules import PayoutPlan
from ledger.ports import LaneKey
from ledger.voucher import SessionKey
from market.errors import InvalidRequest
from node.trading import World
from node.wallet_desk import WalletDesk, open_wallet_desk
from tests.fakes.memory_tokens import TOKEN, MemoryTokens
from tests.simulation.marketplace import JobScript, Marketplace, Participant, request, simulate

PRICE = 100_000
TOKENS = 10**9
OWNER = b"\x0a" * 20
EXIT_DELAY_S = 120


class Owner:
    """A participant with a desk for its money.

    Attributes:
        node: as everywhere in the simulation.
    """

    def __init__(self, market: Marketplace, participant: Participant) -> None:
        self.market = market
        self.participant = participant
        self.account = participant.wallet.address
        self.name = participant.signer.key.hex()

    async def desk(self, *, payout: PayoutPlan | None = None) -> WalletDesk:
        """A new desk, as a start of the node makes one."""
        market, participant = self.market, self.participant
        node = participant.node
        assert node is not None
        view = market.chain.view(self.account)
        world = World(
            network=market.network._nodes[participant.signer.key],  # type: ignore[arg-type]
            journal=participant.journal,
            chain=view,
            clock=participant.clock,
            rng=market.rng,
            signer=participant.signer,
            session_key=participant.session_key,
            wallet=participant.wallet,
            folder=market.folder / participant.name,
            tokens=MemoryTokens(view),
        )
        return await open_wallet_desk(world, node, payout)

    def tokens(self, account: bytes | None = None) -> int:
        chain = self.market.chain
        return chain.state_at(chain.head_number()).model.tokens.get(account or self.account, 0)

    def lane_to(self, other: Owner) -> LaneKey:
        return self.participant.lane_to(other.participant)

    async def run_job(self) -> None:
        node = self.participant.node
        assert node is not None
        desk = node.buying.desk
        job = await desk.submit(request())
        with trio.fail_after(600):
            while job in desk.jobs:
                await trio.sleep(0.5)


def visit(ask: Callable[[Owner, Owner], Awaitable[Any]], **job: Any) -> Any:
    """Run a buyer and a seller, and let their owners ask."""

    async def scenario(market: Marketplace) -> Any:
        buyer, seller = market.add("buyer", tokens=TOKENS), market.add("seller")
        seller.sells(PRICE)
        seller.job = JobScript(**{"duration_ms": 20_000, **job})
        async with trio.open_nursery() as nursery, market.introducing():
            for participant in (buyer, seller):
                nursery.start_soon(_stay, participant)
            with trio.fail_after(60):
                while buyer.node is None or not len(buyer.node.intake.book):
                    await trio.sleep(0.1)
            found = await ask(Owner(market, buyer), Owner(market, seller))
            nursery.cancel_scope.cancel()
        return found

    return simulate(1, scenario)


async def _stay(participant: Participant) -> None:
    async with participant.running():
        await trio.sleep_forever()


def is_plain(value: Any) -> bool:
    return bool(json.loads(json.dumps(value)) == value)


def test_a_deposit_is_planned_made_kept_and_taken_back_together():
    async def ask(buyer: Owner, seller: Owner) -> None:
        desk = await buyer.desk()
        plan = await desk.plan_deposit(seller.name[:8], "2.5", sender="0x" + "0b" * 20)
        assert is_plain(plan)
        assert (plan["provider"], plan["payee"]) == (seller.name, "0x" + seller.account.hex())
        assert plan["tokens_after"]["units"] == TOKENS - 2_500_000
        assert (plan["way"], [one["what"] for one in plan["transactions"]]) == ("permit", ["approve", "deposit"])
        assert buyer.tokens() == TOKENS
        done = await desk.deposit(seller.name, "2.5")
        assert is_plain(done)
        assert done["lane"]["available"]["units"] == 2_500_000
        assert buyer.tokens() == TOKENS - 2_500_000
        await trio.sleep(300)  # the sweep takes idle lanes home; this one is wanted
        assert buyer.tokens() == TOKENS - 2_500_000
        taken = await desk.withdraw(seller.name)
        assert is_plain(taken)
        assert taken["finished"]
        assert taken["together"]
        assert taken["returned"] == {"amount": "2.500000", "units": 2_500_000}
        assert taken["transaction"] is not None
        assert buyer.tokens() == TOKENS

    visit(ask)


def test_what_was_filled_by_hand_is_still_kept_after_a_restart():
    async def ask(buyer: Owner, seller: Owner) -> None:
        await (await buyer.desk()).deposit(seller.name, "2.5")
        buyer.participant.crash()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stay, buyer.participant)
            with trio.fail_after(60):
                while buyer.participant.node is None or not len(buyer.participant.node.intake.book):
                    await trio.sleep(0.1)
            await trio.sleep(300)  # many sweeps, the first of them at the start
            assert buyer.tokens() == TOKENS - 2_500_000
            assert (await (await buyer.desk()).withdraw(seller.name))["finished"]
            assert buyer.tokens() == TOKENS
            nursery.cancel_scope.cancel()

    visit(ask)


def test_jobs_use_what_was_filled_by_hand_and_leave_the_rest():
    async def ask(buyer: Owner, seller: Owner) -> None:
        desk = await buyer.desk()
        await desk.deposit(seller.name, "5")
        await buyer.run_job()
        kinds = [line["kind"] for line in await desk.wallet_history()]
        assert kinds.count("deposit") == 1
        taken = await desk.withdraw(seller.name)
        paid = seller.tokens()
        assert paid > 0
        assert taken["returned"] is not None
        assert taken["returned"]["units"] == 5_000_000 - paid
        assert buyer.tokens() + paid == TOKENS

    visit(ask)


def test_without_the_provider_the_exit_runs_and_the_same_word_finishes_it():
    async def ask(buyer: Owner, seller: Owner) -> None:
        desk = await buyer.desk()
        await desk.deposit(seller.name, "2")
        begun = await desk.withdraw(seller.name, alone=True)
        assert (begun["finished"], begun["together"], begun["returned"]) == (False, False, None)
        assert begun["exit_at"] is not None
        buyer.participant.node.buying.lanes.kept.add(seller.account)  # type: ignore[union-attr]
        await trio.sleep(EXIT_DELAY_S + 5)
        done = await desk.withdraw(seller.name, alone=True)
        assert (done["finished"], done["together"]) == (True, False)
        assert buyer.tokens() == TOKENS
        kinds = [line["kind"] for line in await desk.wallet_history()]
        assert kinds == ["exit", "exit_started", "deposit"]

    visit(ask)


@pytest.mark.parametrize(
    ("provider", "code"),
    [("ffff", "not_found"), ("", "not_found"), ("abc", "not_found"), ("zz" * 8, "not_found"), ("../x", "not_found")],
)
def test_a_provider_nobody_knows_is_not_found(provider: str, code: str):
    async def ask(buyer: Owner, _seller: Owner) -> None:
        desk = await buyer.desk()
        for question in (desk.plan_deposit(provider, "1"), desk.deposit(provider, "1"), desk.withdraw(provider)):
            with pytest.raises(InvalidRequest) as refused:
                await question
            assert refused.value.code == code
        assert buyer.tokens() == TOKENS

    visit(ask)


@pytest.mark.parametrize("amount", ["0", "-1", "x", "", "0.0000001", "99999999999999999999999999999"])
def test_an_amount_that_is_none_moves_nothing(amount: str):
    async def ask(buyer: Owner, seller: Owner) -> None:
        desk = await buyer.desk()
        for question in (desk.plan_deposit(seller.name, amount), desk.deposit(seller.name, amount)):
            with pytest.raises(InvalidRequest):
                await question
        assert buyer.tokens() == TOKENS

    visit(ask)


def test_more_than_the_wallet_holds_is_refused_and_nothing_is_left_pending():
    async def ask(buyer: Owner, seller: Owner) -> None:
        desk = await buyer.desk()
        with pytest.raises(InvalidRequest) as refused:
            await desk.deposit(seller.name, "1001")
        assert refused.value.code == "tokens_short"
        await desk.deposit(seller.name, "1000")
        assert buyer.tokens() == 0

    visit(ask)


def test_an_empty_lane_and_ones_own_are_explained():
    async def ask(buyer: Owner, seller: Owner) -> None:
        desk = await buyer.desk()
        with pytest.raises(InvalidRequest) as refused:
            await desk.withdraw(seller.name)
        assert refused.value.code == "nothing_held"
        with pytest.raises(InvalidRequest) as refused:
            await desk.deposit("0x" + buyer.account.hex(), "1")
        assert refused.value.code == "own_lane"
        mistyped = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92265"  # its last digit is a 6
        for question in (desk.plan_deposit(seller.name, "1", sender="me"), desk.deposit(mistyped, "1")):
            with pytest.raises(InvalidRequest) as refused:
                await question
            assert refused.value.code == "bad_account"

    visit(ask)


def test_a_lane_a_job_is_paid_from_is_left_alone():
    async def ask(buyer: Owner, seller: Owner) -> None:
        desk = await buyer.desk()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(buyer.run_job)
            with trio.fail_after(60):
                while not any(lane.open_leases for lane in desk._payer.summary()):
                    await trio.sleep(0.5)
            await trio.sleep(5)
            with pytest.raises(InvalidRequest) as refused:
                await desk.withdraw(seller.name)
            assert refused.value.code == "lane_in_use"

    visit(ask)


def test_a_stranger_may_fill_our_lane_with_the_ready_made_call_and_history_shows_it():
    async def ask(buyer: Owner, seller: Owner) -> None:
        cold = SessionKey(b"c" * 32).address
        market = buyer.market
        market.chain.mint(cold, 3_000_000)
        market.chain._now().model.approve(cold)
        lane = buyer.lane_to(seller)
        market.chain.give_gas(cold)
        market.chain.send(cold, 90_000, lambda model, _now: model.deposit(cold, lane, 3_000_000))
        await trio.sleep(5)
        desk = await buyer.desk()
        await desk._payer.refundable(seller.account)
        (line,) = await desk.wallet_history()
        assert (line["kind"], line["amount"]["units"]) == ("deposit", 3_000_000)  # type: ignore[index]
        assert line["transaction"] is not None
        taken = await desk.withdraw(seller.name)
        assert taken["finished"]
        assert buyer.tokens() == TOKENS + 3_000_000

    visit(ask)


def test_earnings_are_not_sent_where_they_would_be_lost():
    async def ask(_buyer: Owner, seller: Owner) -> None:
        for nobody in (seller.account, seller.market.chain.domain.escrow, TOKEN):
            with pytest.raises(InvalidRequest) as refused:
                await seller.desk(payout=PayoutPlan(to=nobody, threshold=1))
            assert refused.value.code == "bad_config"

    visit(ask)


def test_earnings_equal_the_receipts_and_go_to_the_owner():
    async def ask(buyer: Owner, seller: Owner) -> None:
        await buyer.run_job()
        await trio.sleep(120)
        plan = PayoutPlan(to=OWNER, threshold=1)
        desk = await seller.desk(payout=plan)
        by_gpu = await desk.earnings("gpu")
        earned = seller.tokens()
        assert earned > 0
        for by in ("day", "gpu", "job"):
            view = await desk.earnings(by)
            assert is_plain(view)
            assert view["total"]["units"] == earned == sum(line["amount"]["units"] for line in view["lines"])
        assert [line["key"] for line in by_gpu["lines"]] == ["none"]
        assert [one["units"] for one in view["settled"].values()] == [earned, earned, 0, 0]  # type: ignore[attr-defined]
        waiting = await desk.payouts()
        assert waiting["waiting"] is not None
        assert waiting["waiting"]["units"] == earned
        await desk.keeper.look()
        view = await desk.payouts()
        assert is_plain(view)
        assert (view["paid_out"]["units"], [one["ok"] for one in view["payouts"]]) == (earned, [True])
        assert (seller.tokens(), seller.tokens(OWNER)) == (0, earned)
        assert (await desk.wallet_history())[0]["kind"] == "payout"
        with pytest.raises(InvalidRequest):
            await desk.earnings("moon")
        assert (await (await buyer.desk()).earnings("day"))["lines"] == []

    visit(ask)


def test_history_adds_up_for_both_sides():
    async def ask(buyer: Owner, seller: Owner) -> None:
        await buyer.run_job()
        await trio.sleep(120)
        earned = seller.tokens()
        for owner in (buyer, seller):
            lines = await (await owner.desk()).wallet_history()
            assert is_plain(lines)
            drawn = sum(line["amount"]["units"] for line in lines if line["kind"] in ("redeem", "close"))  # type: ignore[index]
            signed = sum(line["amount"]["units"] for line in lines if line["kind"] == "vouchers")  # type: ignore[index]
            put_in = sum(line["amount"]["units"] for line in lines if line["kind"] == "deposit")  # type: ignore[index]
            back = sum(line["returned"]["units"] for line in lines if line["returned"])
            assert drawn == signed == earned
            assert put_in == drawn + back
        bought = [line for line in lines if line["side"] == "paying" and line["kind"] == "deposit"]
        assert all(line["transaction"] for line in bought)
        sold = [line for line in lines if line["side"] == "paid" and line["kind"] in ("deposit", "close")]
        assert len(sold) == 2
        theirs = await (await buyer.desk()).wallet_history()
        assert {line["transaction"] for line in sold} == {line["transaction"] for line in theirs} - {None}
        alone = await seller.desk()
        alone._world.chain.offline = True  # type: ignore[attr-defined]
        untold = await alone.wallet_history()
        assert [line["kind"] for line in untold] == [line["kind"] for line in lines]
        assert {line["transaction"] for line in untold if line["kind"] == "deposit"} == {None}

    visit(ask)


def test_a_days_limit_stops_the_next_job_and_not_the_one_that_runs():
    async def ask(buyer: Owner, seller: Owner) -> None:
        payer = buyer.participant.node.buying.payer  # type: ignore[union-attr]
        assert isinstance(payer, HotPayer)
        payer.limit = 61_000  # a job may cost 60,000, and costs 2,000
        await buyer.run_job()
        assert payer.vouched_today() == 2_000
        assert seller.tokens() == 2_000
        with pytest.raises(InvalidRequest) as refused:
            await payer.reserve(b"l" * 16, seller.account, 60_000)
        assert refused.value.code == "spending_limit"
        await payer.reserve(b"m" * 16, seller.account, 59_000)

    visit(ask)
