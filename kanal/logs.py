"""Logging: structlog, JSON lines on standard output, pretty on a terminal. Never an address, a name or a text of a citizen."""

import contextlib
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog


def configure_logs(*, level: str = "INFO") -> None:
    """Set up logging of the whole process once, Kanal's own and that of libraries (warnings and worse)."""
    renderer: Any = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer(ensure_ascii=False)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _error_kind_only,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping().get(level.upper(), logging.INFO)),
        logger_factory=lambda *_arguments: _LineLogger(sys.stderr if sys.stderr.isatty() else sys.stdout),
    )
    handler = logging.StreamHandler()
    handler.setFormatter(_WhoAndHowLoud('{"event": "library", "logger": "%(name)s", "level": "%(levelname)s"}'))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # aiosmtpd logs envelopes, which are addresses


def logger(service: str) -> Any:
    """A logger whose lines carry `service`."""
    return structlog.get_logger().bind(service=service)


class _WhoAndHowLoud(logging.Formatter):
    """Neither the message of a library nor its exception: both may quote input."""

    def formatException(self, _error: Any) -> str:  # noqa: N802 (logging's name)
        return ""

    def formatStack(self, _stack: str) -> str:  # noqa: N802 (logging's name)
        return ""


class _LineLogger:
    """Writes lines. A log that cannot be written (full disk, closed pipe) must not become the failure of what it tells about."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._file.write(line + "\n")
            self._file.flush()

    log = debug = info = warn = warning = error = critical = fatal = exception = msg


def _error_kind_only(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception's own text may quote input; only Kanal's errors promise not to."""
    error = line.pop("error", None)
    if isinstance(error, BaseException):
        line["error"] = str(error) if type(error).__module__.startswith("kanal") else type(error).__name__
        frame = error.__traceback__
        while frame and frame.tb_next:
            frame = frame.tb_next
        if frame:
            line["error_at"] = f"{frame.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.tb_lineno}"
    elif error is not None:
        line["error"] = error
    return line
