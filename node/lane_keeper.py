"""Takes unspent money out of idle lanes: with the provider's consent at once, without it after the exit delay.

Works on lanes, not on leases: several leases may share one, and a deposit that arrived after its lease had lapsed must
come home too. Safe to run at any time; a lane that a lease pays from is left alone.
"""

from __future__ import annotations

import logging
from math import inf
from random import Random

import trio

from ledger.payer import CloseProposal, Payer
from ledger.ports import Chain
from market import codec
from market.errors import InvalidRequest, PeerFault, Unavailable
from node import wire
from node.lane_subjects import close_subject
from node.ports import Network, PeerUnreachable
from node.retry_pause import RetryPause

log = logging.getLogger(__name__)

_CONSENT_VALID_S = 600
_SWEEP_S = 10.0


class LaneKeeper:
    """Closes lanes of this node's payer.

    Args:
        patience_s: how long an absent provider is asked for its consent before our own exit starts.
    """

    def __init__(
        self, *, payer: Payer, chain: Chain, network: Network, patience_s: float, rng: Random | None = None
    ) -> None:
        self._payer = payer
        self._chain = chain
        self._network = network
        self._patience_s = patience_s
        self._providers: dict[bytes, bytes] = {}
        self._rng = rng
        self._asked_since: dict[bytes, float] = {}
        self._away: dict[bytes, RetryPause] = {}
        self._ask_again_at: dict[bytes, float] = {}
        self._stuck: set[bytes] = set()
        self._busy: set[bytes] = set()
        self.kept: set[bytes] = set()
        """Payees whose lanes were filled by hand: they stay as they are until their owner takes the money back."""

    def learn(self, payee: bytes, provider: bytes) -> None:
        """Remember which node stands behind a payee account."""
        self._providers[payee] = provider

    def in_use(self, payee: bytes) -> bool:
        """Whether a lease still pays from the lane to this payee, or its owner wants it kept."""
        lane = self._payer.lane(payee)
        return payee in self.kept or any(one.open_leases for one in self._payer.summary() if one.lane == lane)

    async def step(self, payee: bytes) -> None:
        """One attempt to bring an idle lane's rest home. Returns without having done anything if the lane is used,
        empty, or being closed already.

        Raises:
            Unavailable: the chain does not answer.
        """
        if payee in self._busy or self.in_use(payee):
            return
        self._busy.add(payee)
        try:
            held = await self._held(payee)
            if held == 0:
                self._asked_since.pop(payee, None)
                self._away.pop(payee, None)
                self._ask_again_at.pop(payee, None)
            elif not await self._close_together(payee):
                await self._exit_alone(payee)
        finally:
            self._busy.discard(payee)

    async def sweep_forever(self) -> None:
        """Look after lanes that no lease looks after: late deposits, exits begun before a restart."""
        while True:
            for one in self._payer.summary():
                if one.held and not one.open_leases:
                    await self._try_step(one.lane.payee)
            await trio.sleep(_SWEEP_S)

    async def _try_step(self, payee: bytes) -> None:
        try:
            await self.step(payee)
            self._stuck.discard(payee)
        except (Unavailable, InvalidRequest) as error:
            if payee not in self._stuck:
                log.info("lane of %s: %s", payee.hex()[:8], error)
            self._stuck.add(payee)

    async def _held(self, payee: bytes) -> int:
        lane = await self._chain.lane(self._payer.lane(payee))
        return lane.balance - lane.claimed

    async def _close_together(self, payee: bytes) -> bool:
        provider = self._providers.get(payee)
        if provider is None or trio.current_time() < self._ask_again_at.get(payee, -inf):
            return False
        try:
            proposal = await self._payer.start_close(payee, valid_s=_CONSENT_VALID_S)
            request = codec.pack(self._ask(proposal))
            answer = codec.unpack(
                await self._network.request(provider, wire.PROTOCOL_CLOSE, request, timeout=wire.REQUEST_TIMEOUT_S)
            )
            self._is_back(payee)
            consent = answer.get("consent") if isinstance(answer, dict) else None
            if not isinstance(consent, bytes):
                return False
            await self._payer.finish_close(proposal, consent)
        except PeerUnreachable as error:
            self._is_away(payee, str(error))
            return False
        except PeerFault as fault:
            self._network.penalise(provider, fault.code)
            return False
        except InvalidRequest as error:
            # A lease was reserved on the lane meanwhile: the lane is wanted, so it stays open.
            log.info("lane %s stays open: %s", payee.hex()[:8], error)
        return True

    def _is_away(self, payee: bytes, why: str) -> None:
        pause = self._away.setdefault(payee, RetryPause(self._rng))
        if not pause.failures:
            log.info("provider of lane %s is away: %s", payee.hex()[:8], why)
        self._ask_again_at[payee] = trio.current_time() + pause.failed()

    def _is_back(self, payee: bytes) -> None:
        self._ask_again_at.pop(payee, None)
        if self._away.pop(payee, None) is not None:
            log.info("provider of lane %s answers again", payee.hex()[:8])

    def _ask(self, proposal: CloseProposal) -> dict[str, object]:
        lane = proposal.lane
        subject = close_subject(self._network.key, proposal.epoch, proposal.cumulative, proposal.deadline_s)
        return {
            "payer": lane.payer,
            "payee": lane.payee,
            "signer": lane.signer,
            "epoch": proposal.epoch,
            "cumulative": proposal.cumulative.to_bytes(12, "big"),
            "deadline": proposal.deadline_s,
            "proof": self._payer.prove_lane(lane.payee, subject),
        }

    async def _exit_alone(self, payee: bytes) -> None:
        since = self._asked_since.setdefault(payee, trio.current_time())
        if trio.current_time() - since < self._patience_s:
            return
        if await self._payer.finish_exit_when_due(payee) is None:
            await self._payer.begin_exit(payee)
