"""Running a service as a process: open what it stands on, start its threads, stop within ten seconds of SIGTERM.

Threads: HTTP in the main one; one for all stages, round-robin; one per sender; each listener its own. `kanal up` runs every
service this way in one process, Kafka mode one service per process: the code is the same.
"""

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from kanal import stage_tables
from kanal.attachments import AttachmentStore
from kanal.connections import LimitedHttp
from kanal.database import Database
from kanal.errors import DatabaseAway, KanalError, SetupError
from kanal.journal import Journal
from kanal.journal.spool import Intake, Spool
from kanal.keys import make_keys, read_keys
from kanal.logs import configure_logs, logger
from kanal.pack import find_pack, load_pack
from kanal.service import Build, Platform, Service
from kanal.settings import Settings
from kanal.stage import StageLoop
from kanal.web import application

SPOOL_BYTES = 256 * 1024 * 1024
STUCK_SECONDS = 120
"""The stage thread makes a turn at least twice a second; after so long without one the process is not healthy."""

STOP_SECONDS = 10
DATABASE_SECONDS = 60


def run(name: str, settings: Settings, build: Build, greeting: Callable[[], None] = lambda: None) -> int:
    """Run until SIGTERM or SIGINT; the exit code of the process. A mistake in the set-up is told in one line.

    `greeting` is called once everything listens.
    """
    configure_logs(level=settings.log_level)
    sys.setswitchinterval(0.0005)  # webhooks must not wait behind a busy stage; see docs/decisions/0005-threads.md
    try:
        with opened(name, settings) as platform:
            return Process(build(platform), settings, platform, greeting).run()
    except KanalError as error:
        return _not_started(name, str(error))
    except OSError as error:  # a port that is taken, a directory that cannot be written
        return _not_started(name, f"{error.strerror or error}: {error.filename or _ports(settings)}")


def _not_started(name: str, why: str) -> int:
    logger(name).error("not_started", error=why)
    sys.stderr.write(f"kanal: {why}\n")
    return 1


def _ports(settings: Settings) -> str:
    ports = {name: value for name, value in settings.model_dump().items() if name.endswith("_port")}
    return ", ".join(f"KANAL_{name.upper()}={value}" for name, value in ports.items())


@contextmanager
def opened(name: str, settings: Settings, *, exclusive: bool = True) -> Iterator[Platform]:
    """Everything that services stand on. In embedded mode the data directory is locked, unless `exclusive` is False (tools).

    *Raises:* SetupError, TemporaryFailure.
    """
    os.umask(0o077)  # what citizens wrote is for this user's eyes only
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(settings.data / "lock") if settings.embedded and exclusive else _nothing():
        _keys_on_first_start(name, settings)
        journal = open_journal(settings)
        spool = None if settings.embedded else Spool(settings.data / "spool" / f"{name}.db", SPOOL_BYTES)
        intake = Intake(name, journal, spool)
        database = Database(settings.state_url)
        try:
            yield Platform(
                journal=journal,
                intake=intake,
                database=database,
                pack=load_pack(find_pack(settings.pack)),
                keys_if_any=read_keys(settings.keys_directory) if settings.keys_directory.exists() else None,
                attachments=AttachmentStore(settings.data / "attachments"),
            )
        finally:
            intake.close()
            journal.close()
            database.close()


def open_journal(settings: Settings) -> Journal:
    """The journal that the settings name."""
    if settings.embedded:
        from kanal.journal.sqlite import SqliteJournal

        return SqliteJournal(settings.data / "journal.db")
    if not settings.journal.startswith("kafka://"):
        raise SetupError("KANAL_JOURNAL must be `sqlite` or begin with kafka://")
    from kanal.journal.kafka import KafkaJournal

    return KafkaJournal(settings.journal, settings.kafka_client)


