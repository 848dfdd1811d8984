"""T2 and T6: processes come and go. All are told to stop one after the other; members join and leave a stage; one is frozen."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.faults.harness import Fault, Run
from tests.faults.traffic import Habits
from tests.servers.kanal import KanalProcess
from tests.servers.processes import free_port

PATIENT = Habits(pause_seconds=2.0, at_most=24)
"""They write for a minute: a member that joins on a busy machine may come to its first batch late."""

FREEZE_SECONDS = 90
SERVICES = ("normalizer", "router", "tracker", "ingest-sms", "ingest-email")
STAGE_OF = {"ingest-sms": "sms-replies", "ingest-email": "email-replies"}
SESSION_SECONDS = 6
"""Kafka gives a member's partitions to others after so long without a sign of life."""


def rolling_restart(run: Run) -> None:
    """Each process ends within its time, says that it stopped cleanly, and is started again."""
    with run.traffic() as traffic:
        traffic.wait_for(10)
        for process in run.random.sample(sorted(run.town.kanal.processes.values(), key=str), len(run.town.kanal.processes)):
            _stop_cleanly(process)
            process.start()


def _stop_cleanly(process: KanalProcess) -> None:
    before = process.log.stat().st_size
    process.stop()
    said = [line for line in process.log.read_text()[before:].splitlines() if '"event": "stopped"' in line]
    assert len(said) == 1, f"{process.name} had to be killed"
    assert '"clean": true' in said[0], f"{process.name} left a thread behind"


def come_and_go(run: Run) -> None:
    """Two further members of one stage join and leave every one to three seconds, in order or by SIGKILL."""
    service = run.random.choice(SERVICES)
    with run.traffic(PATIENT), ExitStack() as stack:
        members = [stack.enter_context(further_member(run, service, index)) for index in range(2)]
        for _ in range(4):
            time.sleep(run.random.uniform(1, 3))
            member = run.random.choice(members)
            if not member.running:
                member.start(wait=False)
            elif run.random.random() < 0.5:
                member.kill()
            else:
                member.stop()


def zombie(run: Run) -> None:
    """A member freezes with a batch in hand until another owns its partitions, and goes on as if nothing had been."""
    service = run.random.choice(SERVICES)
    point = run.random.choice(("after-poll", "after-commit", "after-append"))
    with run.traffic(PATIENT), further_member(run, service, 0) as member:
        frozen = run.town.kanal.process_of(service)
        frozen.kill_at(f"{STAGE_OF.get(service, service)}.{point}", 1, signal.SIGSTOP)
        frozen.wait_for_freeze(FREEZE_SECONDS)
        time.sleep(SESSION_SECONDS + run.random.uniform(1, 4))
        frozen.resume()
        time.sleep(1)
        _stop_cleanly(member)
        member.start()


@contextmanager
def further_member(run: Run, service: str, index: int) -> Iterator[KanalProcess]:
    """One more process of a service, with its own spool and the same keys; stopped in the end."""
    own = {
        "KANAL_DATA": str(run.directory / f"member-{index}"),
        "KANAL_KEYS": str(run.town.kanal.data / "keys"),
        "KANAL_SMTP_PORT": str(free_port()),
    }
    with KanalProcess(service, run.directory / f"member-{index}", {**run.town.kanal.environment, **own}) as member:
        yield member


ONLY = ("kafka",)
ROLLING = "Every process is told to stop (SIGTERM), one after the other, and started again"
COME_AND_GO = "Two further processes of a service join and leave every one to three seconds, some by SIGKILL"
ZOMBIE = "A process freezes (SIGSTOP) with a batch in hand, another takes its partitions over, then it wakes and goes on"
FAULTS = [
    Fault("rolling restart", "T2", ROLLING, rolling_restart, may_repeat=False),
    Fault("members come and go", "T6", COME_AND_GO, come_and_go, ONLY, ONLY),
    Fault("zombie", "T6", ZOMBIE, zombie, ONLY, ONLY),
]
