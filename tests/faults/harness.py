"""One run: citizens write, a fault happens, everything comes to rest, the checker looks at what became of it.

A series of runs shares one Town, so that a run takes seconds; each checks only what came since it began. The seed is printed and
`KANAL_FAULT_SEED` replays it.
"""

import os
import random
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaException
from sqlalchemy.exc import DBAPIError

from kanal.errors import TemporaryFailure
from tests.faults.checker import Findings, Ledger, check, outgoing_since
from tests.faults.observer import Observer
from tests.faults.traffic import Habits, Traffic
from tests.pipeline.town import Town, open_town
from tests.servers.processes import ServerError, wait_until

REST_SECONDS = 180
MODES = ("embedded", "kafka")


class Fault(NamedTuple):
    """A row of the catalogue."""

    name: str
    test: str
    """Which test of the list it belongs to, T1 to T16."""
    told: str
    """What is done, in one sentence for people who run Kanal."""
    act: Callable[["Run"], None]
    """Runs traffic, does it, and leaves everything up."""
    modes: tuple[str, ...] = MODES
    quick: tuple[str, ...] = MODES
    """The modes in which `make test` runs it; elsewhere only a soak does."""
    may_repeat: bool = True
    """Whether an answer may go out twice, counted."""
    rounds: int | None = None
    """Of a soak at most so many, where one takes very long."""


@dataclass
class Run:
    """One fault with one seed in one Town."""

    fault: str
    town: Town
    observer: Observer
    seed: int
    random: random.Random
    directory: Path
    """Where a fault may keep files of its own."""
    ledger: Ledger = field(default_factory=Ledger)
    over_at: float = 0.0
    """When the fault was over and the last citizen had sent."""

    @contextmanager
    def traffic(self, habits: Habits | None = None, *, wave: int = 0) -> Iterator[Traffic]:
        """Citizens write inside, others in each wave; at the end the fault is over and they finish."""
        traffic = Traffic(self.town, self.seed + wave, habits or Habits())
        traffic.ledger = self.ledger
        traffic.start()
        try:
            yield traffic
        except ServerError as error:
            raise ServerError(f"{error}; citizens: {traffic.failures or 'fine'}, {len(self.ledger.sent)} acknowledged") from None
        finally:
            traffic.over.set()
        traffic.join()
        self.over_at = time.monotonic()

    def wait_for_rest(self) -> None:
        """Return when nothing is on its way any more. What is not even in the journal by then is for the checker to tell."""
        deadline = time.monotonic() + REST_SECONDS
        while not (at_rest := self.observer.at_rest()) or self._not_arrived():
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        if not at_rest:
            raise ServerError(f"no rest after {REST_SECONDS} s: {self.observer.under_way(self.observer.read())}")

    def _not_arrived(self) -> set[str]:
        return {sent.message_id for sent in self.ledger.sent} - {stored.headers.get("ce_id", "") for stored in self.observer.records}


@dataclass
class Result:
    """What a run came to."""

    fault: str
    mode: str
    seed: int
    acknowledged: int
    recovery_seconds: float
    """From the end of the fault and of the traffic until nothing was on its way any more."""
    seconds: float
    findings: Findings
    error: str = ""
    """What did not even come so far as to be checked."""

    @property
    def is_clean(self) -> bool:
        return not self.error and not self.findings.breaches()

    @property
    def lost(self) -> int:
        """Messages that were acknowledged and are not, or not whole, where they must be."""
        found = self.findings
        return len({each.split(":")[0].split()[-1] for each in (*found.unsettled, *found.not_in_reports, *found.not_in_tracker)})

    @property
    def twice(self) -> int:
        """Messages that were settled, told or answered more than once."""
        return sum(map(len, (self.findings.settled_twice, self.findings.twice_in_reports, self.findings.answered_twice)))

    def __str__(self) -> str:
        told = f"{self.mode} {self.fault} seed {self.seed}: {self.acknowledged} acknowledged, {self.seconds:.1f} s"
        repeated = f", rest after {self.recovery_seconds:.1f} s, {self.findings.answers_repeated} answers repeated (counted)"
        return (
            told
            + (f", FAILED: {self.error}" if self.error else repeated)
            + "".join(f"\n  {name}: {len(found)}, as {found[:3]}" for name, found in self.findings.breaches().items())
        )


class Series:
    """Runs in one mode, one after the other in one Town; after a failed one in a new Town."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.logs: Path | None = None
        """Where the Town of the last failed run has left its logs."""
        self._stack = ExitStack()
        self._town: Town | None = None

    def run(self, fault: Fault, seed: int | None = None) -> Result:
        """Do it and check it; never raises for what Kanal did."""
        seed = seed_of(fault.name, self.mode) if seed is None else seed
        print(f"{fault.name} in {self.mode} mode: KANAL_FAULT_SEED={seed}", flush=True)  # noqa: T201
        result = self._measured(fault, seed)
        print(result, flush=True)  # noqa: T201
        if not result.is_clean:
            self._leave_failed()
        return result

    def _measured(self, fault: Fault, seed: int) -> Result:
        started, result = time.monotonic(), Result(fault.name, self.mode, seed, 0, 0.0, 0.0, Findings())
        try:
            run = self._begin(fault, seed)
            sms, mail = len(run.town.gateway.sent), len(run.town.mailbox.messages)
            fault.act(run)
            run.wait_for_rest()
            result.recovery_seconds = time.monotonic() - run.over_at
            result.findings = check(run.town, run.ledger, run.observer.records, outgoing_since(run.town, sms, mail))
            result.findings.offsets_back = run.observer.regressed
            if not fault.may_repeat and result.findings.answers_repeated:
                result.findings.repeats_uncounted.append("nothing may be repeated here")
            result.acknowledged = len(run.ledger.sent)
        except (AssertionError, ServerError, OSError, KafkaException, DBAPIError, TemporaryFailure) as error:
            result.error = f"{type(error).__name__}: {error}"
        result.seconds = time.monotonic() - started
        return result

    def _begin(self, fault: Fault, seed: int) -> Run:
        if self._town is None:
            self._directory = Path(tempfile.mkdtemp(prefix=f"kanal-faults-{self.mode}-"))
            self._town = self._stack.enter_context(open_town(self.mode, self._directory))
            self._observer = Observer(self._town)
            self._stack.callback(self._observer.close)
            self._warm_up(self._town)
        self._observer.begin()
        return Run(fault.name, self._town, self._observer, seed, random.Random(seed), self._directory)

    def _warm_up(self, town: Town) -> None:
        """One message each way: every stage has its partitions then, and the first fault meets a Kanal at work."""
        town.sms_citizen().send("LAPOR lampu jalan mati di kelurahan Cawang")
        town.mail_citizen().send("Lampu jalan mati di kelurahan Cawang")
        wait_until(self._observer.at_rest, REST_SECONDS, "rest after the first messages")

    def _leave_failed(self) -> None:
        """The logs stay for whoever looks into it."""
        self.logs = self._directory
        self._stack.close()
        self._town = None
        print(f"  logs in {self.logs}", flush=True)  # noqa: T201

    def close(self) -> None:
        """Stop everything."""
        if self._town is not None:
            self._stack.close()
            self._town = None
            shutil.rmtree(self._directory, ignore_errors=True)


def seed_of(fault: str, mode: str, round_: int = 0) -> int:
    """The seed of a round: always the same, so that a run that failed somewhere fails here too; or the one to replay."""
    given = os.environ.get("KANAL_FAULT_SEED")
    return int(given) if given else zlib.crc32(f"{fault} {mode} {round_}".encode())
