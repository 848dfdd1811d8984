"""The keys of an installation: made once, private, never replaced."""

import os
from pathlib import Path

import pytest

from kanal.errors import SetupError
from kanal.keys import NAMES, make_keys, read_keys, secret_in, write_secret


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_keys_are_made_once_and_readable_only_by_this_user(tmp_path: Path) -> None:
    """Every file has mode 0600 and the directory 0700, whatever the umask."""
    before = os.umask(0)
    try:
        assert make_keys(tmp_path / "keys") is True
    finally:
        os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()} == dict.fromkeys(NAMES, 0o600)
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_existing_keys_are_never_made_again(tmp_path: Path) -> None:
    """New keys would not fit the numbers and contacts that exist."""
    make_keys(tmp_path)
    before = contents(tmp_path)
    assert make_keys(tmp_path) is False
    assert contents(tmp_path) == before


@pytest.mark.parametrize("lost", [name for name in NAMES if name != "contacts.private"])
def test_a_partial_set_is_refused_and_named(tmp_path: Path, lost: str) -> None:
    """A lost key is a case for the backup, not for a new key."""
    make_keys(tmp_path)
    (tmp_path / lost).unlink()
    before = contents(tmp_path)
    with pytest.raises(SetupError, match=lost):
        make_keys(tmp_path)
    assert contents(tmp_path) == before


def test_an_adapter_without_the_private_key_starts_and_has_none(tmp_path: Path) -> None:
    """Only senders may open contacts."""
    make_keys(tmp_path)
    (tmp_path / "contacts.private").unlink()
    assert make_keys(tmp_path) is False
    assert read_keys(tmp_path).contacts_private is None


def test_all_keys_differ_and_have_32_bytes(tmp_path: Path) -> None:
    """One key is never used for two things; two installations never share one."""
    make_keys(tmp_path / "one")
    make_keys(tmp_path / "two")
    values = [*read_keys(tmp_path / "one"), *read_keys(tmp_path / "two")]
    assert {len(value or b"") for value in values} == {32}
    assert len(set(values)) == 10


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("zz" * 32, id="not hexadecimal"),
        pytest.param("ab" * 31, id="too short"),
        pytest.param("ab" * 33, id="too long"),
        pytest.param("", id="empty"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_a_broken_key_is_named_without_its_content(tmp_path: Path, name: str, content: str) -> None:
    """The message goes to a log."""
    make_keys(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(SetupError, match=name) as error:
        read_keys(tmp_path)
    assert not content or content[:8] not in str(error.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    """And the command that makes keys."""
    with pytest.raises(SetupError, match=r"number\.key.*kanal keys"):
        read_keys(tmp_path)


def test_a_secret_is_never_written_over_another(tmp_path: Path) -> None:
    """Not even by mistake."""
    write_secret(tmp_path / "s", "first")
    with pytest.raises(FileExistsError):
        write_secret(tmp_path / "s", "second")
    assert (tmp_path / "s").read_text() == "first\n"


def test_a_secret_made_at_the_first_call_stays(tmp_path: Path) -> None:
    """The staff token of an embedded start is the same after a restart, and private."""
    path = tmp_path / "keys" / "staff.token"
    first = secret_in(path)
    assert len(first) >= 24
    assert secret_in(path) == first
    assert path.stat().st_mode & 0o777 == 0o600
