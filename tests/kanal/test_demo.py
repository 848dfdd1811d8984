"""The demo beside a Kanal at work."""

import os
import socket

import pytest
from kanal_all_in_one.demo.play import _beside_others
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
