"""Settings of a provider that make sense each by itself and not together. Both places are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from market.money import format_hourly
from market.pricing import CAP_FLOORS
from node.config_values import ConfigError

if TYPE_CHECKING:
    from node.config import PayoutConfig, ProviderConfig

Place = Callable[[str, str], str]
"""``place(section, key)``: where a value was given, empty for a default."""


def check_payout(payout: PayoutConfig, place: Place) -> None:
    """Check that settings of payouts say where they go: without that nothing is ever sent, and nobody is told.

    Raises:
        ConfigError: there is no address.
    """
    given = next((where for key in ("threshold", "every", "keep") if (where := place("payout", key))), "")
    if given and not payout.address:
        raise ConfigError(
            "payouts have no address, so nothing would be sent",
            code="missing_key",
            fix='add address = "0x…" under [payout], an account of yours, or remove the section',
            where=given,
        )


def check_provider(provider: ProviderConfig, place: Place) -> None:
    """Check what one value alone cannot show.

    Raises:
        ConfigError: two settings contradict each other.
    """
    if provider.notice_ms and not provider.interruptible:
        message = "a notice is promised, and the machine is not interruptible"
        raise _clash("notice", "interruptible", message, "add interruptible = true, or leave notice out", place)
    if provider.surge and not provider.floor:
        raise _clash("surge", "floor", "a surge needs a floor to fall to", 'add floor = "0.10/h"', place)
    if provider.floor > provider.price:
        message = f"the price, {format_hourly(provider.price)}, is below the floor, {format_hourly(provider.floor)}"
        raise _clash("floor", "price", message, "raise price, or lower floor", place)
    cap = cap_of(provider)
    if cap and provider.price > cap:
        of = "" if provider.price_cap else f" ({CAP_FLOORS} times the floor)"
        message = f"the price, {format_hourly(provider.price)}, is above the cap, {format_hourly(cap)}{of}"
        key = "price_cap" if provider.price_cap else "surge"
        raise _clash(key, "price", message, "lower price, or raise price_cap", place)


def cap_of(provider: ProviderConfig) -> int:
    """The most this provider asks, nanotokens per GPU-second; 0 for no limit. A surge always has one."""
    if provider.price_cap or not provider.surge:
        return provider.price_cap
    # A price is rounded down when it is read: four times what was written may be a few nanotokens more.
    return CAP_FLOORS * (provider.floor + 1) - 1


def _clash(key: str, other: str, message: str, fix: str, place: Place) -> ConfigError:
    also = place("provider", other)
    return ConfigError(
        f"provider.{key}: {message}" + (f" (see {also})" if also else ""),
        code="contradiction",
        fix=fix,
        where=place("provider", key) or also,
    )
