"""The real servers that several suites share, one of each in a session. They are started only when a test asks for them."""

import os
import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]
from hypothesis import HealthCheck, settings
from kanal_all_in_one.topic_setup import create_topics

from kanal.topics import PARTITIONS, TOPICS
from tests.servers.install import NotInstalledError, install
from tests.servers.kafka import KafkaServer
from tests.servers.postgres import PostgresServer
from tests.servers.processes import wait_until

# No clock decides whether a test passes, and in CI the same examples are tried each time: a red run can be repeated.
settings.register_profile("kanal", deadline=None, derandomize=bool(os.environ.get("CI")), suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kanal")


class _BriskKafka(KafkaServer):
    """Expires and compacts as soon as it may, not minutes later."""

    def _settings(self) -> dict[str, str | int]:
        brisk = {"log.initial.task.delay.ms": 200, "log.retention.check.interval.ms": 300, "log.cleaner.backoff.ms": 200}
        return {**super()._settings(), **brisk}


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """One Kafka node without topics. Who kills or pauses it starts or resumes it."""
    _installed("kafka")
    with _BriskKafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture
def kafka_url(kafka: KafkaServer) -> str:
    """The address of a journal on Kafka, all topics new and empty."""
    return fresh_topics(kafka)


def fresh_topics(kafka: KafkaServer) -> str:
    """Every topic of Kanal new and empty; the address of the journal."""
    admin = AdminClient({"bootstrap.servers": kafka.address})
    wait_until(lambda: all(_ends(admin, name) for name in _there(admin)), 20, "service after a pause or a kill")
    if used := [name for name in _there(admin) if any(_ends(admin, name))]:
        for deleted in admin.delete_topics(used).values():
            deleted.result(20)
        wait_until(lambda: not set(used) & _there(admin), 20, "deletion of topics")
    create_topics(f"kafka://{kafka.address}", {}, 1, 1)
    wait_until(lambda: all(_ends(admin, name) == [0] * PARTITIONS for name in TOPICS), 20, "creation of topics")
    return f"kafka://{kafka.address}"


def _there(admin: AdminClient) -> set[str]:
    return TOPICS.keys() & admin.list_topics(timeout=10).topics.keys()


def _ends(admin: AdminClient, topic: str) -> list[int]:
    """The end of each partition; nothing while the topic is not yet in service."""
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    asked = {TopicPartition(topic, partition): latest for partition in range(PARTITIONS)}
    try:
        return [future.result(10).offset for future in admin.list_offsets(asked, request_timeout=10).values()]
    except KafkaException:
        return []


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One PostgreSQL server."""
    _installed("postgres")
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def database_url(postgres: PostgresServer) -> Iterator[str]:
    """The address of a new, empty database."""
    name = f"test_{uuid.uuid4().hex}"
    postgres.create_database(name)
    yield postgres.url(name)
    postgres.drop_database(name)


def _installed(*parts: str) -> None:
    try:
        install(parts)
    except NotInstalledError as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(str(reason))
        pytest.skip(str(reason))
