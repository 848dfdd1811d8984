"""`kanal backup` and `kanal restore`: a copy of an embedded installation, made while it runs, and putting it back.

A backup is a directory with `state.db`, `journal.db`, `attachments/`, perhaps `keys/`, and `manifest.json` with a checksum of
each. Not here: Kafka mode, where the brokers and the database have tools of their own (docs/how-to/run-in-production.md).
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import func, select

from kanal.attachments import sync_directory
from kanal.database import Database, copy_sqlite, is_sound_sqlite
from kanal.errors import SetupError
from kanal.journal.sqlite import renew_identity
from kanal.keys import read_keys, write_secret
from kanal.replies import replies
from kanal.run import locked
from kanal.settings import Settings
from kanal.stage_tables import follow_journal

FORMAT = 1
MANIFEST = "manifest.json"
_DATABASES = ("state.db", "journal.db")
"""In this order: the state must never be ahead of the journal. A stage goes on from the offset in its state and repeats what it had
done since; repeats are dropped by id. The other way round it would miss records, so it refuses to start."""

_CHUNK_BYTES = 1024 * 1024


class FileNote(msgspec.Struct, frozen=True):
    """What a file of the backup must be."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself."""

    format: int
    kanal: str
    """Version of Kanal that made it."""
    began_at: datetime
    """All that was acknowledged before is in it."""
    keys: dict[str, str]
    """Name of each key → SHA-256 of it: tells whether keys fit, and nothing else about them."""
    files: dict[str, FileNote]


class Restored(NamedTuple):
    """What was put back."""

    began_at: datetime
    replies_waiting: int
    """Not yet sent when the backup was made. Those sent since go out once more."""


