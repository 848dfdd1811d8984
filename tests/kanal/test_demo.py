"""The demo beside a Kanal at work."""

import os
import socket
from pathlib import Path

import pytest
from kanal_all_in_one.demo.play import _beside_others, leave_real_installation
from kanal_all_in_one.settings import AllSettings

from kanal.settings import load_settings


def test_the_demo_takes_other_ports_where_somebody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invented citizens wrote to the real Kanal that had the port."""
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as later_free:
        port, free = taken.getsockname()[1], later_free.getsockname()[1]
        later_free.close()
        monkeypatch.setenv("KANAL_HTTP_PORT", str(port))
        monkeypatch.setenv("KANAL_SMTP_PORT", str(free))
        chosen = _beside_others(load_settings(AllSettings))
    assert (chosen.smtp_port, os.environ["KANAL_HTTP_PORT"]) == (free, str(chosen.http_port))
    assert chosen.http_port not in (port, free)


def test_the_demo_has_nothing_of_a_real_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its senders would take real citizens' answers, and its citizens would write into the real journal."""
    (tmp_path / "url").write_text("postgresql+psycopg://kanal@db.example/kanal")
    for name, value in {
        "KANAL_JOURNAL": "kafka://k1.example:9092", "KANAL_DATABASE_URL_FILE": str(tmp_path / "url"), "KANAL_KEYS": str(tmp_path),
        "KANAL_DATA": str(tmp_path), "KANAL_SMTP_RELAY": "relay.example:25", "KANAL_HTTP_PORT": "8123",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with monkeypatch.context() as undone:  # what it deletes comes back
        for name in list(os.environ):
            undone.setenv(name, os.environ[name])
        leave_real_installation()
        settings = load_settings(AllSettings)
        settings.data.rmdir()
    assert settings.embedded
    assert settings.state_url == f"sqlite:///{settings.data}/state.db"
    assert (settings.keys_directory, settings.smtp_relay, settings.http_port) == (settings.data / "keys", "", 8123)
    assert settings.data != tmp_path
