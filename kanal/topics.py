"""The topics of the journal: name, key, who writes and reads, how long it is kept. The table of design is this table."""

from collections.abc import Sequence
from typing import NamedTuple

CHANNELS = ("email", "sms")
"""Channels that this release speaks; each has three topics of its own."""

PARTITIONS = 12
"""Of every topic on Kafka. Never changed after the first start: it would break the order of a key."""


class Topic(NamedTuple):
    """One topic of the journal."""

    name: str
    key: str
    says: str
    written_by: str
    read_by: str
    events: tuple[str, ...]
    kept_days: int | None = None
    """None = for ever."""
    compacted: bool = False


def message_received(channel: str) -> str:
    """The topic of what arrives on `channel`."""
    return f"message-received-{channel}"


def contacts(channel: str) -> str:
    """The topic of sealed addresses of `channel`."""
    return f"contacts-{channel}"


def reply_requested(channel: str) -> str:
    """The topic of what the sender of `channel` has to say."""
    return f"reply-requested-{channel}"


MESSAGE_SETTLED = "message-settled"
REPORTS = "reports"
REPORT_UPDATED = "report-updated"
REPORTER_TOLD = "reporter-told"
REPLY_SETTLED = "reply-settled"
DEAD_LETTER = "dead-letter"


def _channel_topics(channel: str) -> Sequence[Topic]:
    return (
        Topic(message_received(channel), "sender key", "one thing that arrived, as it arrived; no address",
              f"ingest-{channel}", "normalizer, operators", ("message-received",), kept_days=30),
        Topic(contacts(channel), "conversation", "the sealed address behind a conversation; an empty value forgets it",
              f"ingest-{channel}", f"the sender of {channel} only", ("contact-sealed",), compacted=True),
        Topic(reply_requested(channel), "conversation", "say this: kind and values, not words",
              "normalizer, tracker", f"the sender of {channel} only", ("reply-requested",), kept_days=30),
    )  # fmt: skip


TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        *(topic for channel in CHANNELS for topic in _channel_topics(channel)),
        Topic(MESSAGE_SETTLED, "message id", "what became of a message", "normalizer", "operators",
              ("message-settled",), kept_days=90),
        Topic(REPORTS, "number", "the ordered story of each report", "normalizer, router, tracker's pages and clocks",
              "router, tracker", ("report-registered", "report-appended", "status-asked", "report-routed", "update-requested")),
        Topic(REPORT_UPDATED, "number", "a change that took effect, or was refused and why", "tracker", "router, subscribers",
              ("report-updated",)),
        Topic(REPORTER_TOLD, "conversation", "a question waits for the reporter, a report is closed, or that is over",
              "tracker", "normalizer", ("reporter-told",), kept_days=30),
        Topic(REPLY_SETTLED, "reply id", "sent, failed, or not deliverable on this channel", "senders", "operators",
              ("reply-settled",), kept_days=90),
        Topic(DEAD_LETTER, "key of the original", "original bytes and headers, where from, cause, attempts", "any stage, adapters",
              "operators", ("dead-letter",), kept_days=90),
    )
}  # fmt: skip
