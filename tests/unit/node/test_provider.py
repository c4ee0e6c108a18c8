"""Awards at the provider's desk: the first valid one wins, a repeated one changes nothing, a forged one costs trust."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace
from trio.testing import MockClock

from market import codec
from market.errors import FabricError, PeerFault, Unavailable
from market.inventory import FENCING_LUCK
from market.records import InputFile, JobSpec, Lease, Refusal, Requirements
from market.signing import spec_hash, verify
from node import wire
from node.lease_board import lease_id_of
from node.provider import AwardRequest
from tests.fakes.desks import Seller, a_seller, award_request
from tests.fakes.samples import BUYER, NOW, SALT, SELLER, SPEC, a_signer, an_award

MALLORY = a_signer("mallory")


def refusal_in(answer: Any) -> tuple[str, str]:
    refusal = verify(answer["refusal"], Refusal)
    assert refusal.signer == SELLER.key
    return str(refusal.record.reason), refusal.record.detail


async def with_spec(seller: Seller, spec: JobSpec, **changes: Any) -> Any:
    award = seller.award(
        spec_hash=spec_hash(spec, SALT),
        slots=spec.requirements.slots,
        max_duration_ms=spec.max_duration_ms,
        **changes,
    )
    return await seller.answer(award, spec=spec)


async def test_an_honest_award_becomes_a_lease():
    async with a_seller() as seller:
        award = seller.award(slots=1)
        lease = verify((await seller.answer(award))["lease"], Lease).record
        assert lease.award == award.raw
        assert lease.lease_id == lease_id_of(BUYER.key, SELLER.key, award.record.bid_id)
        assert (lease.slots, lease.fencing // FENCING_LUCK, lease.granted_at) == ((0,), NOW, NOW)
        assert seller.machine.inventory.free_slots == 1
        await trio.testing.wait_all_tasks_blocked()
        ((duty, board),) = seller.duties
        assert (duty, board.lease_id) == ("confirm_funding", lease.lease_id)


async def test_the_same_award_is_answered_with_the_same_lease():
    async with a_seller() as seller:
        award = seller.award()
        first = await seller.answer(award)
        assert await seller.answer(award) == first
        assert seller.machine.inventory.free_slots == 1
        assert len(seller.desk.boards) == 1


async def test_the_same_award_sent_many_times_at_once_is_one_lease():
    async with a_seller() as seller:
        award, answers = seller.award(), []

        async def send() -> None:
            answers.append(await seller.answer(award))

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(send)
        assert all(answer == answers[0] for answer in answers)
        assert seller.machine.inventory.free_slots == 1


async def test_another_award_on_the_same_bid_is_answered_with_the_lease_there_is():
    async with a_seller() as seller:
        first = await seller.answer(seller.award())
        assert await seller.answer(seller.award(slots=2, payer=b"x" * 20)) == first
        assert seller.machine.inventory.free_slots == 1


async def test_two_awards_at_the_same_moment_get_one_lease_each_and_no_slot_twice():
    async with a_seller(slots=1) as seller:
        answers: list[Any] = []

        async def race(number: int) -> None:
            answers.append(await seller.answer(seller.award(bid_id=bytes([number]) * 16)))

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(race, number)
        assert sorted("lease" in answer for answer in answers) == [False, False, False, True]
        refusals = [verify(answer["refusal"], Refusal).record for answer in answers if "refusal" in answer]
        told = {(one.reason, one.free_slots, one.version, one.price) for one in refusals}
        assert told == {("no_capacity", 0, seller.tag.record.version, seller.tag.record.price)}


async def test_the_next_tag_says_who_was_granted_slots():
    async with a_seller() as seller:
        await seller.answer(seller.award(bid_id=b"1" * 16))
        await seller.answer(seller.award(bid_id=b"1" * 16))
        await seller.answer(seller.award(bid_id=b"2" * 16, slots=9))
        tag = seller.machine.post(NOW + 1, ()).record
        assert (tag.free_slots, tag.granted) == (1, (b"1" * 8,))


async def test_a_slot_that_is_not_paid_for_in_time_is_for_sale_again(autojump_clock: MockClock):
    async with a_seller(slots=1) as seller:
        lease = verify((await seller.answer(seller.award(bid_id=b"1" * 16)))["lease"], Lease).record
        fund_within_ms = seller.tag.record.terms.fund_within_ms
        seller.clock.now += fund_within_ms - 1
        await trio.sleep(fund_within_ms / 1000)
        assert refusal_in(await seller.answer(seller.award(bid_id=b"2" * 16)))[0] == "no_capacity"
        seller.clock.now += 1
        seller.tag = seller.machine.post(seller.clock.now, ())
        await trio.sleep(1)
        third = seller.award(a_signer("another"), bid_id=b"3" * 16)
        after = verify((await seller.answer(third))["lease"], Lease).record
        assert after.slots == lease.slots
        assert after.fencing // FENCING_LUCK == seller.clock.now > lease.fencing // FENCING_LUCK, (
            "grows even where the journal is lost in between"
        )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"price": 99_999}, "stale_price"),
        ({"offer_id": bytes(32)}, "stale_price"),
        ({"offer_version": 7}, "stale_price"),
        ({"machine": "m9"}, "unknown_offer"),
        ({"chain_id": 1}, "wrong_settlement"),
        ({"escrow": b"x" * 20}, "wrong_settlement"),
        ({"payee": b"x" * 20}, "wrong_settlement"),
        ({"expires_at": NOW}, "expired"),
        ({"issued_at": NOW + 60_001, "expires_at": NOW + 90_000}, "expired"),
        ({"slots": 3}, "no_capacity"),
        ({"spec_hash": bytes(32)}, "bad_spec"),
        ({"slots": 2}, "bad_spec"),
        ({"max_duration_ms": 1_000}, "bad_spec"),
    ],
)
async def test_an_altered_award_is_refused_and_takes_nothing(changes: dict[str, Any], reason: str):
    async with a_seller() as seller:
        assert refusal_in(await seller.answer(seller.award(**changes)))[0] == reason
        assert seller.machine.inventory.free_slots == 2
        assert seller.desk.boards == {}
        assert await seller.journal.streams("") == []


async def test_altered_terms_are_refused():
    async with a_seller() as seller:
        terms = replace(seller.tag.record.terms, grace_ms=3_600_000)
        assert refusal_in(await seller.answer(seller.award(terms=terms)))[0] == "wrong_settlement"


async def test_a_refusal_says_what_is_true_now():
    async with a_seller() as seller:
        refusal = verify((await seller.answer(seller.award(slots=3)))["refusal"], Refusal).record
        assert (refusal.free_slots, refusal.version, refusal.price) == (2, seller.tag.record.version, 100_000)
        assert refusal.bid_id == seller.award().record.bid_id


async def test_an_award_sent_by_somebody_else_is_a_fault():
    async with a_seller() as seller:
        with pytest.raises(PeerFault) as fault:
            await seller.answer(seller.award(), peer=MALLORY.key)
        assert fault.value.code == "wrong_award"


async def test_an_award_for_another_provider_is_a_fault():
    async with a_seller() as seller:
        with pytest.raises(PeerFault) as fault:
            await seller.answer(seller.award(provider=MALLORY.key))
        assert fault.value.code == "wrong_award"


async def test_an_award_on_somebody_elses_lane_is_a_fault():
    """Lanes are public: whoever could name any would run jobs, and block the owner, on another's deposit."""
    async with a_seller() as seller:
        honest = seller.award(MALLORY).record
        overheard = an_award(seller.tag, requester=BUYER.key).lane_proof
        for changes in ({"lane_proof": bytes(64)}, {"signer": b"x" * 20}, {"payer": b"x" * 20}, {"bid_id": b"x" * 16}):
            with pytest.raises(PeerFault):
                await seller.answer(MALLORY.sign(replace(honest, **changes)))
        with pytest.raises(PeerFault) as fault:
            await seller.answer(MALLORY.sign(replace(honest, lane_proof=overheard)))
        assert fault.value.code == "voucher_signer"
        assert seller.machine.inventory.free_slots == 2