@contextmanager
def _for_this_user_only() -> Iterator[None]:
    """What is made inside can be read by nobody else."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@_for_this_user_only()
def back_up(settings: Settings, directory: Path, *, with_keys: bool = False) -> Manifest:
    """Copy everything into `directory`, which appears whole and on disk, or not at all. Kanal may run.

    First the state, then the journal, then what came with messages: attachments are kept before the event that names them.
    The keys belong elsewhere, since whoever has both can read every address; `with_keys` puts them in all the same, with mode 0600.
    Answers that lie in the outbox folder are not copied. *Raises:* SetupError.
    """
    _refuse_other_modes(settings)
    keys = _fingerprints(settings.keys_directory)
    began_at = datetime.now(UTC)
    with _whole_or_not_at_all(directory) as partial:
        for name in _DATABASES:
            copy_sqlite(settings.data / name, partial / name)
        _copy_files(settings.data / "attachments", partial / "attachments")
        if with_keys:
            _copy_files(settings.keys_directory, partial / "keys")
        notes = {str(path.relative_to(partial)): _note(path) for path in _files(partial)}
        manifest = Manifest(format=FORMAT, kanal=version("kanal"), began_at=began_at, keys=keys, files=notes)
        (partial / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    return manifest


@_for_this_user_only()
def restore(settings: Settings, directory: Path) -> Restored:
    """Put a backup into the empty data directory of a Kanal that does not run; then it is ready to start.

    The keys must lie in their directory already unless the backup has them. The journal becomes another one: offsets after its end are
    given out anew, and readers outside that stored some must not go on from them. Kanal's own stages come along and go on.
    *Raises:* SetupError, and then the data directory is as it was.
    """
    _refuse_other_modes(settings)
    manifest = _read_manifest(directory)
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(settings.data / "lock"):
        _refuse_what_is_there(settings.data)
        _refuse_other_keys(settings, manifest)
        staging = settings.data / ".restoring"
        shutil.rmtree(staging, ignore_errors=True)
        try:
            _copy_checked(directory, staging, manifest.files)
            waiting = _make_ready(staging)
            _put_in_place(staging, settings)
        except OSError as error:
            raise SetupError(f"the backup cannot be restored: {error.strerror}") from None
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return Restored(manifest.began_at, waiting)


def _refuse_other_modes(settings: Settings) -> None:
    if not settings.embedded:
        raise SetupError("backup and restore are for embedded mode; on Kafka use the tools of the brokers and of the database")
    if settings.database_url:
        raise SetupError("KANAL_DATABASE_URL names the state: back that database up with its own tool, before the journal")


def _fingerprints(directory: Path) -> dict[str, str]:
    keys = read_keys(directory)._asdict()
    return {name: hashlib.sha256(value).hexdigest() for name, value in keys.items() if value is not None}


# Making one.


@contextmanager
def _whole_or_not_at_all(directory: Path) -> Iterator[Path]:
    """A directory beside it to fill, which takes its name when everything in it is on disk."""
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise SetupError(f"{directory} is there already and is no empty directory")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        try:
            yield partial
            _sync(partial)
            partial.rename(directory)
            sync_directory(directory.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise SetupError(f"the backup cannot be written: {error.strerror}") from None


def _files(directory: Path) -> Iterator[Path]:
    """Those whose names begin with a dot are not finished yet."""
    return (path for path in sorted(directory.rglob("*")) if path.is_file() and not path.name.startswith("."))


def _copy_files(source: Path, target: Path) -> None:
    for path in _files(source):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _note(path: Path) -> FileNote:
    with path.open("rb") as file:
        return FileNote(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _sync(directory: Path) -> None:
    for path in [*directory.rglob("*"), directory]:
        if path.is_dir():
            sync_directory(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())


# Putting it back.


def _read_manifest(directory: Path) -> Manifest:
    try:
        fields = msgspec.json.decode((directory / MANIFEST).read_bytes())
        known = fields["format"] == FORMAT
        if known:
            return msgspec.convert(fields, Manifest)
    except OSError as error:
        raise SetupError(f"{directory} is no backup: {MANIFEST} cannot be read ({error.strerror})") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, KeyError):
        raise SetupError(f"the backup is damaged: {MANIFEST} cannot be understood") from None
    raise SetupError(f"the backup has format {fields['format']}, this Kanal knows {FORMAT}: restore it with the Kanal that made it")


def _refuse_what_is_there(data: Path) -> None:
    there = {path.name for path in data.iterdir()} - {"lock", "keys", ".restoring"}
    if there:
        raise SetupError(f"{data} is not empty ({', '.join(sorted(there))}): restore into a new directory, or move this one away")


def _holds_something(directory: Path) -> bool:
    return directory.exists() and any(directory.iterdir())


def _refuse_other_keys(settings: Settings, manifest: Manifest) -> None:
    directory = settings.keys_directory
    if not _holds_something(directory):
        if "keys/number.key" not in manifest.files:
            raise SetupError(f"the backup holds no keys: put those of its installation into {directory} first")
        return
    found = _fingerprints(directory)
    if wrong := sorted(name for name, fingerprint in manifest.keys.items() if found.get(name) != fingerprint):
        raise SetupError(f"the keys in {directory} are not those of the backup's installation: {', '.join(wrong)}")


def _copy_checked(source: Path, target: Path, files: Mapping[str, FileNote]) -> None:
    for name, note in files.items():
        if not (target / name).resolve().is_relative_to(target.resolve()):
            raise SetupError(f"the backup is damaged: {name} leads out of it")
        (target / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            shutil.copyfile(source / name, target / name)
        except FileNotFoundError:
            raise SetupError(f"the backup is damaged: {name} is not there") from None
        if _note(target / name) != note:
            raise SetupError(f"the backup is damaged: {name} is not what was written")
    for name in _DATABASES:
        if not (target / name).exists() or not is_sound_sqlite(target / name):
            raise SetupError(f"the backup is damaged: {name} is no sound SQLite file")


def _make_ready(directory: Path) -> int:
    """The journal gets its new identity, the stages' offsets follow; how many replies wait."""
    identities = renew_identity(directory / "journal.db")
    database = Database(f"sqlite:///{directory / 'state.db'}")
    try:
        with database.begin() as connection:
            follow_journal(connection, identities)
            return connection.scalar(select(func.count()).where(replies.c.state.in_(("waiting", "sending")))) or 0
    finally:
        database.close()


def _put_in_place(staging: Path, settings: Settings) -> None:
    """The state first and the journal last: if the machine dies in between, Kanal refuses to start on the one without the other."""
    _sync(staging)
    if (staging / "keys").exists() and not _holds_something(settings.keys_directory):
        settings.keys_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in _files(staging / "keys"):
            write_secret(settings.keys_directory / path.name, path.read_text().strip())
        sync_directory(settings.keys_directory)
    for name in ("state.db", "attachments", "journal.db"):
        if (staging / name).exists():
            (staging / name).rename(settings.data / name)
            sync_directory(settings.data)
