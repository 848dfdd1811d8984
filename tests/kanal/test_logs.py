"""What is written to the log, and what never is."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from kanal.errors import InvalidEvent
from kanal.logs import configure_logs, logger

ADDRESS = "adi@warga.example"


@pytest.fixture(autouse=True)
def default_logs() -> Iterator[None]:
    """Other tests' logging is as it was."""
    root, handlers, level = logging.getLogger(), list(logging.getLogger().handlers), logging.getLogger().level
    mail_level = logging.getLogger("mail.log").level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("mail.log").setLevel(mail_level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def test_a_line_is_json_with_service_level_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    """One line an event, in UTC, with letters as they are."""
    configure_logs()
    logger("tracker").info("report_routed", number="JK-X", reason="Perbaikan é")
    (line,) = lines(capsys)
    assert (line["event"], line["service"], line["level"], line["number"], line["reason"]) == (
        "report_routed", "tracker", "info", "JK-X", "Perbaikan é"
    )  # fmt: skip
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ValueError(f"cannot parse {ADDRESS}"), id="plain"),
        pytest.param(KeyError(ADDRESS), id="key"),
        pytest.param(UnicodeDecodeError("utf-8", ADDRESS.encode(), 0, 1, "broken"), id="bytes"),
        pytest.param(ExceptionGroup(ADDRESS, [ValueError(ADDRESS)]), id="group"),
    ],
)
def test_an_exception_whose_text_holds_an_address_logs_only_its_type(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """And where it happened, so that it can be mended."""
    configure_logs()
    logger("x").error("request_failed", error=raised(error))
    output = capsys.readouterr().out
    assert ADDRESS not in output
    line = json.loads(output)
    assert line["error"] == type(error).__name__
    assert line["error_at"].startswith("test_logs.py:")


def test_kanal_s_own_errors_are_told_in_their_words(capsys: pytest.CaptureFixture[str]) -> None:
    """They promise to hold no payload; their cause, which may, is left out."""
    configure_logs()
    error = InvalidEvent("the record has no ce_id")
    error.__cause__ = ValueError(ADDRESS)
    logger("x").error("message_dead_lettered", error=raised(error))
    output = capsys.readouterr().out
    assert ADDRESS not in output
    assert json.loads(output)["error"] == "the record has no ce_id"


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    """`KANAL_LOG_LEVEL`, in any case."""
    configure_logs(level="warning")
    logger("x").info("batch_committed")
    logger("x").warning("batch_retried")
    assert [line["event"] for line in lines(capsys)] == ["batch_retried"]


def test_a_library_s_words_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    """They may quote envelopes and requests: only who spoke and how loud."""
    configure_logs()
    logging.getLogger("aiosmtpd").warning("RCPT TO %s", ADDRESS)
    logging.getLogger("mail.log").error("RCPT TO %s", ADDRESS)
    captured = capsys.readouterr()
    assert ADDRESS not in captured.out + captured.err
    assert "aiosmtpd" in captured.out + captured.err


def test_a_library_s_exception_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    """uvicorn logs a broken request with its traceback, whose last line is the exception's text."""
    configure_logs()
    logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=raised(ValueError(ADDRESS)))
    captured = capsys.readouterr()
    assert ADDRESS not in captured.out + captured.err
    assert "uvicorn.error" in captured.out + captured.err
