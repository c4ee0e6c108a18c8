"""Whatever a peer says, every handler answers or raises one of the market's own errors, and nothing else.

Values are drawn both as plain junk and as near misses: the right keys with junk in them, the right frame with junk
after it. One world is built per example and hears a whole list of them.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock

from ledger.payee import Payee
from ledger.payer import Payer
from ledger.voucher import SessionKey
from market import codec
from market.duties import Role
from market.errors import FabricError
from market.lease import ContainerStarted, LaneFunded
from market.records import InputFile
from node import wire
from node.auction import Auctioneer, Purchase, Purse
from node.lane_keeper import LaneKeeper
from node.lease_files import LeaseFiles
from node.offer_intake import OfferIntake
from node.ports import PeerInfo, PeerUnreachable, Verdict
from node.provider_streams import ProviderStreams
from node.report_desk import ReportDesk
from node.report_sender import ReportSender
from node.requester_files import RequesterFiles
from node.retry_pause import RetryPause
from tests.fakes.desks import RecordingNetwork, SetClock, a_board, a_seller, award_request
from tests.fakes.memory_chain import MemoryChain
from tests.fakes.memory_engine import MemoryDocker, MemoryEngine
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.memory_stream import MemoryStream, stream_pair
from tests.fakes.samples import (
    BUYER,
    CHAIN_ID,
    ESCROW,
    NOW,
    PAYEE,
    PAYEE_KEY,
    PAYER,
    SALT,
    SELLER,
    SESSION,
    SPEC,
    a_report,
    an_offer,
    some_limits,
)
from tests.simulation.marketplace import SimulatedClock

JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from([0, 1, -1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 255, 256])
    | st.text(max_size=5)
    | st.binary(max_size=40)
    | st.sampled_from([b"x" * 12, b"x" * 16, b"x" * 20, b"x" * 32, b"x" * 64, b"x" * 136, PAYEE]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
EXPECTED = (FabricError, PeerUnreachable)
SOME = settings(max_examples=150, deadline=None)
FILE = InputFile(target="/work/in", size=10, sha256=bytes(32))
FULL_SPEC = replace(SPEC, inputs=(FILE,), outputs=("/work/out",))
REPORT_FIELDS = sorted(codec.unpack(codec.pack_record(a_report())))


def keyed(*names: str, **fixed: Any) -> st.SearchStrategy[Any]:
    """Junk, or a map with these keys and junk in them, some of them missing; ``fixed`` ones are right."""
    near = st.fixed_dictionaries(
        {name: st.just(value) for name, value in fixed.items()}, optional=dict.fromkeys(names, JUNK)
    )
    return JUNK | near


def listen(scenario: Callable[[], Awaitable[None]]) -> None:
    trio.run(scenario, clock=MockClock(autojump_threshold=0))


async def tolerate(heard: Awaitable[Any]) -> Any:
    try:
        return await heard
    except EXPECTED:
        return None


LEASE_ID = trio.run(a_board, MemoryJournal()).lease_id
"""The lease that the worlds below hold: ids follow from the keys and the bid, so they are all the same."""


@SOME
@given(st.lists(keyed("award", "spec", "salt"), max_size=20), st.lists(JUNK, max_size=10))
def test_awards(requests: list[Any], specs: list[Any]):
    async def scenario() -> None:
        async with a_seller() as seller:
            ask = seller.network.handlers[wire.PROTOCOL_AWARD]
            for value in requests:
                await tolerate(ask(BUYER.key, codec.pack(value)))
            for spec in specs:
                raw = codec.unpack(award_request(seller.award()), limit=2**20)
                await tolerate(ask(BUYER.key, codec.pack({**raw, "spec": codec.pack(spec)})))
            assert seller.desk.boards == {}

    listen(scenario)


@SOME
@given(st.lists(keyed("report"), max_size=20), st.lists(st.tuples(st.sampled_from(REPORT_FIELDS), JUNK), max_size=20))
def test_reports(requests: list[Any], spoiled: list[tuple[str, Any]]):
    async def scenario() -> None:
        clock, journal, network = SetClock(), MemoryJournal(), RecordingNetwork(BUYER.key)
        board = await a_board(journal, Role.REQUESTER)
        await board.record(LaneFunded(at=NOW, amount=1))
        chain = MemoryChain(SimulatedClock())
        payer = Payer(chain.view(PAYER), journal, SessionKey(b"k" * 32), clock.now_ms)
        ReportDesk({board.lease_id: board}, signer=BUYER, payer=payer, network=network, clock=clock).register()
        ask = network.handlers[wire.PROTOCOL_REPORT]
        for value in requests:
            await tolerate(ask(SELLER.key, codec.pack(value)))
        plain = codec.unpack(codec.pack_record(a_report(lease_id=board.lease_id)))
        for field, junk in spoiled:
            body = codec.pack({**plain, field: junk})
            signed = SELLER._private_key.sign(b"computefabric/usagereport/1\0" + body)
            envelope = codec.pack({"body": body, "key": SELLER.key, "sig": signed})
            await tolerate(ask(SELLER.key, codec.pack({"report": envelope})))
        assert board.state.paid == 0

    listen(scenario)


@asynccontextmanager
async def streams() -> AsyncIterator[tuple[RecordingNetwork, trio.Nursery]]:
    """A provider with one granted lease that has an input and an output, ready to be called."""
    clock, chain = SimulatedClock(), MemoryChain(SimulatedClock())
    with tempfile.TemporaryDirectory() as folder:
        async with a_seller() as seller, trio.open_nursery() as nursery:
            board = await a_board(seller.journal, spec=FULL_SPEC)
            seller.desk.boards[board.lease_id] = board
            docker = MemoryDocker(clock.now_ms)
            payee = Payee(chain.view(PAYEE), seller.journal, SessionKey(b"p" * 32), clock.now_ms)
            ProviderStreams(
                seller.desk,
                network=seller.network,
                engine=MemoryEngine(docker, "node"),
                payee=payee,
                files=LeaseFiles(Path(folder)),
                clock=clock,
            ).register()
            yield seller.network, nursery
            nursery.cancel_scope.cancel()


@SOME
@given(
    st.lists(keyed("lease") | keyed(lease=LEASE_ID), max_size=10),
    st.lists(keyed("payer", "payee", "signer", "cumulative", "deadline", "epoch", "proof"), max_size=20),
    st.lists(keyed("cumulative", "deadline", payer=PAYER, payee=PAYEE, signer=SESSION), max_size=10),
)
def test_requests_about_a_lease(cancels: list[Any], proposals: list[Any], nearer: list[Any]):
    async def scenario() -> None:
        async with streams() as (network, _):
            for protocol, values in ((wire.PROTOCOL_CANCEL, cancels), (wire.PROTOCOL_CLOSE, proposals + nearer)):
                for value in values:
                    await tolerate(network.handlers[protocol](BUYER.key, codec.pack(value)))

    listen(scenario)


async def _say(end: MemoryStream, value: Any, rest: bytes) -> None:
    """Send a frame and then raw bytes, and take whatever comes back until the other side has had enough."""
    body = codec.pack(value)
    with trio.move_on_after(5):
        await tolerate(end.send(len(body).to_bytes(4, "big") + body + rest))
        await tolerate(end.send_eof())
        while await tolerate(end.receive()):
            pass


@SOME
@given(
    st.lists(
        st.tuples(
            st.sampled_from([wire.PROTOCOL_INPUTS, wire.PROTOCOL_OUTPUTS, wire.PROTOCOL_LOGS]),
            keyed("lease", "index", "offset")
            | keyed("index", "offset", lease=LEASE_ID)
            | keyed("offset", lease=LEASE_ID, index=0),
            st.binary(max_size=20),
        ),
        max_size=10,
    )
)
def test_streams_of_a_lease(calls: list[Any]):
    async def scenario() -> None:
        async with streams() as (network, nursery):
            for protocol, value, rest in calls:
                theirs, ours = stream_pair(BUYER.key, SELLER.key, lambda: 0.0, lambda: 0.0)
                nursery.start_soon(tolerate_call, network.stream_handlers[protocol], ours)
                await _say(theirs, value, rest)

    listen(scenario)


async def tolerate_call(handler: Callable[[Any], Awaitable[None]], stream: MemoryStream) -> None:
    await tolerate(handler(stream))


@SOME
@given(st.lists(keyed("lease", "refusal"), max_size=15), st.lists(st.binary(max_size=20), max_size=5))
def test_answers_to_an_award(answers: list[Any], raw: list[bytes]):
    async def scenario() -> None:
        network, clock = RecordingNetwork(BUYER.key), SetClock()
        intake = OfferIntake(network, clock)
        intake.take(SELLER.sign(an_offer()))
        purse = Purse(payer=PAYER, signer=SESSION, chain_id=CHAIN_ID, escrow=ESCROW)
        auctioneer = Auctioneer(
            signer=BUYER,
            network=network,
            intake=intake,
            clock=clock,
            rng=random.Random(1),
            purse=purse,
            prove_lane=lambda _payee, _subject: bytes(64),
        )
        purchase = Purchase(spec=SPEC, salt=SALT, limits=some_limits(), strategy="lowest_cost")
        for answer in [codec.pack(value) for value in answers] + raw:
            network.answer = lambda *_asked, answer=answer: answer
            assert (await auctioneer.buy(purchase, _deaf)).lease is None

    listen(scenario)


async def _deaf(_kind: str, _detail: dict[str, Any]) -> None:
    await trio.lowlevel.checkpoint()


@SOME
@given(st.lists(keyed("voucher", "refused", "refusal"), max_size=15), st.lists(st.binary(max_size=20), max_size=5))
def test_answers_to_a_report(answers: list[Any], raw: list[bytes]):
    async def scenario() -> None:
        clock, chain = SimulatedClock(), MemoryChain(SimulatedClock())
        async with a_seller() as seller:
            board = await a_board(seller.journal)
            for fact in (LaneFunded(at=NOW, amount=1), ContainerStarted(at=NOW, started_at=NOW)):
                await board.record(fact)
            reports = ReportSender(
                signer=SELLER,
                wallet=PAYEE_KEY,
                network=seller.network,
                engine=MemoryEngine(MemoryDocker(clock.now_ms), "node"),
                payee=Payee(chain.view(PAYEE), seller.journal, PAYEE_KEY, clock.now_ms),
                clock=clock,
            )
            await trio.sleep(1)
            for answer in [codec.pack(value) for value in answers] + raw:
                seller.network.answer = lambda *_asked, answer=answer: answer
                assert not await reports.send(board, final=False)
            assert board.state.paid == 0

    listen(scenario)


@SOME
@given(st.lists(keyed("consent", "refused"), max_size=8))
def test_answers_to_a_proposal_to_close(answers: list[Any]):
    async def scenario() -> None:
        clock, network = SimulatedClock(), RecordingNetwork(BUYER.key)
        wallet, key, chain = SessionKey(b"w" * 32), SessionKey(b"k" * 32), MemoryChain(SimulatedClock())
        chain.mint(wallet.address, 10)
        chain.give_gas(wallet.address)
        payer = Payer(chain.view(wallet.address), MemoryJournal(), key, clock.now_ms)
        await chain.view(wallet.address).deposit(PAYEE, key.address, 10)
        keeper = LaneKeeper(payer=payer, chain=chain.view(wallet.address), network=network, patience_s=10**6)
        keeper.learn(PAYEE, SELLER.key)
        for value in answers:
            network.answer = lambda *_asked, value=value: codec.pack(value)
            await tolerate(keeper.step(PAYEE))
        assert (await chain.view(wallet.address).lane(payer.lane(PAYEE))).epoch == 0

    listen(scenario)


@SOME
@given(st.lists(JUNK | st.lists(st.binary(max_size=20), max_size=3), max_size=10), st.lists(st.binary(max_size=60)))
def test_gossip_and_books(answers: list[Any], messages: list[bytes]):
    async def scenario() -> None:
        network = RecordingNetwork(BUYER.key)
        intake = OfferIntake(network, SetClock())
        intake.register()
        for message in messages + [codec.pack(value) for value in answers]:
            for topic in (wire.TOPIC_OFFERS, wire.TOPIC_BIDS):
                assert network.judges[topic](SELLER.key, message) in (Verdict.REJECT, Verdict.IGNORE)
            await tolerate(network.handlers[wire.PROTOCOL_BOOK](SELLER.key, message))
        network.known = [PeerInfo(key=SELLER.key, peer_id="x", addresses=(), rtt_us=1)]
        for answer in [codec.pack(value) for value in answers] + messages:
            network.answer = lambda *_asked, answer=answer: answer
            with trio.move_on_after(0.5):
                await intake.catch_up_forever()
        assert len(intake.book) == 0

    listen(scenario)


FRAMES = st.lists(
    keyed("have") | keyed("size", "sha256", "missing") | keyed("offset", "data", "end") | st.just({"have": 2**64 - 1}),
    max_size=3,
)


@SOME
@given(st.lists(st.tuples(FRAMES, st.binary(max_size=20)), max_size=6), st.sampled_from(["input", "log", "output"]))
def test_streams_that_a_requester_opens(talks: list[Any], what: str):
    async def scenario() -> None:
        network = RecordingNetwork(BUYER.key)
        with tempfile.TemporaryDirectory() as folder:
            files = RequesterFiles(Path(folder), network)
            board = await a_board(MemoryJournal(), Role.REQUESTER, spec=FULL_SPEC, job_id="j")
            files.input_path("j", 0).write_bytes(b"0123456789")
            act = {
                "input": lambda: files.send_input(board, 0),
                "log": lambda: files._copy_log(board, RetryPause()),
                "output": lambda: files._fetch_output(board, 0, Path(folder) / "output"),
            }[what]
            for frames, rest in talks:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_answer_stream, network, len(network.far_ends), frames, rest)
                    with trio.move_on_after(5):
                        await tolerate(act())

    listen(scenario)


async def _answer_stream(network: RecordingNetwork, number: int, frames: list[Any], rest: bytes) -> None:
    """Be the provider's end of the ``number``-th stream that the node opens."""
    while len(network.far_ends) <= number:
        await trio.sleep(0.01)
    far = network.far_ends[number]
    for frame in frames:
        body = codec.pack(frame)
        await tolerate(far.send(len(body).to_bytes(4, "big") + body))
    await tolerate(far.send(rest) if rest else far.send_eof())
    await tolerate(far.send_eof())
