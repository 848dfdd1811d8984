"""Files that came with messages, in a directory: `<message id>/<n>`. On disk before the event that names them."""

import hashlib
import os
import uuid
from contextlib import suppress
from pathlib import Path

from kanal.errors import InvalidInput, TemporaryFailure
from kanal.events import Attachment


class AttachmentStore:
    """Keeps bytes per message, so that erasing one message touches no other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, message_id: str, name: str, content: bytes, media_type: str, *, sealed: bool = False) -> Attachment:
        """Durable when it returns. What was kept first under a name stays: the event that names it has its digest.

        *Raises:* TemporaryFailure (disk full).
        """
        path = self._path(f"{message_id}/{name}")
        try:
            if not path.exists():
                _write(path, content)
            kept = path.read_bytes()
        except OSError as error:
            raise TemporaryFailure(f"attachments cannot be kept (errno {error.errno})", reason="attachments") from None
        digest = hashlib.sha256(kept).hexdigest()
        return Attachment(path=f"{message_id}/{name}", media_type=media_type, size=len(kept), sha256=digest, sealed=sealed)

    def read(self, path: str) -> bytes:
        """*Raises:* InvalidInput when there is no such attachment."""
        try:
            return self._path(path).read_bytes()
        except OSError:
            raise InvalidInput("attachment", "is not there") from None

    def _path(self, path: str) -> Path:
        resolved = (self._directory / path).resolve()
        if self._directory.resolve() not in resolved.parents:
            raise InvalidInput("attachment", "leads outside the store")
        return resolved


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and never over another: of two at once the first wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(partial, "wb", opener=_private) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    sync_directory(path.parent)
    sync_directory(path.parent.parent)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def sync_directory(directory: Path) -> None:
    """What was made, renamed or removed in it is on disk when this returns."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
