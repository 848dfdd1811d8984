"""Settings: from the environment and from files, and errors that never show a value."""

from pathlib import Path

import pytest
from pydantic import Field

from kanal.errors import SetupError
from kanal.settings import Settings, load_settings

SECRET = "rahasia-yang-panjang"


class WithSecret(Settings):
    """What a service adds."""

    staff_token: str = Field("", min_length=0)
    limit: int = Field(3, ge=1)


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has set is not seen."""
    import os

    for name in list(os.environ):
        if name.upper().startswith("KANAL_"):
            monkeypatch.delenv(name)


def test_the_defaults_are_the_documented_names() -> None:
    """Embedded, port 8000, Jakarta, everything under `data`."""
    settings = load_settings(Settings)
    assert (settings.http_port, settings.journal, settings.pack, settings.data) == (8000, "sqlite", "jakarta", Path("data"))
    assert settings.embedded
    assert settings.keys_directory == Path("data/keys")
    assert settings.state_url == "sqlite:///data/state.db"
    assert settings.page_url == "http://localhost:8000"


def test_a_value_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`KANAL_` and the name."""
    monkeypatch.setenv("KANAL_HTTP_PORT", "8123")
    monkeypatch.setenv("KANAL_PUBLIC_URL", "https://lapor.example/")
    settings = load_settings(Settings)
    assert (settings.http_port, settings.page_url) == (8123, "https://lapor.example")


def test_a_secret_comes_from_the_file_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the line break that editors add."""
    (tmp_path / "token").write_text(f"{SECRET}\n")
    monkeypatch.setenv("KANAL_STAFF_TOKEN_FILE", str(tmp_path / "token"))
    assert load_settings(WithSecret).staff_token == SECRET


def test_kafka_options_with_a_password_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They hold `sasl.password`, so they must be mountable like every secret; as JSON, as in the environment."""
    (tmp_path / "options").write_text('{"sasl.password": "' + SECRET + '"}')
    monkeypatch.setenv("KANAL_KAFKA_OPTIONS_FILE", str(tmp_path / "options"))
    assert load_settings(Settings).kafka_options == {"sasl.password": SECRET}


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sets both means the nearer one."""
    (tmp_path / "token").write_text("from the file")
    monkeypatch.setenv("KANAL_STAFF_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("KANAL_STAFF_TOKEN", "from the environment")
    assert load_settings(WithSecret).staff_token == "from the environment"


def test_a_file_that_cannot_be_read_is_a_set_up_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a traceback, and not a start without the secret."""
    monkeypatch.setenv("KANAL_STAFF_TOKEN_FILE", str(tmp_path / "nothing"))
    with pytest.raises(SetupError, match="KANAL_STAFF_TOKEN_FILE"):
        load_settings(WithSecret)


@pytest.mark.parametrize("content", [b'{"sasl.password": "' + SECRET.encode() + b'"', b"\xff" + SECRET.encode()])
def test_a_file_with_something_else_in_it_is_a_set_up_error(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, and nothing of what it holds."""
    (tmp_path / "options").write_bytes(content)
    monkeypatch.setenv("KANAL_KAFKA_OPTIONS_FILE", str(tmp_path / "options"))
    with pytest.raises(SetupError, match="KANAL_KAFKA_OPTIONS_FILE") as error:
        load_settings(Settings)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("KANAL_HTTP_PORT", SECRET, id="no number"),
        pytest.param("KANAL_HTTP_PORT", "70000", id="no port"),
        pytest.param("KANAL_LIMIT", "-70000", id="too small"),
        pytest.param("KANAL_KAFKA_OPTIONS", SECRET, id="no JSON"),
        pytest.param("KANAL_KAFKA_OPTIONS", f'["{SECRET}"]', id="JSON of another kind"),
    ],
)
def test_an_error_names_the_variable_and_not_the_value(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """It is printed at the start and may be a secret in the wrong place."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SetupError, match=name) as error:
        load_settings(WithSecret)
    assert value not in str(error.value)
    assert SECRET not in str(error.value)


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one a start."""
    monkeypatch.setenv("KANAL_HTTP_PORT", "x")
    monkeypatch.setenv("KANAL_LIMIT", "y")
    with pytest.raises(SetupError, match=r"KANAL_HTTP_PORT.*KANAL_LIMIT"):
        load_settings(WithSecret)


def test_kafka_without_a_database_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several processes cannot share an SQLite file."""
    monkeypatch.setenv("KANAL_JOURNAL", "kafka://localhost:9092")
    with pytest.raises(SetupError, match="KANAL_DATABASE_URL"):
        _ = load_settings(Settings).state_url
