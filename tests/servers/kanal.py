"""Kanal itself as processes, in both modes behind one face: for the pipeline and fault tests, and for `make cluster`."""

import http.client
import os
import secrets
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Self

from sqlalchemy.engine import make_url

from tests.servers.kafka import KafkaCluster, KafkaServer
from tests.servers.nginx import Nginx
from tests.servers.postgres import PostgresServer
from tests.servers.processes import Child, Server, free_port, wait_until

PROJECT = Path(__file__).resolve().parents[2]
SERVICES = ("ingest-email", "ingest-sms", "normalizer", "router", "tracker")


class KanalProcess(Server):
    """One process of Kanal: a service, or `kanal up`. Ready when `/readyz` says so."""

    stop_seconds = 15.0

    def __init__(self, name: str, directory: Path, environment: Mapping[str, str], port: int | None = None) -> None:
        super().__init__(directory, port)
        self.name = name
        self.environment = dict(environment)
        """Of the next start."""
        self.run_by: Sequence[str] = ()
        """A module that runs the service's module at the next start, with its arguments."""

    def launch(self) -> Child:
        module = ["kanal_all_in_one", "up"] if self.name == "kanal" else [f"kanal_{self.name.replace('-', '_')}"]
        given = {"PYTHONUNBUFFERED": "1", "KANAL_HTTP_PORT": str(self.port), "KANAL_FAIL_POINT": str(self._fail_point)}
        environment = {**os.environ, **self.environment, **given}
        return Child([sys.executable, "-m", *self.run_by, *module], self.log, env=environment, cwd=PROJECT)

    @property
    def log(self) -> Path:
        return self.directory / f"{self.name}.log"

    def ready(self) -> bool:
        return answers(self.port, "/readyz")

    def kill_at(self, point: str, passes: int, number: signal.Signals = signal.SIGKILL) -> None:
        """Let the process send itself this signal when it passes this fail-point for the N-th time from now."""
        unfinished = self._fail_point.with_suffix(".unfinished")
        unfinished.write_text(f"{point}:{passes}:{number.name}")
        unfinished.rename(self._fail_point)

    def wait_for_freeze(self, timeout_seconds: float = 30) -> None:
        """Return when the process has stopped itself with SIGSTOP."""
        wait_until(self._running_child().stands_still, timeout_seconds, f"freeze of {self}")
        self._fail_point.unlink()

    def wait_for_death(self, timeout_seconds: float = 30) -> int:
        """The exit code of a process that is expected to die by itself; the next one has no fail-point."""
        code = self._running_child().wait(timeout_seconds)
        self._child = None
        self._fail_point.unlink(missing_ok=True)
        return code

    @property
    def _fail_point(self) -> Path:
        return self.directory / f"{self.name}.fail-point"

    def __str__(self) -> str:
        return f"{self.name} on port {self.port}"


