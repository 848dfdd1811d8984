# Apache Kafka's jars under the paths, user and environment of the official image.
FROM kanal-standin:debian
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends bash openjdk-17-jre-headless >/dev/null && \
    rm -rf /var/lib/apt/lists/* && useradd --uid 1000 --create-home appuser && \
    install -d -o appuser /opt/kafka/config /opt/kafka/logs /var/lib/kafka/data /etc/kafka/secrets /mnt/shared/config
COPY jars /opt/kafka/libs
COPY --chmod=755 kafka.sh /etc/kafka/docker/run
COPY log4j2.yaml server.properties /etc/kafka/docker/
COPY log4j2.yaml /etc/kafka/docker/tools-log4j2.yaml
USER appuser
EXPOSE 9092
VOLUME ["/etc/kafka/secrets", "/var/lib/kafka/data", "/mnt/shared/config"]
CMD ["/etc/kafka/docker/run"]
