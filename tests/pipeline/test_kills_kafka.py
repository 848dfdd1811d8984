"""SIGKILL at every fail-point under load, in Kafka mode: the process of that stage dies, the others go on."""

import pytest

from tests.pipeline.kills import EVERY_POINT, kill_and_check
from tests.pipeline.town import Town


@EVERY_POINT
@pytest.mark.parametrize("town", ["kafka"], indirect=True)
def test_killed_at_a_fail_point_nothing_is_lost_and_nothing_happens_twice(town: Town, point: str, round_: int) -> None:
    """Every acknowledged message is settled exactly once and has one report, one number and its receipt; order per sender is kept."""
    kill_and_check(town, point, round_)
