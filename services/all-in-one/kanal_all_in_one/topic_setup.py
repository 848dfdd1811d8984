"""Creating the topics on Kafka, through kafka-python's admin client: an observer independent of the delivery path."""

from collections.abc import Mapping
from typing import Any

from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from kanal.errors import SetupError, TemporaryFailure
from kanal.journal.kafka import check_access, server_of
from kanal.topics import PARTITIONS, TOPICS, Topic

DAY_MS = 86_400_000


_OPTIONS = {
    "security.protocol": "security_protocol",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.mechanisms": "sasl_mechanism",
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
    "ssl.ca.location": "ssl_cafile",
    "ssl.certificate.location": "ssl_certfile",
    "ssl.key.location": "ssl_keyfile",
    "ssl.key.password": "ssl_password",
}
"""librdkafka's names of TLS and SASL settings → kafka-python's."""


def create_topics(url: str, options: Mapping[str, str], replication: int, in_sync: int) -> list[str]:
    """Create what is missing; the names that were created. `options` as `Settings.kafka_client`. *Raises:* TemporaryFailure, SetupError."""
    if not url.startswith("kafka://"):
        raise SetupError("KANAL_JOURNAL must name Kafka (kafka://host:port): the SQLite journal makes its topics itself")
    check_access(url, options)  # kafka-python tries until its time is up and never says why
    security = {_OPTIONS[name]: value for name, value in options.items() if name in _OPTIONS}
    try:
        admin = KafkaAdminClient(bootstrap_servers=server_of(url).split(","), client_id="kanal-topics", **security)
    except KafkaError as error:
        raise TemporaryFailure(f"Kafka does not answer ({type(error).__name__})", reason="kafka-away") from None
    try:
        present = set(admin.list_topics())
        missing = [topic for topic in TOPICS.values() if topic.name not in present]
        if missing:
            admin.create_topics([_new(topic, replication, in_sync) for topic in missing])
    except TopicAlreadyExistsError:
        return []  # somebody else was faster
    except KafkaError as error:
        raise SetupError(f"topics cannot be created ({type(error).__name__})") from None
    finally:
        admin.close()
    return [topic.name for topic in missing]


def _new(topic: Topic, replication: int, in_sync: int) -> NewTopic:
    config: dict[str, Any] = {"min.insync.replicas": str(in_sync), "max.message.bytes": str(2 * 1024 * 1024)}
    if topic.compacted:
        config |= {"cleanup.policy": "compact", "segment.ms": str(DAY_MS), "min.cleanable.dirty.ratio": "0.1"}
        # Who is forgotten must be gone within a week; a sender that was down for a month still hears of it.
        config |= {"max.compaction.lag.ms": str(7 * DAY_MS), "delete.retention.ms": str(30 * DAY_MS)}
    else:
        config["retention.ms"] = str(topic.kept_days * DAY_MS) if topic.kept_days else "-1"
    return NewTopic(topic.name, num_partitions=PARTITIONS, replication_factor=replication, topic_configs=config)
