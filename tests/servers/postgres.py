"""A PostgreSQL server on loopback, run as user `postgres` when we are root, since it refuses to run as root."""

import os
import pwd
import shutil
import signal
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from tests.servers.install import postgres_programs
from tests.servers.processes import Child, Server, ServerError, home_for

_ONLY_LOOPBACK = "host all all 127.0.0.1/32 trust\n"


class PostgresServer(Server):
    """A cluster of databases whose committed transactions survive `kill`. No password, no Unix socket, 127.0.0.1 only."""

    # "Fast": ends open sessions instead of waiting for them.
    stop_signal = signal.SIGINT

    def __init__(self, directory: Path, port: int | None = None, *, fsync: bool = True) -> None:
        """The data lie in `directory/data`, or in a temporary folder that `directory/elsewhere` points to.

        The latter when user `postgres` may not enter the directory. `fsync=False` is quicker, and safe
        against `kill` but not against a power cut.
        """
        super().__init__(directory, port)
        self.fsync = fsync
        self._user = "postgres" if os.geteuid() == 0 else None

    def url(self, database: str) -> str:
        """The address of a database as SQLAlchemy takes it."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> None:
        self._run("CREATE DATABASE {}", name)

    def drop_database(self, name: str) -> None:
        """Drops the database, with whoever is connected to it; one that is not there is no error."""
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _run(self, statement: LiteralString, name: str) -> None:
        with self._connect() as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", dbname="postgres", autocommit=True, connect_timeout=2)

    def launch(self) -> Child:
        home = home_for(self._user, self.directory, "kanal-pg-") if self._user else self.directory
        data = home / "data"
        if not (data / "PG_VERSION").exists():
            self._init(data)
        return Child(
            [str(postgres_programs() / "postgres"), "-D", str(data), *self._options()],
            self.directory / "postgres.log",
            user=self._user,
            cwd=data,
            # "Immediate": the server's own children end with it.
            death_signal=signal.SIGQUIT,
        )

    def ready(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _options(self) -> list[str]:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            # A socket's path may have 107 bytes, which test folders exceed, and nobody needs one here.
            "unix_socket_directories": "",
            "fsync": "on" if self.fsync else "off",
            # Files in the data folder, not segments in the machine's shared memory that a kill would leave.
            "dynamic_shared_memory_type": "mmap",
        }
        return [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]

    def _init(self, data: Path) -> None:
        """Makes the data folder, whole or not at all."""
        unfinished = data.with_name("data.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        self._own(unfinished)
        self._initdb(unfinished)
        (unfinished / "pg_hba.conf").write_text(_ONLY_LOOPBACK)
        unfinished.rename(data)

    def _own(self, folder: Path) -> None:
        if self._user:
            account = pwd.getpwnam(self._user)
            os.chown(folder, account.pw_uid, account.pw_gid)

    def _initdb(self, data: Path) -> None:
        # Not synced: a folder lost in a power cut before its first use loses nothing.
        options = ["--no-sync", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8"]
        log = self.directory / "initdb.log"
        child = Child([str(postgres_programs() / "initdb"), *options, "-D", str(data)], log, user=self._user, cwd=data)
        if child.wait(self.start_seconds):
            raise ServerError(f"initdb failed\n{child.log_tail()}")
