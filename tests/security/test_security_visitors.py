"""No visitor can stop the platform: attacks on front's port, with ordinary visitors beside them."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from attacks import ATTACKS
from chaos_stage import Stage
from siege import attack_seconds, besiege

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180 + 2 * int(attack_seconds()))]
_first_users = itertools.count(2_000_000_000, 10_000)


@pytest.mark.parametrize("name", ATTACKS)
def test_ordinary_visitors_are_served_during_an_attack_and_nothing_is_lost(stage: Stage, name: str) -> None:
    """All containers live, ordinary events are accepted and arrive, and the platform heals without a hand."""
    outcome = asyncio.run(besiege(stage, [name], attack_seconds(), next(_first_users)))
    print(outcome)
    assert outcome.faults() == [], f"{outcome}\n{stage.said()}"
