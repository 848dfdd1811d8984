"""T11 and T14: the disk is full, and the machine loses its power.

A full disk is a small tmpfs in place of a folder, which takes root. A power cut is approximated by SIGKILL to everything in the middle of
writing and a look at the files: what the kernel had not yet written is not lost in it. That part rests on `PRAGMA synchronous = FULL` and on
the words of SQLite and of the disk.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from pysqlite3 import dbapi2 as sqlite

from tests.faults.broker import broker_of
from tests.faults.harness import Fault, Run
from tests.faults.traffic import Habits
from tests.servers.processes import Server
from tests.servers.root import small_disk

SPARE = 3 * 1024 * 1024
FULL_SECONDS = 3
PATIENT = Habits(pause_seconds=0.3)


def data_full(run: Run) -> None:
    """Journal, state and attachments lie on a disk that is full for a while: nothing is acknowledged then, and nothing torn."""
    kanal = run.town.kanal
    with _on_small_disk(kanal.data, [kanal.process_of("kanal")]), run.traffic(PATIENT) as traffic:
        traffic.wait_for(10)
        with _full(kanal.data):
            time.sleep(FULL_SECONDS)
    _check_files(run)


def spool_full(run: Run) -> None:
    """Kafka hangs, and the disk of the spool is full as well: 503 and 451, until both are back."""
    kanal = run.town.kanal
    with _on_small_disk(kanal.data, [kanal.process_of(name) for name in kanal.processes]), run.traffic(PATIENT) as traffic:
        traffic.wait_for(10)
        with _full(kanal.data):
            broker_of(run).pause()
            time.sleep(FULL_SECONDS + 3)
            broker_of(run).resume()
        broker_of(run).wait_ready()


def broker_full(run: Run) -> None:
    """Kafka gives up when it cannot write; it is started again once there is room."""
    broker = broker_of(run)
    with _on_small_disk(broker.directory / "data", [broker]):
        with run.traffic(PATIENT) as traffic:
            traffic.wait_for(10)
            with _full(broker.directory / "data"):
                time.sleep(FULL_SECONDS)
            broker.restart()
        run.wait_for_rest()


@contextmanager
def _on_small_disk(folder: Path, users: list[Server]) -> Iterator[None]:
    """`folder` on a tmpfs of its own while inside; its users are restarted around it."""
    aside = folder.with_name(f"{folder.name}.aside")
    _stop(users)
    size = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) + SPARE * 4
    folder.rename(aside)
    try:
        with small_disk(folder, size):
            try:
                _copy(aside, folder)
                _start(users)
                yield
                _stop(users)
                shutil.rmtree(aside)
                _copy(folder, aside)
            finally:
                _stop(users)
    finally:
        folder.rmdir()
        aside.rename(folder)
    _start(users)


def _copy(source: Path, target: Path) -> None:
    """Holes in files stay holes: Kafka's indexes are mostly that."""
    target.mkdir(exist_ok=True, mode=0o700)
    subprocess.run(["cp", "-a", "--sparse=always", f"{source}/.", target], check=True)


def _stop(users: list[Server]) -> None:
    for user in users:
        user.stop()


def _start(users: list[Server]) -> None:
    for user in users:
        user.start(wait=False)
    for user in users:
        user.wait_ready()


@contextmanager
def _full(folder: Path) -> Iterator[None]:
    """No byte is left inside."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4_096)
    try:
        yield
    finally:
        filler.unlink()


def power_cut(run: Run) -> None:
    """SIGKILL at moments that nobody chose, three times, while everything is written; both files are whole each time."""
    process = run.town.kanal.process_of("kanal")
    with run.traffic() as traffic:
        for _ in range(3):
            traffic.wait_for(len(run.ledger.sent) + run.random.randint(1, 10))
            time.sleep(run.random.uniform(0, 0.1))
            process.kill()
            _check_files(run)
            process.start()


def _check_files(run: Run) -> None:
    for name in ("journal.db", "state.db"):
        with closing(sqlite.connect(run.town.kanal.data / name, timeout=30)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], f"{name} is damaged"


ROOT = os.geteuid() == 0
FAULTS = [
    Fault(
        "disk full",
        "T11",
        "The disk of journal, state and attachments is full for 3 seconds",
        data_full,
        ("embedded",),
        ("embedded",) if ROOT else (),
        rounds=5,
    ),
    Fault(
        "disk full and Kafka away",
        "T11",
        "Kafka hangs while the disk of the spool is full",
        spool_full,
        ("kafka",),
        (),
        rounds=5,
    ),
    Fault(
        "disk of Kafka full",
        "T11",
        "Kafka's own disk is full, and it gives up; started again when there is room",
        broker_full,
        ("kafka",),
        (),
        rounds=5,
    ),
    Fault(
        "power cut",
        "T14",
        "Everything is killed (SIGKILL) in the middle of writing, three times; the files are checked",
        power_cut,
        ("embedded",),
        ("embedded",),
    ),
]