async def test_a_forged_award_is_a_fault():
    async with a_seller() as seller:
        honest = codec.unpack(seller.award().raw)
        body = codec.unpack(honest["body"])
        body["price"] = 1
        forged = codec.pack({**honest, "body": codec.pack(body)})
        request = AwardRequest(award=forged, spec=codec.pack_record(SPEC), salt=SALT)
        with pytest.raises(PeerFault) as fault:
            await seller.network.ask(BUYER.key, wire.PROTOCOL_AWARD, codec.pack_record(request))
        assert fault.value.code == "bad_signature"


async def test_the_spec_must_be_the_one_the_award_commits_to():
    async with a_seller() as seller:
        assert refusal_in(await seller.answer(seller.award(), spec=replace(SPEC, image="other")))[0] == "bad_spec"
        request = award_request(seller.award(), SPEC, salt=bytes(16))
        answer = await seller.network.ask(BUYER.key, wire.PROTOCOL_AWARD, request)
        assert refusal_in(answer)[0] == "bad_spec"


@pytest.mark.parametrize("spec", [b"", b"\x80", b"\xc1", codec.pack([1]), codec.pack({"image": 5})])
async def test_a_spec_that_is_none_is_refused(spec: bytes):
    async with a_seller() as seller:
        request = codec.pack_record(AwardRequest(award=seller.award().raw, spec=spec, salt=SALT))
        assert refusal_in(await seller.network.ask(BUYER.key, wire.PROTOCOL_AWARD, request))[0] == "bad_spec"


