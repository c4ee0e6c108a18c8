"""What several suites of one port share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.chain_worlds import KINDS, ChainWorld, open_chain_world


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[ChainWorld]:
    """Each of the chains that the ``Chain`` port must be the same on."""
    async with open_chain_world(request.param) as opened:
        yield opened
