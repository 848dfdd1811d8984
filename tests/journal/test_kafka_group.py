"""When a reader takes its group for lost: out of reach for half a minute, or outside for longer than others may take to share."""

import json

import pytest

from kanal.journal.kafka_group import OUTSIDE_SECONDS, UNREACHABLE_SECONDS, Membership

INSIDE, JOINING, AWAY = ("up", "steady", "UP"), ("up", "wait-join", "UP"), ("query-coord", "init", "DOWN")
UNCONNECTED = ("up", "wait-join", "TRY_CONNECT")


@pytest.mark.parametrize(
    ("told", "lost"),
    [
        pytest.param([], False, id="nothing-told-yet"),
        pytest.param([(0, INSIDE), (10_000, INSIDE)], False, id="inside"),
        pytest.param([(0, AWAY), (UNREACHABLE_SECONDS, AWAY)], False, id="out-of-reach-for-a-moment"),
        pytest.param([(0, AWAY), (UNREACHABLE_SECONDS + 1, AWAY)], True, id="out-of-reach"),
        pytest.param([(0, UNCONNECTED), (UNREACHABLE_SECONDS + 1, UNCONNECTED)], True, id="joining-over-a-connection-that-is-none"),
        pytest.param([(0, JOINING), (OUTSIDE_SECONDS, JOINING)], False, id="others-take-their-time"),
        pytest.param([(0, JOINING), (OUTSIDE_SECONDS + 1, JOINING)], True, id="outside-for-ever"),
        pytest.param([(0, AWAY), (20, INSIDE), (40, AWAY), (60, AWAY)], False, id="came-back-in-between"),
        pytest.param([(0, INSIDE), (900, AWAY)], False, id="a-long-batch-without-statistics"),
        pytest.param([(0, AWAY)], False, id="a-long-batch-since-the-only-word-of-it"),
        pytest.param([(0, AWAY), (5, INSIDE), (900, AWAY)], False, id="a-long-batch-whose-statistics-come-late"),
        pytest.param([(0, AWAY), (29, JOINING), (58, AWAY), (87, JOINING), (200, AWAY)], True, id="to-and-fro-but-never-inside"),
    ],
)
def test_a_member_is_lost_when_its_group_is(told: list[tuple[float, tuple[str, str, str]]], lost: bool) -> None:
    """The times count between the statistics that say so: nobody takes note of them while a batch is in hand."""
    membership = Membership()
    for at, (state, join_state, connection) in told:
        group, coordinator = {"state": state, "join_state": join_state}, {"GroupCoordinator": {"state": connection}}
        membership(json.dumps({"ts": (1_000 + at) * 1_000_000, "cgrp": group, "brokers": coordinator}))
    assert membership.is_lost() is lost
    if lost:
        assert not membership.is_lost(patience=100)
        membership.begin_again()
        assert not membership.is_lost()