class Process:
    """A service with its threads."""

    def __init__(self, service: Service, settings: Settings, platform: Platform, greeting: Callable[[], None] = lambda: None) -> None:
        self._service = service
        self._greeting = greeting
        self._settings = settings
        self._platform = platform
        self._stop = threading.Event()
        self._failed = False
        self._turned_at = time.monotonic()
        self._loops = [StageLoop(handler, platform.journal, platform.database) for handler in service.handlers]
        self._log = logger(service.name)
        app = application(service.name, service.routers, self._alive, self._ready)
        config = uvicorn.Config(
            app, host=settings.http_host, port=settings.http_port, log_config=None, access_log=False, lifespan="off",
            timeout_graceful_shutdown=5, server_header=False, timeout_keep_alive=settings.http_request_seconds,
            limit_concurrency=settings.http_connections + 1, http=LimitedHttp, h11_max_incomplete_event_size=65_536,
        )  # fmt: skip
        self._server = uvicorn.Server(config)

    def run(self) -> int:
        """Until a signal comes or a stage refuses to go on."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._create_tables()
        threads = self._start_threads()
        self._log.info("started", stages=[loop.handler.name for loop in self._loops])
        threading.Thread(target=self._greet_when_up, name="greeting", daemon=True).start()
        try:
            self._server.run()
        except SystemExit:  # uvicorn's way of saying that the port is taken
            self._failed = True
            where = f"{self._settings.http_host}:{self._settings.http_port}"
            _not_started(self._service.name, f"KANAL_HTTP_HOST, KANAL_HTTP_PORT: {where} is taken, not allowed or not here")
        self._end(threads)
        return 1 if self._failed else 0

    def _create_tables(self) -> None:
        """The database may come up after us. *Raises:* DatabaseAway after a minute."""
        deadline = time.monotonic() + DATABASE_SECONDS
        while True:
            try:
                self._platform.database.create_tables(stage_tables.metadata, *self._service.tables)
                return
            except DatabaseAway as error:
                if time.monotonic() > deadline:
                    raise
                self._log.warning("database_awaited", error=error)
                time.sleep(1.0)

    def _start_threads(self) -> list[threading.Thread]:
        for listener in self._service.listeners:
            listener.start()
        threads = [
            threading.Thread(target=sender.run, args=(self._stop,), name=sender.name, daemon=True) for sender in self._service.senders
        ]
        if self._loops:
            threads.append(threading.Thread(target=self._run_stages, name="stages", daemon=True))
        for thread in threads:
            thread.start()
        return threads

    def _greet_when_up(self) -> None:
        while not self._server.started and not self._server.should_exit and not self._failed:
            time.sleep(0.02)
        if self._server.started:
            self._greeting()

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        for listener in self._service.listeners:
            listener.stop()
        self._stop.set()
        for thread in threads:
            thread.join(max(0.1, deadline - time.monotonic()))
        self._log.info("stopped", clean=not any(thread.is_alive() for thread in threads))

    def _run_stages(self) -> None:
        try:
            while not self._stop.is_set():
                self._turn()
                self._turned_at = time.monotonic()
        except Exception as error:  # a stage that must not go on: stop the process, let it be seen
            self._log.error("stage_stopped", error=error)
            self._failed = True
            self._server.should_exit = True
        for loop in self._loops:
            loop.stop()

    def _turn(self) -> None:
        if len(self._loops) == 1:
            self._loops[0].turn(0.5)
            return
        mark = self._platform.journal.mark()
        if not sum(loop.turn(0) for loop in self._loops):
            self._platform.journal.wait(mark, 0.5)

    def _on_signal(self, _number: int, _frame: Any) -> None:
        self._server.should_exit = True

    def _alive(self) -> bool:
        return not self._failed and (not self._loops or time.monotonic() - self._turned_at < STUCK_SECONDS)

    def _ready(self) -> bool:
        try:
            with self._platform.database.read():
                pass
            for loop in self._loops:
                self._platform.journal.identity(loop.handler.topics[0])
        except KanalError:
            return False
        return True


def _keys_on_first_start(name: str, settings: Settings) -> None:
    if not settings.embedded:
        return  # several processes share keys: `kanal keys` makes them once
    if (settings.data / "journal.db").exists() and not settings.keys_directory.exists():
        raise SetupError(f"{settings.data} holds a journal but {settings.keys_directory} no keys: restore them from the backup")
    if make_keys(settings.keys_directory):
        logger(name).warning("keys_made", directory=str(settings.keys_directory), advice="back them up now: nobody can make them again")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be alone in the directory of the file `path`. *Raises:* SetupError when another process is there."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SetupError(f"another Kanal is using {path.parent}") from None
        yield


@contextmanager
def _nothing() -> Iterator[None]:
    yield
