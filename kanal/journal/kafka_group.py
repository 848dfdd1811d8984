"""Whether a reader takes part in its group, as the statistics of its client tell. Pure but for the clock."""

import json
import time

STATISTICS_MILLISECONDS = 5_000
UNREACHABLE_SECONDS = 30.0
OUTSIDE_SECONDS = 180.0
"""Longer than `max.poll.interval.ms`: so long the others may take to come to a new sharing of the partitions."""


class Membership:
    """`stats_cb` of a consumer. Its client may lose the group's coordinator for good (seen after Kafka hung), and says so only here."""

    def __init__(self) -> None:
        self._unreachable_since: float | None = None
        self._outside_since: float | None = None

    def __call__(self, statistics: str) -> None:
        """Take note. The fields are described in librdkafka's STATISTICS.md."""
        told = json.loads(statistics)
        group, coordinator = told.get("cgrp", {}), told.get("brokers", {}).get("GroupCoordinator", {})
        now = time.monotonic()
        reachable = group.get("state") == "up" and coordinator.get("state", "UP") == "UP"
        inside = reachable and group.get("join_state") == "steady"
        self._unreachable_since = None if reachable else self._unreachable_since or now
        self._outside_since = None if inside else self._outside_since or now

    def is_lost(self) -> bool:
        """Whether only another client can help."""
        now = time.monotonic()
        return _over(self._unreachable_since, UNREACHABLE_SECONDS, now) or _over(self._outside_since, OUTSIDE_SECONDS, now)


def _over(since: float | None, seconds: float, now: float) -> bool:
    return since is not None and now - since > seconds
