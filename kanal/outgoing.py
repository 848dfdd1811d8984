"""The outbox folder: where answers lie that no relay or gateway is set up for, so that a trial shows what would be sent."""

import os
from pathlib import Path

from kanal.errors import TemporaryFailure
from kanal.logs import logger


def keep_file(directory: Path, name: str, content: bytes) -> None:
    """Write `content` whole or not at all; the same name again replaces it. *Raises:* TemporaryFailure (disk full)."""
    partial = directory / f".{name}.{os.getpid()}"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial.write_bytes(content)
        partial.replace(directory / name)
    except OSError as error:
        raise TemporaryFailure(f"the outbox folder cannot be written (errno {error.errno})", reason="outbox-folder") from None
    logger("sender").info("reply_kept_as_file", file=name)
