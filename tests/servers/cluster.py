"""`make cluster`: Kafka, PostgreSQL, every service as a process and nginx on this machine, until Ctrl-C."""

import fcntl
import os
import signal
import sys
import threading
from pathlib import Path

from tests.servers.install import install
from tests.servers.kafka import KafkaServer
from tests.servers.kanal import Cluster
from tests.servers.postgres import PostgresServer

_TEXT = """
Kanal runs in Kafka mode: a process per service, Apache Kafka, PostgreSQL, nginx.

  Look    {url}/
  Mail    {address} at 127.0.0.1:{smtp_port}
  SMS     POST {url}/sms/main/inbound  (signed with the secret in {directory}/cluster.env)
  Staff   POST {url}/api/v1/reports/<number>/actions  (token in the same file)
  Replies {replies}
  Logs    {directory}/*.log
  Kafka   {kafka}      PostgreSQL {postgres}

Ctrl-C stops everything; the data stay in {directory}.
"""


def main() -> int:
    """Start, wait for a signal, stop in order."""
    install(("kafka", "postgres", "nginx"))
    directory = Path(os.environ.get("KANAL_DATA", "data")).resolve() / "cluster"
    directory.mkdir(parents=True, exist_ok=True)
    alone = (directory / "lock").open("w")
    try:
        fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print(f"another cluster is using {directory}", file=sys.stderr)  # noqa: T201
        return 1
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    environment = {name: value for name, value in os.environ.items() if name.startswith("KANAL_") and name != "KANAL_DATA"}
    environment.setdefault("KANAL_SMTP_PORT", "2525")
    http_port = int(environment.pop("KANAL_HTTP_PORT", "8000"))
    with KafkaServer(directory / "kafka", _kept_port(directory, "kafka")) as kafka, _postgres(directory) as postgres:
        cluster = Cluster(directory, kafka, postgres, environment, http_port)
        _keep_secrets(cluster)
        with cluster:
            print(_told(cluster), flush=True)  # noqa: T201
            while not stopped.wait(1.0):
                died = [process.name for process in cluster.processes.values() if not process.running]
                if died:
                    print(f"{', '.join(died)} ended: see its log", file=sys.stderr)  # noqa: T201
                    return 1
    return 0


def _postgres(directory: Path) -> PostgresServer:
    return PostgresServer(directory / "postgres", _kept_port(directory, "postgres"))


def _kept_port(directory: Path, server: str) -> int:
    """The port of the first start: Kafka writes it down among its data."""
    from tests.servers.processes import free_port

    file = directory / f"{server}.port"
    if not file.exists():
        file.write_text(str(free_port()))
    return int(file.read_text())


def _keep_secrets(cluster: Cluster) -> None:
    """Where who tries it finds token and secret; readable by this user only."""
    file = cluster.directory / "cluster.env"
    file.touch(mode=0o600)
    file.write_text(f"KANAL_STAFF_TOKEN={cluster.staff_token}\nKANAL_SMS_MAIN_SECRET={cluster.sms_secret}\n")


def _told(cluster: Cluster) -> str:
    relay = cluster.environment.get("KANAL_SMTP_RELAY")
    return _TEXT.format(
        url=f"http://localhost:{cluster.http_port}", address=cluster.environment.get("KANAL_EMAIL_ADDRESS", "lapor@localhost"),
        smtp_port=cluster.smtp_port, data=cluster.directory, directory=cluster.directory, kafka=cluster.kafka.address,
        postgres=cluster.database_url, replies=f"through {relay}" if relay else f"as files in {cluster.data / 'outbox'}",
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