class Installation:
    """What a citizen, a gateway and an officer need to know of a running Kanal, whatever the mode."""

    mode = ""

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None, http_port: int | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.data = directory / "data"
        self.http_port = http_port or free_port()
        self.smtp_port = int((environment or {}).get("KANAL_SMTP_PORT") or free_port())
        self.staff_token = (environment or {}).get("KANAL_STAFF_TOKEN") or secrets.token_urlsafe(16)
        self.sms_secret = (environment or {}).get("KANAL_SMS_MAIN_SECRET") or secrets.token_urlsafe(16)
        self.environment = {
            "KANAL_DATA": str(self.data),
            "KANAL_SMTP_PORT": str(self.smtp_port),
            "KANAL_STAFF_TOKEN": self.staff_token,
            "KANAL_SMS_MAIN_SECRET": self.sms_secret,
            "KANAL_PUBLIC_URL": self.url,
            **(environment or {}),
        }
        self.processes: dict[str, KanalProcess] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def process_of(self, service: str) -> KanalProcess:
        """The process that a service runs in."""
        raise NotImplementedError

    def start(self) -> Self:
        """Everything up and ready."""
        raise NotImplementedError

    def stop(self) -> None:
        """Everything down, Kanal first."""
        raise NotImplementedError

    def logs(self) -> str:
        """All that Kanal's processes have logged."""
        return "\n".join(process.log.read_text(errors="replace") for process in self.processes.values() if process.log.exists())

    def kanal(self, *arguments: str) -> Sequence[str]:
        """The command line of the `kanal` command, to be run with `self.command_environment`."""
        return [sys.executable, "-m", "kanal_all_in_one", *arguments]

    @property
    def command_environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class Embedded(Installation):
    """One process over one SQLite journal."""

    mode = "embedded"

    def __init__(self, directory: Path, environment: Mapping[str, str] | None = None, http_port: int | None = None) -> None:
        super().__init__(directory, environment, http_port)
        self.database_url = f"sqlite:///{self.data / 'state.db'}"
        self.journal_url = "sqlite"
        self.processes["kanal"] = KanalProcess("kanal", directory, self.environment, self.http_port)

    def process_of(self, service: str) -> KanalProcess:
        return self.processes["kanal"]

    def start(self) -> Self:
        self.processes["kanal"].start()
        return self

    def stop(self) -> None:
        self.processes["kanal"].stop()


class Cluster(Installation):
    """A process per service over Kafka and PostgreSQL, nginx in front."""

    mode = "kafka"

    def __init__(
        self, directory: Path, kafka: KafkaServer | KafkaCluster, postgres: PostgresServer, environment: Mapping[str, str] | None = None,
        http_port: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__(directory, environment, http_port)
        self.kafka = kafka
        self.postgres = postgres
        self.database = "kanal"
        self.database_url = postgres.url(self.database)
        self.journal_url = f"kafka://{kafka.address}"
        self.environment |= {"KANAL_JOURNAL": self.journal_url, "KANAL_DATABASE_URL": self.database_url}
        for name in SERVICES:
            self.processes[name] = KanalProcess(name, directory, self.environment)
        self.nginx = Nginx(directory / "nginx", self._nginx_text(), self.http_port)

    def process_of(self, service: str) -> KanalProcess:
        return self.processes[service]

    def start(self) -> Self:
        self.prepare()
        for process in self.processes.values():
            process.start(wait=False)
        for process in self.processes.values():
            process.wait_ready()
        self.nginx.start()
        return self

    def stop(self) -> None:
        self.nginx.stop()
        for process in self.processes.values():
            process.stop()

    def prepare(self) -> None:
        """Database, keys and topics, as an operator would make them: by the commands."""
        if not _exists(self.postgres, self.database):
            self.postgres.create_database(self.database)
        copies = ("--replication", "3", "--in-sync", "2") if isinstance(self.kafka, KafkaCluster) else ()
        for command in (("keys",), ("topics", *copies)):
            child = Child(self.kanal(*command), self.directory / "setup.log", env=self.command_environment, cwd=PROJECT)
            if child.wait(60) != 0:
                raise RuntimeError(f"kanal {command[0]} fails: {child.log_tail()}")

    def _nginx_text(self) -> str:
        template = Template((PROJECT / "deploy" / "nginx.conf.template").read_text())
        return template.safe_substitute(
            LISTEN=f"127.0.0.1:{self.http_port}",
            TRACKER=f"127.0.0.1:{self.processes['tracker'].port}",
            INGEST_SMS=f"127.0.0.1:{self.processes['ingest-sms'].port}",
            REQUESTS_PER_SECOND="1000000",  # all citizens of the tests have one address
            RESOLVER="127.0.0.1",  # never asked: addresses are no names
        )


def answers(port: int, path: str) -> bool:
    """Whether `GET path` gives 200 now."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _exists(postgres: PostgresServer, database: str) -> bool:
    import psycopg

    url = make_url(postgres.url("postgres")).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone() is not None
