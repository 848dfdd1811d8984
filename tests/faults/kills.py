"""T1: SIGKILL at every named fail-point under load. Embedded everything dies at once, over Kafka the process of that service."""

from functools import partial

from tests.faults.harness import MODES, Fault, Run

STAGES = ("normalizer", "router", "tracker", "sms-replies", "email-replies")
SERVICE_OF = {
    "sms-replies": "ingest-sms", "sms-sender": "ingest-sms", "email-replies": "ingest-email", "email-sender": "ingest-email",
}  # fmt: skip
TOLD = {
    "before-acknowledgement": "a message is on disk, but not yet acknowledged",
    "after-acknowledgement": "a message was acknowledged, and nobody has read it yet",
    "after-poll": "the stage has read a batch and decided nothing",
    "after-commit": "its decisions are in the database, its events not yet in the journal",
    "after-append": "its events are in the journal, but the outbox does not know it",
    "sending": "answers are claimed, and nobody knows which went out",
    "sent": "an answer went out, and it is not yet noted",
}
POINTS = (
    *(f"{adapter}.{point}" for adapter in ("ingest-sms", "ingest-email") for point in ("before-acknowledgement", "after-acknowledgement")),
    *(f"{stage}.{point}" for stage in STAGES for point in ("after-poll", "after-commit", "after-append")),
    *(f"{sender}.{point}" for sender in ("sms-sender", "email-sender") for point in ("sending", "sent")),
)
SOAK_ONLY = ("email-replies", "email-sender", "sms-sender.sent")
"""Over Kafka another process may take an answer over only after 45 seconds, and mail goes through the same stage and sender as SMS:
there `make test` waits for one such point, a soak for all."""


def kill(point: str, run: Run) -> None:
    """The process dies by itself at a pass that the seed chooses, and is started again."""
    stage, _, _ = point.partition(".")
    process = run.town.kanal.process_of(SERVICE_OF.get(stage, stage))
    passes = run.random.randint(1, 12 if stage.startswith("ingest") else 3)
    with run.traffic():
        process.kill_at(point, passes)
        assert process.wait_for_death(60) == -9
        process.start()


def _fault(point: str) -> Fault:
    told = f"SIGKILL in `{point.partition('.')[0]}` when {TOLD[point.partition('.')[2]]}"
    return Fault(f"kill {point}", "T1", told, partial(kill, point), quick=("embedded",) if point.startswith(SOAK_ONLY) else MODES)


FAULTS = [_fault(point) for point in POINTS]
