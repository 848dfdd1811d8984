"""A Kanal of its own for each module that attacks one, and how long the fuzzing goes on."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.pipeline.town import SECRET, TOKEN, Town
from tests.servers.gateway import SmsGateway
from tests.servers.kanal import Embedded
from tests.servers.mailbox import Mailbox

SOAK = os.environ.get("KANAL_SOAK") == "1"
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
FUZZ = settings(max_examples=5_000 if SOAK else 100, derandomize=not SOAK, deadline=None, database=None, suppress_health_check=_SLOW)
"""The same inputs in every run; with KANAL_SOAK=1 new ones, and many more."""

HTTP_SECONDS = 4


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Kanal in one process, with the limits that it ships with, but for a patience that a test can wait for."""
    directory: Path = tmp_path_factory.mktemp("hostile")
    with Mailbox() as mailbox, SmsGateway(SECRET) as gateway:
        environment = {
            "KANAL_SMTP_RELAY": f"127.0.0.1:{mailbox.port}",
            "KANAL_SMS_MAIN_SECRET": SECRET,
            "KANAL_SMS_MAIN_SEND_URL": gateway.url,
            "KANAL_STAFF_TOKEN": TOKEN,
            "KANAL_HTTP_REQUEST_SECONDS": str(HTTP_SECONDS),
        }
        with Embedded(directory, environment) as kanal:
            yield Town(kanal, mailbox, gateway)