UNWANTED_PATHS = (
    "/",
    "/etc",
    "/workshop",
    "/work/../etc",
    "/work/./in",
    "/work//in",
    "/work/in/",
    "work/in",
    "",
    "//work/in",
    "/work/in\n",
    "/work/in\x00",
    "/work/\u202ein",
)


@pytest.mark.parametrize("path", UNWANTED_PATHS)
async def test_paths_outside_the_jobs_folder_are_refused(path: str):
    async with a_seller() as seller:
        reading = replace(SPEC, inputs=(InputFile(target=path, size=1, sha256=bytes(32)),))
        assert refusal_in(await with_spec(seller, reading))[0] == "bad_spec"
        writing = replace(SPEC, outputs=(path,))
        assert refusal_in(await with_spec(seller, writing))[0] == "bad_spec"


async def test_paths_inside_the_jobs_folder_are_taken():
    async with a_seller() as seller:
        for outputs in (("/work",), ("/work/out", "/work/outer", "/work/a/out")):
            spec = replace(SPEC, inputs=(InputFile(target="/work", size=1, sha256=bytes(32)),), outputs=outputs)
            assert "lease" in await with_spec(seller, spec)


@pytest.mark.parametrize(
    "outputs", [("/work/a", "/work/a"), ("/work/a", "/work"), ("/work/a/b/c", "/work/x", "/work/a"), ("/work",) * 64]
)
async def test_an_output_inside_another_is_refused(outputs: tuple[str, ...]):
    async with a_seller() as seller:
        reason, detail = refusal_in(await with_spec(seller, replace(SPEC, outputs=outputs)))
        assert (reason, "output" in detail) == ("bad_spec", True)


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (replace(SPEC, network="host"), "network"),
        (replace(SPEC, inputs=(InputFile(target="/work/in", size=1025 << 20, sha256=bytes(32)),)), "disk"),
        (replace(SPEC, inputs=(InputFile(target="/work/in", size=2**40, sha256=bytes(32)),)), "larger"),
        (replace(SPEC, requirements=Requirements(cpu_milli=1_001)), "(cpu)"),
        (replace(SPEC, requirements=Requirements(memory_mib=1_025)), "(memory)"),
        (replace(SPEC, requirements=Requirements(runtime="runsc")), "(runtime)"),
        (replace(SPEC, requirements=Requirements(gpus=("h100",))), "(gpu)"),
    ],
)
async def test_what_this_machine_does_not_give_is_refused_before_slots_are_taken(spec: JobSpec, word: str):
    async with a_seller() as seller:
        reason, detail = refusal_in(await with_spec(seller, spec))
        assert reason == "bad_spec"
        assert word in detail
        assert seller.machine.inventory.free_slots == 2


