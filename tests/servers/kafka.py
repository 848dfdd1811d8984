"""Apache Kafka (KRaft) on loopback, one node or three, run from the jars that install.py fetched."""

import base64
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.servers.certificates import Authority
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


class Security(NamedTuple):
    """A second listener with TLS, which asks for a client's certificate too, and SASL."""

    authority: Authority
    passwords: Mapping[str, str]
    """User → password; the same for PLAIN and SCRAM-SHA-512."""


class Quorum(NamedTuple):
    """Nodes that are one cluster; each is broker and controller."""

    cluster_id: str
    controller_ports: Mapping[int, int]


class KafkaServer(Server):
    """A node whose acknowledged messages survive `kill`; topics must be created, never by accident."""

    stop_seconds = 30.0
    start_seconds = 180.0  # after a kill it reads its logs again; on a busy machine that took over a minute

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        heap_mb: int = 512,
        *,
        flush_every_messages: int | None = None,
        security: Security | None = None,
        node: int = 1,
        quorum: Quorum | None = None,
    ) -> None:
        """`flush_every_messages` is the broker's `log.flush.interval.messages`.

        With 1 an acknowledged message survives a power cut too; None leaves writing back to the operating system,
        which outlives only a crash of the process.
        """
        super().__init__(directory, port)
        self.heap_mb = heap_mb
        self.flush_every_messages = flush_every_messages
        self.security = security
        self._secure_port = free_port()
        self.node = node
        # Not kept with the data: a static quorum reads it from the settings at each start.
        self.quorum = quorum or Quorum(_new_cluster_id(), {1: free_port()})

    @property
    def address(self) -> str:
        """What clients take as `bootstrap.servers`."""
        return f"127.0.0.1:{self.port}"

    @property
    def secure_address(self) -> str:
        """The same for the listener with TLS and SASL."""
        return f"127.0.0.1:{self._secure_port}"

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
        return self.node in found.brokers and leaders <= self.quorum.controller_ports.keys()

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
        options = ["-t", self.quorum.cluster_id, "-c", str(self._settings_file), *self._scram_options()]
        result = subprocess.run(
            [*self._java(), "kafka.tools.StorageTool", "format", *options],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise ServerError(f"Kafka's storage could not be formatted\n{result.stdout}{result.stderr}")

    def _scram_options(self) -> Sequence[str]:
        """SCRAM knows who was there when the storage was made."""
        passwords = self.security.passwords if self.security else {}
        users = [f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in passwords.items()]
        return [word for user in users for word in ("--add-scram", user)]

    def _settings(self) -> dict[str, str | int]:
        settings: dict[str, str | int] = {
            **self._network_settings(),
            **self._secure_settings(),
            "log.dirs": str(self._data),
            "auto.create.topics.enable": "false",
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "replica.fetch.max.bytes": MAX_MESSAGE_BYTES,
            **_SMALL,
            **_internal_topics(copies=len(self.quorum.controller_ports)),
        }
        if self.flush_every_messages is not None:
            settings["log.flush.interval.messages"] = self.flush_every_messages
        return settings

    def _network_settings(self) -> dict[str, str | int]:
        ports = self.quorum.controller_ports
        controller = f"127.0.0.1:{ports[self.node]}"
        return {
            "process.roles": "broker,controller",
            "node.id": self.node,
            "controller.quorum.voters": ",".join(f"{node}@127.0.0.1:{port}" for node, port in ports.items()),
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}{self._secure_listener()}",
            "advertised.listeners": f"PLAINTEXT://{self.address}{self._secure_listener()}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL",
        }

    def _secure_listener(self) -> str:
        return f",SASL_SSL://{self.secure_address}" if self.security else ""

    def _secure_settings(self) -> Mapping[str, str | int]:
        if self.security is None:
            return {}
        own = self.security.authority.issue("broker")
        both = self.directory / "broker.pem"
        both.write_text(own.key.read_text() + own.certificate.read_text())
        users = " ".join(f'user_{name}="{password}"' for name, password in self.security.passwords.items())
        modules = "org.apache.kafka.common.security"
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(both),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.security.authority.certificate),
            "listener.name.sasl_ssl.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": f"{modules}.plain.PlainLoginModule required {users};",
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
        }


class KafkaCluster:
    """Three nodes; topics may have three copies. A node can be killed and started by itself."""

    def __init__(self, directory: Path) -> None:
        quorum = Quorum(_new_cluster_id(), {node: free_port() for node in (1, 2, 3)})
        self.nodes = [KafkaServer(directory / f"kafka-{node}", heap_mb=256, node=node, quorum=quorum) for node in quorum.controller_ports]

    @property
    def address(self) -> str:
        """What clients take as `bootstrap.servers`."""
        return ",".join(node.address for node in self.nodes)

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.start_seconds = 180.0  # the last of three waits for the others
            node.start(wait=False)
        for node in self.nodes:
            node.wait_ready()
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.stop()


def _new_cluster_id() -> str:
    return f"K{base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip('=')[1:]}"


def _internal_topics(copies: int) -> Mapping[str, str | int]:
    """With three copies two must be written, as for Kanal's own topics."""
    factors = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
    in_sync = ("transaction.state.log.min.isr", "share.coordinator.state.topic.min.isr")
    return {f"{name}.replication.factor": copies for name in factors} | dict.fromkeys(in_sync, min(copies, 2))


# What makes a node start quickly on a small machine.
_SMALL: dict[str, str | int] = {
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.num.partitions": 4,
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
