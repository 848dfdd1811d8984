"""What only root may do: running Postfix, mounting a small disk."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def need_root(what: str) -> None:
    """Skip the test, whose limit is that it needs root for `what`; in CI that is a failure, as a missing server is."""
    if os.geteuid() != 0:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{what} needs root")


@contextmanager
def small_disk(directory: Path, size: str | int) -> Iterator[Path]:
    """A file system of its own in `directory`, so large (bytes, or as `64k`). Needs root."""
    directory.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)
