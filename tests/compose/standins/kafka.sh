#!/bin/sh
# Settings from the environment and the format of the storage by Kafka's own class for containers, as the official image does.
set -eu
export CLUSTER_ID="${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}"
java -Xmx256m -cp "/opt/kafka/libs/*" kafka.docker.KafkaDockerWrapper setup \
    --default-configs-dir /etc/kafka/docker --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config \
    >/tmp/setup.log 2>&1 || grep -qi "already formatted" /tmp/setup.log || { cat /tmp/setup.log; exit 1; }
exec java ${KAFKA_HEAP_OPTS:--Xms1g -Xmx1g} -Dkafka.logs.dir=/opt/kafka/logs \
    -Dlog4j2.configurationFile=/opt/kafka/config/log4j2.yaml -cp "/opt/kafka/libs/*" kafka.Kafka /opt/kafka/config/server.properties
