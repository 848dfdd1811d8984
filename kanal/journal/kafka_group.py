"""Whether a reader takes part in its group, as the statistics of its client tell. Pure."""

import json

STATISTICS_MILLISECONDS = 5_000
UNREACHABLE_SECONDS = 30.0
OUTSIDE_SECONDS = 180.0
"""Longer than `max.poll.interval.ms`: so long the others may take to come to a new sharing of the partitions."""


class Membership:
    """`stats_cb` of a consumer. Its client may lose the group's coordinator for good (seen after Kafka hung), and says so only here."""

    def __init__(self) -> None:
        self.told = "nothing yet"
        """The latest states of group, member and coordinator, for the log."""
        self._told_at = 0.0
        self._unreachable_since: float | None = None
        self._outside_since: float | None = None

    def __call__(self, statistics: str) -> None:
        """Take note. The fields are described in librdkafka's STATISTICS.md."""
        told = json.loads(statistics)
        group, coordinator = told.get("cgrp", {}), told.get("brokers", {}).get("GroupCoordinator", {})
        now = told["ts"] / 1e6  # when it was so: in a long batch nobody takes note
        reachable = group.get("state") == "up" and coordinator.get("state", "UP") == "UP"
        inside = reachable and group.get("join_state") == "steady"
        self._unreachable_since = None if reachable else self._unreachable_since or now
        self._outside_since = None if inside else self._outside_since or now
        self._told_at = now
        self.told = f"{group.get('state')}, {group.get('join_state')}, {coordinator.get('state')}"

    def is_lost(self, patience: int = 1) -> bool:
        """Whether only another client can help, if Kafka answers others: as of what was told last. `patience` = times as long as usual."""
        unreachable, outside = UNREACHABLE_SECONDS * patience, OUTSIDE_SECONDS * patience
        return self._is_over(self._unreachable_since, unreachable) or self._is_over(self._outside_since, outside)

    def begin_again(self) -> None:
        """Kafka answers nobody: what was told until now says nothing about this client."""
        self._unreachable_since = self._outside_since = None

    def _is_over(self, since: float | None, seconds: float) -> bool:
        return since is not None and self._told_at - since > seconds
