"""Kafka behind TLS and a login: both clients get through with the settings, and a wrong setting is named, without its value."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from kanal.errors import JournalAway, SetupError
from kanal.journal import Journal
from kanal.journal.kafka import KafkaJournal
from kanal.run import open_journal
from kanal.settings import Settings
from kanal.topics import REPORTS
from tests.conftest import _installed
from tests.journal.reading import ids, read_all, records
from tests.servers.certificates import Authority
from tests.servers.kafka import KafkaServer, Security
from tests.servers.processes import wait_until

pytestmark = pytest.mark.servers
PASSWORD = "rahasia-besar"
WRONG_PASSWORD = "tebakan-salah"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """Asks for a certificate and a password."""
    _installed("kafka")
    directory = tmp_path_factory.mktemp("secure")
    with KafkaServer(directory / "kafka", security=Security(Authority(directory / "authority"), {"kanal": PASSWORD})) as server:
        yield server


@pytest.fixture(scope="module")
def environment(broker: KafkaServer) -> Mapping[str, str]:
    """What an operator sets."""
    assert broker.security is not None
    authority = broker.security.authority
    own = authority.issue("kanal")
    password_file = own.key.with_name("password")
    password_file.write_text(f"{PASSWORD}\n")
    return {
        "KANAL_JOURNAL": f"kafka://{broker.secure_address}", "KANAL_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KANAL_KAFKA_CA": str(authority.certificate), "KANAL_KAFKA_CERTIFICATE": str(own.certificate), "KANAL_KAFKA_KEY": str(own.key),
        "KANAL_KAFKA_USER": "kanal", "KANAL_KAFKA_PASSWORD_FILE": str(password_file),
    }  # fmt: skip


def _kanal(environment: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "kanal_all_in_one", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False)


def _settings(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Settings()


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_topics_are_made_records_appended_and_read(environment: Mapping[str, str], mechanism: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every client that Kanal has gets through: topic set-up, producer, consumer, admin."""
    environment = {**environment, "KANAL_KAFKA_SASL_MECHANISM": mechanism}
    made = _kanal(environment, "topics")
    assert made.returncode == 0, made.stderr
    journal = open_journal(_settings(environment, monkeypatch))
    wait_until(lambda: _in_service(journal), 30, "topics in service")
    appended = records([f"{mechanism}-{number}" for number in range(5)], 3)
    journal.append(appended)
    assert journal.identity(REPORTS)
    found = [each for each in journal.scan(REPORTS) if each.key.startswith(mechanism)]
    assert sorted(ids(found)) == sorted(ids(appended))
    everything = sum(bounds.end for bounds in journal.bounds(REPORTS).values())
    assert len(read_all(journal, f"secure-{mechanism}", everything)) == everything
    journal.close()


def _in_service(journal: Journal) -> bool:
    """New partitions have no leader for a moment."""
    try:
        return bool(journal.bounds(REPORTS))
    except JournalAway:
        return False


def _authority_of_somebody_else(tmp_path: Path) -> dict[str, str]:
    return {"KANAL_KAFKA_CA": str(Authority(tmp_path / "other").certificate)}


def _certificate_of_somebody_else(tmp_path: Path) -> dict[str, str]:
    other = Authority(tmp_path / "other").issue("kanal")
    return {"KANAL_KAFKA_CERTIFICATE": str(other.certificate), "KANAL_KAFKA_KEY": str(other.key)}


def _wrong(case: str, tmp_path: Path) -> dict[str, str]:
    return {
        "password": lambda: {"KANAL_KAFKA_PASSWORD": WRONG_PASSWORD},
        "plain password": lambda: {"KANAL_KAFKA_PASSWORD": WRONG_PASSWORD, "KANAL_KAFKA_SASL_MECHANISM": "PLAIN"},
        "authority": lambda: _authority_of_somebody_else(tmp_path),
        "certificate": lambda: _certificate_of_somebody_else(tmp_path),
    }[case]()


NAMED = [
    pytest.param("password", "KANAL_KAFKA_PASSWORD"),
    pytest.param("plain password", "KANAL_KAFKA_PASSWORD"),
    pytest.param("authority", "KANAL_KAFKA_CA"),
    pytest.param("certificate", "KANAL_KAFKA_CERTIFICATE"),
]


@pytest.mark.parametrize(("case", "named"), NAMED)
def test_a_command_names_the_setting_that_is_wrong(environment: Mapping[str, str], case: str, named: str, tmp_path: Path) -> None:
    """An operator sees what to mend; the password is in no output, librdkafka's own included."""
    told = _kanal({**environment, **_wrong(case, tmp_path)}, "topics")
    assert told.returncode == 1
    assert named in told.stderr.splitlines()[-1]
    assert not [secret for secret in (PASSWORD, WRONG_PASSWORD) if secret in told.stdout + told.stderr]


def test_a_service_says_so_in_its_log_and_goes_on_trying(
    environment: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not stop: webhooks are taken into the spool until the password is right."""
    settings = _settings({**environment, **_wrong("password", tmp_path)}, monkeypatch)
    with capture_logs() as lines:
        journal = KafkaJournal(settings.journal, settings.kafka_client)
        with pytest.raises(JournalAway):
            journal.append(records(["a"], 1), timeout_seconds=2)
        wait_until(lambda: any(line["event"] == "kafka_refused" for line in lines), 20, "the line in the log")
        journal.close()
    line = next(line for line in lines if line["event"] == "kafka_refused")
    assert line["log_level"] == "error"
    assert "KANAL_KAFKA_PASSWORD" in line["error"]
    assert WRONG_PASSWORD not in str(lines)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        pytest.param({"kafka_user": "kanal", "kafka_password": PASSWORD}, "SECURITY_PROTOCOL", id="a password that nobody would use"),
        pytest.param({"kafka_security_protocol": "SASL_SSL", "kafka_user": "kanal"}, "KANAL_KAFKA_PASSWORD", id="no password"),
        pytest.param({"kafka_security_protocol": "SSL", "kafka_key": Path(__file__)}, "KANAL_KAFKA_CERTIFICATE", id="half a certificate"),
        pytest.param({"kafka_ca": Path(__file__)}, "KANAL_KAFKA_SECURITY_PROTOCOL", id="an authority without TLS"),
    ],
)
def test_half_a_set_up_is_refused(values: dict[str, object], named: str) -> None:
    """Better than to speak in clear where somebody meant to be safe."""
    with pytest.raises(SetupError, match=named) as refused:
        _ = Settings(**values).kafka_client  # type: ignore[arg-type]
    assert PASSWORD not in str(refused.value)


def test_a_file_that_is_no_certificate_is_told_by_the_name_of_its_setting() -> None:
    """At the start, not at the first connection."""
    settings = Settings(kafka_security_protocol="SSL", kafka_ca=Path(__file__))
    with pytest.raises(SetupError, match="KANAL_KAFKA_CA"):
        KafkaJournal("kafka://127.0.0.1:1", settings.kafka_client)
