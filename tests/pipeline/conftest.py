"""A whole Kanal for each module of this folder, once embedded and once over Kafka and PostgreSQL, with the outside around it."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.pipeline.town import Town
from tests.servers.gateway import SmsGateway
from tests.servers.install import install
from tests.servers.kafka import KafkaServer
from tests.servers.kanal import Cluster, Embedded
from tests.servers.mailbox import Mailbox
from tests.servers.postgres import PostgresServer

SECRET = "a-secret-of-the-tests"
TOKEN = "a-token-of-the-tests"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/pipeline" in str(item.path):
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="module", params=["embedded", "kafka"])
def town(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Kanal running, a mailbox as its relay, a gateway for its SMS."""
    directory = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        mailbox = stack.enter_context(Mailbox())
        gateway = stack.enter_context(SmsGateway(SECRET))
        environment = {
            "KANAL_SMTP_RELAY": f"127.0.0.1:{mailbox.port}",
            "KANAL_SMS_MAIN_SECRET": SECRET,
            "KANAL_SMS_MAIN_SEND_URL": gateway.url,
            "KANAL_STAFF_TOKEN": TOKEN,
        }
        installation = stack.enter_context(_installation(request.param, directory, environment, stack))
        yield Town(installation, mailbox, gateway)


def _installation(mode: str, directory: Path, environment: dict[str, str], stack: ExitStack) -> Embedded | Cluster:
    if mode == "embedded":
        return Embedded(directory, environment)
    install(("kafka", "postgres", "nginx"))
    kafka = stack.enter_context(KafkaServer(directory / "kafka"))
    postgres = stack.enter_context(PostgresServer(directory / "postgres"))
    return Cluster(directory, kafka, postgres, environment)
