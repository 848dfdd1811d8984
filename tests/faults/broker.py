"""T3 and T4: Kafka is killed, restarted, or hangs while citizens write."""

import time
from functools import partial

from tests.faults.harness import Fault, Run
from tests.faults.traffic import Habits
from tests.servers.kafka import KafkaServer
from tests.servers.kanal import Cluster

PATIENT = Habits(pause_seconds=0.4)


def broker_of(run: Run) -> KafkaServer:
    """Only in Kafka mode."""
    assert isinstance(run.town.kanal, Cluster)
    return run.town.kanal.kafka


def killed(run: Run) -> None:
    """SIGKILL in the middle of commits, and up again on the same files."""
    with run.traffic(PATIENT) as traffic:
        traffic.wait_for(run.random.randint(5, 30))
        broker_of(run).kill()
        broker_of(run).start()


def restarted(run: Run) -> None:
    """As after an upgrade."""
    with run.traffic(PATIENT) as traffic:
        traffic.wait_for(run.random.randint(5, 30))
        broker_of(run).restart()


def paused(seconds: float, run: Run) -> None:
    """Connections stay open and nothing is answered: SMS go to the spool, mail is put off."""
    with run.traffic(Habits(pause_seconds=seconds / 10)) as traffic:
        traffic.wait_for(run.random.randint(5, 30))
        broker_of(run).pause()
        try:
            time.sleep(seconds)
        finally:
            broker_of(run).resume()
            broker_of(run).wait_ready()


ONLY = ("kafka",)
FAULTS = [
    Fault("broker killed", "T3", "Kafka is killed (SIGKILL) during commits and started again", killed, ONLY, ONLY),
    Fault("broker restarted", "T3", "Kafka is restarted in order", restarted, ONLY, ()),
    Fault("broker hangs 5 s", "T4", "Kafka hangs (SIGSTOP) for 5 seconds", partial(paused, 5), ONLY, ONLY),
    Fault(
        "broker hangs 30 s",
        "T4",
        "Kafka hangs (SIGSTOP) for 30 seconds: longer than sessions and than an append waits",
        partial(paused, 30),
        ONLY,
        (),
    ),
    Fault("broker hangs 90 s", "T4", "Kafka hangs (SIGSTOP) for 90 seconds", partial(paused, 90), ONLY, (), rounds=5),
]