async def test_reputation_is_the_requesters_business():
    async with a_seller() as seller:
        assert "lease" in await with_spec(seller, replace(SPEC, requirements=Requirements(min_reputation=1000)))


async def test_a_draining_machine_takes_nothing():
    async with a_seller() as seller:
        seller.machine.draining = True
        assert refusal_in(await seller.answer(seller.award()))[0] == "draining"


async def test_a_tag_that_expires_while_it_is_read_is_refused_and_not_stumbled_over():
    """The moment between two looks at the clock: an award can be aimed at it with a large spec."""
    async with a_seller() as seller:
        award = seller.award()
        moments = iter([seller.tag.record.expires_at - 1] + [seller.tag.record.expires_at] * 20)
        seller.clock.now_ms = lambda: next(moments)  # type: ignore[method-assign]
        answer = await seller.answer(replace_expiry(seller, award))
        assert "lease" in answer or "refusal" in answer


def replace_expiry(seller: Seller, award: Any) -> Any:
    return BUYER.sign(replace(award.record, expires_at=seller.tag.record.expires_at + 30_000))


async def test_an_old_price_is_honoured_for_a_while_and_then_not():
    async with a_seller() as seller:
        old = seller.award()
        seller.machine.description = replace(seller.machine.description, price=200_000)
        seller.clock.now += 1_000
        seller.machine.post(seller.clock.now, ())
        assert "lease" in await seller.answer(old)
        seller.clock.now += wire.HONOUR_OLD_TAG_MS + 1
        late = seller.award(bid_id=b"2" * 16)
        assert refusal_in(await seller.answer(late))[0] == "stale_price"


async def test_a_disk_that_is_full_gives_the_slot_back():
    async with a_seller() as seller:
        seller.journal.full = True
        assert refusal_in(await seller.answer(seller.award()))[0] == "not_admitted"
        assert seller.machine.inventory.free_slots == 2
        seller.journal.full = False
        assert "lease" in await seller.answer(seller.award())


async def test_a_lease_belongs_to_its_requester_and_strangers_learn_nothing():
    async with a_seller() as seller:
        lease = verify((await seller.answer(seller.award()))["lease"], Lease).record
        assert seller.desk.board(lease.lease_id, BUYER.key).lease_id == lease.lease_id
        told = []
        for lease_id, peer in ((lease.lease_id, MALLORY.key), (b"x" * 16, MALLORY.key), (b"x" * 16, BUYER.key)):
            with pytest.raises(Unavailable) as unknown:
                seller.desk.board(lease_id, peer)
            told.append((unknown.value.code, unknown.value.message))
        assert len(set(told)) == 1


async def test_cards_follow_the_slots():
    async with a_seller(gpu_uuids=("GPU-a", "GPU-b")) as seller:
        one = verify((await seller.answer(seller.award(bid_id=b"1" * 16)))["lease"], Lease).record
        other = verify((await seller.answer(seller.award(bid_id=b"2" * 16)))["lease"], Lease).record
        assert seller.desk.gpu_uuids(seller.desk.boards[one.lease_id]) == ("GPU-a",)
        assert seller.desk.gpu_uuids(seller.desk.boards[other.lease_id]) == ("GPU-b",)


async def test_a_request_that_is_no_award_is_a_fault_and_nothing_else():
    async with a_seller() as seller:
        award = seller.award()
        for request in (b"", b"\x80", codec.pack({"award": award.raw}), codec.pack(5), codec.pack({"award": 5}), b"x"):
            with pytest.raises(FabricError) as fault:
                await seller.network.handlers[wire.PROTOCOL_AWARD](BUYER.key, request)
            assert isinstance(fault.value, PeerFault)
