"""What `kanal up` tells the person who started it."""

from pathlib import Path

import pytest
from kanal_all_in_one.greeting import greet
from kanal_all_in_one.settings import AllSettings, unknown_settings

from kanal.settings import load_settings


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("KANAL_STAFF_TOKEN", []),
        ("KANAL_STAFF_TOKEN_FILE", []),
        ("KANAL_SMS_MAIN_SECRET_FILE", []),
        ("KANAL_SMS_SECOND_GATEWAY_SEND_URL", []),
        ("KANAL_SMS_MIAN_SECRET", ["KANAL_SMS_MIAN_SECRET is no setting of Kanal; KANAL_SMS_MAIN_SECRET is"]),
        ("HOME", []),
        ("KANAL_STAF_TOKEN", ["KANAL_STAF_TOKEN is no setting of Kanal; KANAL_STAFF_TOKEN is"]),
        ("KANAL_XYZZY", ["KANAL_XYZZY is no setting of Kanal"]),
    ],
)
def test_a_mistyped_setting_is_told(name: str, told: list[str]) -> None:
    """It would be ignored, and the person wonders why nothing changes."""
    assert unknown_settings([name], ["main", "second-gateway"]) == told


def test_the_banner_says_where_to_look_and_names_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The addresses as they were set, the secret only by the name of its variable, and what was mistyped."""
    for name, value in {"DATA": str(tmp_path), "HTTP_PORT": "8123", "SMTP_RELAY": "relay.example:25", "SMS_MAIN_SECRET": "geheim"}.items():
        monkeypatch.setenv(f"KANAL_{name}", value)
    monkeypatch.setenv("KANAL_HTTP_PROT", "8124")
    greet(load_settings(AllSettings))
    told = capsys.readouterr().err
    for expected in ("http://localhost:8123/", "KANAL_SMS_MAIN_SECRET", "through the relay relay.example:25", "KANAL_HTTP_PORT is."):
        assert expected in told
    assert "geheim" not in told
