"""The whole pipeline on Kafka and PostgreSQL, everything on one machine: from messages appended in bulk to the answered citizen."""

import time
from pathlib import Path

from bench.installation import SECRET, Progress, cluster
from bench.measure import Figure
from bench.messages import contacts, load, messages
from bench.phone import TimedGateway
from kanal.keys import read_keys

MESSAGES = 20_000
SHOWN = "until the last report is in the tracker"


def measure(directory: Path, scale: float) -> list[Figure]:
    """Reports a second until they are in the tracker, until their replies are queued, and until these are sent."""
    count = int(MESSAGES * scale)
    with TimedGateway(SECRET) as gateway, cluster(directory, gateway) as running:
        keys = read_keys(running.data / "keys")
        load(running.kafka.address, contacts(count, keys))
        arrived = list(messages(count, keys))
        progress = Progress(running)
        started = time.monotonic()
        load(running.kafka.address, arrived)
        appended = time.monotonic() - started
        figures = [Figure("messages appended", count / appended, "messages/s", "in bulk, by one producer", SHOWN)]
        for what, wait, note in (
            (SHOWN, progress.shown, f"{count} reports; five services, Kafka, PostgreSQL and gateway share the machine"),
            ("until the last reply is queued", progress.queued, "asked for by the normalizer, queued by ingest-sms"),
            ("until the last reply is sent", progress.sent, "one HTTP request each"),
        ):
            wait(count)
            figures.append(Figure(what, count / (time.monotonic() - started), "reports/s", note, SHOWN))
        progress.close()
    return figures
