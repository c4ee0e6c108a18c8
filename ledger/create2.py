"""Where the escrow lies: an address that follows from its code, its token and its delays, the same on every chain.

Deployed through the usual factory (the one that anvil and most test networks bring, and that anybody can put on a chain
with a transaction that needs nobody's key), so who sends the transaction, and when, does not matter. Pure.
"""

from __future__ import annotations

from eth_hash.auto import keccak
from msgspec import Struct

from ledger.artifact import load_artifact
from market.errors import InvalidRequest

FACTORY = bytes.fromhex("4e59b44847b379578588920ca78fbf26c0b4956c")
FACTORY_CODE = bytes.fromhex(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd"
    "5b8082525050506014600cf3"
)
FACTORY_SENDER = bytes.fromhex("3fab184622dc19b6109349b94811493bf2a45362")
"""The account that the factory's transaction recovers to. Its signature was made up, so nobody has its key: it can send
this one transaction and no other."""
_SIGNATURE = b"\x1b\xa0" + b"\x22" * 32 + b"\xa0" + b"\x22" * 32
FACTORY_TRANSACTION = (
    bytes.fromhex("f8a58085174876e800830186a08080b853604580600e600039806000f350fe") + FACTORY_CODE + _SIGNATURE
)
FACTORY_COST_WEI = 100_000 * 100 * 10**9
"""What that transaction needs to be paid for: its gas times the price that is fixed in it."""
SALT = bytes(32)

USUAL_STEP_S = 3600
MAX_STEPS = 255
_MAX_STEP_S = 3600


class DelayTerms(Struct, frozen=True):
    """An escrow's exit window: ``step_s`` seconds, times ``steps`` for a lane whose payer chose nothing else."""

    step_s: int = USUAL_STEP_S
    steps: int = 24

    @property
    def exit_delay_s(self) -> int:
        """The default window in seconds."""
        return self.step_s * self.steps


def delay_terms(exit_delay_s: int) -> DelayTerms:
    """Terms that make a default window of exactly so long: in hours where that fits, else in the finest steps.

    Raises:
        InvalidRequest: ``exit_delay``: not 1 second to 255 hours, or not to be divided into steps.
    """
    for step_s in (USUAL_STEP_S, *range(1, _MAX_STEP_S)):
        count, rest = divmod(exit_delay_s, step_s)
        if rest == 0 and 0 < count <= MAX_STEPS:
            return DelayTerms(step_s, count)
    raise InvalidRequest(
        f"an exit window of {exit_delay_s} seconds cannot be made",
        code="exit_delay",
        fix="take 1 to 255 seconds, minutes or hours",
    )


def escrow_init_code(token: bytes, terms: DelayTerms) -> bytes:
    """The code that deploys an escrow for ``token``, with its constructor's arguments."""
    arguments = (int.from_bytes(token, "big"), terms.step_s, terms.steps)
    return load_artifact("Escrow").bytecode + b"".join(value.to_bytes(32, "big") for value in arguments)


def escrow_address(token: bytes, terms: DelayTerms) -> bytes:
    """Where the factory puts that escrow: 20 bytes, on any chain."""
    return create2_address(escrow_init_code(token, terms))


def create2_address(init_code: bytes) -> bytes:
    """Where the factory puts what ``init_code`` deploys."""
    return keccak(b"\xff" + FACTORY + SALT + keccak(init_code))[12:]
