"""kill -9 of a provider and of a requester in the middle of their trade: the sum stays exact, to the unit.

Few moments here; a hundred with ``python -m tests.integration.two_nodes 100``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.two_nodes import exact, kill_at

MOMENTS, SEED = 4, 20265

pytestmark = [pytest.mark.docker, pytest.mark.chain, pytest.mark.processes, pytest.mark.timeout(400)]


async def test_the_sum_stays_exact_whoever_is_killed(tmp_path: Path) -> None:
    found = await kill_at(MOMENTS, SEED, tmp_path)
    print(found)
    assert found["paid"] > 0
    assert exact(found), found
