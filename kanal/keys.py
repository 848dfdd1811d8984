"""The secret keys of an installation: made once with mode 0600, read at start, never logged. Losing them loses numbers and contacts."""

import os
import secrets
from pathlib import Path
from typing import NamedTuple

from nacl.public import PrivateKey

from kanal.errors import SetupError

NAMES = ("number.key", "sender.key", "token.key", "contacts.public", "contacts.private")
"""number: tracking numbers · sender: sender keys and conversations · token: reply tokens · contacts: the sealed addresses.

Adapters need all but `contacts.private`; only senders need that one; other services need none.
"""


class Keys(NamedTuple):
    """What was read; `contacts_private` is None where a service must not be able to open an address."""

    number: bytes
    sender: bytes
    token: bytes
    contacts_public: bytes
    contacts_private: bytes | None


def make_keys(directory: Path) -> bool:
    """Make all keys if the directory has none; True when they were made now. *Raises:* SetupError when only some are there."""
    present = [name for name in NAMES if (directory / name).exists()]
    if present:
        missing = sorted(set(NAMES) - set(present) - {"contacts.private"})
        if missing:
            raise SetupError(f"{directory} lacks {', '.join(missing)}: restore the keys from the backup, new ones would not fit")
        return False
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    private = PrivateKey.generate()
    # The private key first: a set that lacks one of the others is seen to be broken, one that lacks it is not (services without).
    values = {"contacts.private": bytes(private), "contacts.public": bytes(private.public_key)} | dict.fromkeys(NAMES[:3], b"")
    for name, value in values.items():
        write_secret(directory / name, (value or secrets.token_bytes(32)).hex())
    return True


def read_keys(directory: Path) -> Keys:
    """*Raises:* SetupError that names the file that is missing or broken."""
    private = directory / "contacts.private"
    number, sender, token, public = (_read(directory / name) for name in NAMES[:4])
    return Keys(number, sender, token, public, _read(private) if private.exists() else None)


def write_secret(path: Path, text: str) -> None:
    """Write a secret that only this user can read, durably, and never over another."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())


def secret_in(path: Path) -> str:
    """The secret kept in `path`, made on the first call."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_secret(path, secrets.token_urlsafe(24))
    return path.read_text().strip()


def _read(path: Path) -> bytes:
    try:
        value = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        kind = type(error).__name__
        told = f"the key {path.name} in {path.parent} cannot be read ({kind})"
        raise SetupError(f"{told}: restore it from the backup; where there are no data yet, `kanal keys` makes new ones") from None
    if len(value) != 32:
        raise SetupError(f"the key {path.name} in {path.parent} has {len(value)} bytes instead of 32")
    return value
