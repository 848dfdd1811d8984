"""One Apache Kafka node (KRaft) on loopback, run from the jars that install.py fetched."""

import base64
import subprocess
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.servers.install import KAFKA_DIRECTORY, java
from tests.servers.processes import Child, Server, ServerError, free_port, port_open

MAX_MESSAGE_BYTES = 2 * 1024 * 1024

_LOGGING = """\
status=WARN
shutdownHook=disable
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %c{1} %m%n
"""


class KafkaServer(Server):
    """A single node whose acknowledged messages survive `kill`; topics must be created, never by accident."""

    stop_seconds = 30.0

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        heap_mb: int = 512,
        *,
        flush_every_messages: int | None = None,
    ) -> None:
        """`flush_every_messages` is the broker's `log.flush.interval.messages`.

        With 1 an acknowledged message survives a power cut too; None leaves writing back to the operating system,
        which outlives only a crash of the process.
        """
        super().__init__(directory, port)
        self.heap_mb = heap_mb
        self.flush_every_messages = flush_every_messages
        # Not kept with the data: a static quorum of one reads it from the settings at each start.
        self._controller_port = free_port()

    @property
    def address(self) -> str:
        """What clients take as `bootstrap.servers`."""
        return f"127.0.0.1:{self.port}"

    def launch(self) -> Child:
        (self.directory / "tmp").mkdir(exist_ok=True)
        (self.directory / "log4j2.properties").write_text(_LOGGING)
        self._settings_file.write_text("".join(f"{key}={value}\n" for key, value in self._settings().items()))
        if not (self._data / "meta.properties").exists():
            self._format()
        return Child(
            [*self._java(), f"-Xms{self.heap_mb // 2}m", f"-Xmx{self.heap_mb}m", "kafka.Kafka", str(self._settings_file)],
            self.directory / "kafka.log",
        )

    def ready(self) -> bool:
        """Whether the node answers for the metadata and leads every partition it has."""
        if not port_open(self.port):
            return False
        try:
            found = self._admin().list_topics(timeout=2)
        except KafkaException:
            return False
        leaders = {part.leader for topic in found.topics.values() for part in topic.partitions.values()}
        return bool(found.brokers) and leaders <= {1}

    def _admin(self) -> AdminClient:
        # Log level 0: refused connections are the normal case while the server starts.
        return AdminClient({"bootstrap.servers": self.address, "log_level": 0, "reconnect.backoff.max.ms": 100})

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _settings_file(self) -> Path:
        return self.directory / "server.properties"

    def _java(self) -> list[str]:
        return [
            java(),
            "-XX:+UseG1GC",
            # Native libraries are unpacked beside the data, not left in the machine's temporary folder after a kill.
            f"-Djava.io.tmpdir={self.directory / 'tmp'}",
            "-XX:-UsePerfData",
            f"-Dkafka.logs.dir={self.directory}",
            f"-Dlog4j2.configurationFile={self.directory / 'log4j2.properties'}",
            "-cp",
            f"{KAFKA_DIRECTORY}/*",
        ]

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        result = subprocess.run(
            [*self._java(), "kafka.tools.StorageTool", "format", "-t", f"K{cluster[1:]}", "-c", str(self._settings_file)],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise ServerError(f"Kafka's storage could not be formatted\n{result.stdout}{result.stderr}")

    def _settings(self) -> dict[str, str | int]:
        settings: dict[str, str | int] = {
            **self._network_settings(),
            "log.dirs": str(self._data),
            "auto.create.topics.enable": "false",
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "replica.fetch.max.bytes": MAX_MESSAGE_BYTES,
            **_ONE_NODE,
        }
        if self.flush_every_messages is not None:
            settings["log.flush.interval.messages"] = self.flush_every_messages
        return settings

    def _network_settings(self) -> dict[str, str | int]:
        controller = f"127.0.0.1:{self._controller_port}"
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        }


# What a node needs to do alone and to start quickly on a small machine.
_ONE_NODE: dict[str, str | int] = {
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 4,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    "num.network.threads": 2,
    "num.io.threads": 2,
    # A killed node must be thought dead before its successor may register: with the default of 9 s every start after
    # a kill took 12 s. A node that hangs longer than this loses its partitions for the half second to its next sign of life.
    "broker.session.timeout.ms": 3_000,
    "broker.heartbeat.interval.ms": 500,
    # The default of 128 MiB is a quarter of the heap.
    "log.cleaner.dedupe.buffer.size": 32 * 1024 * 1024,
}
