"""The small chaos run: real containers under load, the faults that happen most, nothing accepted is lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from chaos_judge import table
from chaos_run import play_all
from chaos_scenarios import SCENARIOS
from chaos_stage import Stage

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The platform; the sender does not rest for long, so that the run is short."""
    env = {"BACKOFF_FIRST": "0.3", "JITTER_LEAST": "0", "JITTER_MOST": "0.2"}
    found = Stage(tmp_path_factory.mktemp("chaos"), more={"send_mixpanel": env}, typescript=True)
    try:
        found.up()
        yield found
    finally:
        found.down()


def test_nothing_accepted_is_lost_or_counted_twice(stage: Stage) -> None:
    """Processes killed and paused, a full disk, a flood: each accepted event counts once, a flood refuses nobody."""
    small = [replace(one, after_s=4) for one in SCENARIOS if one.small]
    rows = play_all(stage, small, users=20, rate=80)
    print(table(rows))
    assert [row for row in rows if not row.kept] == [], stage.said()
    assert len(rows) == 8
    assert [row.refused for row in rows if row.scenario == "flood of compressed events"] == [0]
