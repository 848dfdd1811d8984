"""A whole Kanal to measure, in either mode, and how far it is."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kanal_tracker import tables as tracker
from sqlalchemy import Select, func, select

from bench.phone import TimedGateway
from kanal.database import Database
from kanal.replies import replies
from tests.servers.kafka import KafkaServer
from tests.servers.kanal import Cluster, Embedded
from tests.servers.postgres import PostgresServer
from tests.servers.processes import wait_until

TIMEOUT_SECONDS = 600
SECRET = "a-secret-of-the-bench"


@contextmanager
def cluster(directory: Path, gateway: TimedGateway) -> Iterator[Cluster]:
    """Every process of Kafka mode, nginx in front, the gateway behind."""
    with ExitStack() as stack:
        kafka = stack.enter_context(KafkaServer(directory / "kafka"))
        postgres = stack.enter_context(PostgresServer(directory / "postgres"))
        yield stack.enter_context(Cluster(directory, kafka, postgres, _environment(gateway)))


@contextmanager
def embedded(directory: Path, gateway: TimedGateway) -> Iterator[Embedded]:
    """The one process of embedded mode."""
    with Embedded(directory, _environment(gateway)) as installation:
        yield installation


def _environment(gateway: TimedGateway) -> dict[str, str]:
    return {"KANAL_SMS_MAIN_SECRET": SECRET, "KANAL_SMS_MAIN_SEND_URL": gateway.url}


class Progress:
    """How far an installation is, by its tables. Each method waits until `count` are there."""

    def __init__(self, installation: Cluster | Embedded) -> None:
        self._database = Database(installation.database_url)

    def shown(self, count: int) -> None:
        """Reports in the tracker."""
        self._wait(count, "reports in the tracker", select(func.count()).select_from(tracker.reports))

    def queued(self, count: int) -> None:
        """Replies for the sender."""
        self._wait(count, "replies queued", select(func.count()).select_from(replies))

    def sent(self, count: int) -> None:
        """Replies that the gateway has taken."""
        self._wait(count, "replies sent", select(func.count()).select_from(replies).where(replies.c.state == "sent"))

    def close(self) -> None:
        self._database.close()

    def _wait(self, count: int, what: str, query: Select[Any]) -> None:
        def reached() -> bool:
            with self._database.read() as connection:
                return bool(connection.scalar(query) >= count)

        wait_until(reached, TIMEOUT_SECONDS, f"{count} {what}")
