"""Attachments in a directory: durable, per message, never outside the store."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from kanal.attachments import AttachmentStore
from kanal.errors import InvalidInput, TemporaryFailure


@pytest.fixture
def store(tmp_path: Path) -> AttachmentStore:
    return AttachmentStore(tmp_path / "attachments")


def test_what_is_kept_can_be_read_and_is_described(store: AttachmentStore) -> None:
    """Path, size, type and hash are those of the bytes."""
    kept = store.keep("m1", "2", b"photo", "image/jpeg")
    assert (kept.path, kept.size, kept.media_type, kept.sealed) == ("m1/2", 5, "image/jpeg", False)
    assert kept.sha256 == hashlib.sha256(b"photo").hexdigest()
    assert store.read(kept.path) == b"photo"


def test_keeping_the_same_again_changes_nothing(store: AttachmentStore, tmp_path: Path) -> None:
    """A message that is taken in again after a crash has its attachments once, and no half-written file is left."""
    assert store.keep("m1", "0", b"raw", "message/rfc822", sealed=True) == store.keep("m1", "0", b"raw", "message/rfc822", sealed=True)
    assert [path.name for path in (tmp_path / "attachments" / "m1").iterdir()] == ["0"]


def test_files_and_directories_are_private(store: AttachmentStore, tmp_path: Path) -> None:
    """Photos of citizens are readable by this user only."""
    store.keep("m1", "0", b"x", "image/png")
    assert (tmp_path / "attachments/m1/0").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "attachments/m1").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("message_id", "name"),
    [
        pytest.param("..", "x", id="parent"),
        pytest.param("m1", "../../x", id="two up"),
        pytest.param("m1/../..", "x", id="in the middle"),
        pytest.param("/etc", "passwd", id="absolute"),
        pytest.param("../attachments-of-others", "x", id="neighbour with the same beginning"),
    ],
)
def test_a_path_that_leads_outside_is_refused(store: AttachmentStore, tmp_path: Path, message_id: str, name: str) -> None:
    """Nothing is written or read outside the store."""
    (tmp_path / "x").write_text("secret")
    for attempt in (lambda: store.keep(message_id, name, b"evil", "text/plain"), lambda: store.read(f"{message_id}/{name}")):
        with pytest.raises(InvalidInput) as error:
            attempt()
        assert error.value.field == "attachment"
    assert (tmp_path / "x").read_text() == "secret"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_link_that_leads_outside_is_refused(store: AttachmentStore, tmp_path: Path) -> None:
    """Also when somebody has put a link into the store."""
    store.keep("m1", "0", b"x", "text/plain")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "attachments/m1/link").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidInput):
        store.read("m1/link")


def test_a_missing_attachment_is_invalid_input(store: AttachmentStore) -> None:
    """It may have been erased."""
    with pytest.raises(InvalidInput):
        store.read("m1/7")


def test_content_and_directory_are_synced_before_it_returns(store: AttachmentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are on disk before the name, and the name before the event: fsync, link, fsync of the directories."""
    steps: list[str] = []
    fsync, link = os.fsync, os.link
    monkeypatch.setattr(os, "fsync", lambda descriptor: (steps.append("fsync"), fsync(descriptor))[1])
    monkeypatch.setattr(os, "link", lambda path, target: (steps.append("link"), link(path, target))[1])
    store.keep("m1", "0", b"x", "text/plain")
    assert steps == ["fsync", "link", "fsync", "fsync"]


def test_a_full_disk_is_a_temporary_failure_and_leaves_nothing(
    store: AttachmentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter then does not acknowledge; what was kept before stands."""
    store.keep("m1", "0", b"old", "text/plain")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on /secret/path")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TemporaryFailure) as error:
        store.keep("m1", "1", b"new", "text/plain")
    assert "secret" not in str(error.value)
    assert [path.read_bytes() for path in (tmp_path / "attachments/m1").iterdir()] == [b"old"]


def test_what_was_kept_first_stays_and_its_digest_is_told(store: AttachmentStore, tmp_path: Path) -> None:
    """Who sends the same mail with another photo must not replace the one that was acknowledged."""
    first = store.keep("m1", "0", b"first", "text/plain")
    again = store.keep("m1", "0", b"other", "text/plain")
    assert again == first
    assert (tmp_path / "attachments/m1/0").read_bytes() == b"first"
