"""From the gateway's post to the answer of the webhook, which holds the number, and to the SMS with that number."""

import json
from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path

from bench.installation import SECRET, cluster, embedded
from bench.measure import Figure, latencies, processor_seconds
from bench.messages import sms
from bench.outside import Asked, Posts, ask
from bench.phone import TimedGateway
from tests.servers.kanal import Installation

RATES = (10, 100, 300)
SECONDS = 15.0
BURST = 10_000
CONNECTIONS = 32
PATIENCE_SECONDS = 120.0
GATEWAY = "gateway alone"


def measure(directory: Path, scale: float) -> list[Figure]:
    """Both modes; first how much the gateway stand-in takes, since it must not be what is measured."""
    with TimedGateway(SECRET) as gateway:
        figures = [_ceiling(gateway, scale)]
        with embedded(directory / "embedded", gateway) as installation:
            figures += _mode(installation, gateway, scale)
        with cluster(directory / "cluster", gateway) as installation:
            figures += _mode(installation, gateway, scale)
    return figures


def _ceiling(gateway: TimedGateway, scale: float) -> Figure:
    """One connection, as a sender has."""
    bodies = [{"id": str(index), "to": "+6281200000000", "text": "Nomor laporan Anda"} for index in range(int(3_000 * scale))]
    asked = ask(Posts(gateway.port, "/messages", SECRET, bodies, 0, 1))
    seconds = max(each.answered for each in asked) - min(each.planned for each in asked)
    return Figure(GATEWAY, len(asked) / seconds, "SMS/s", "the stand-in with one connection and nothing of Kanal")


def _mode(installation: Installation, gateway: TimedGateway, scale: float) -> list[Figure]:
    citizens = count()
    _run(installation, gateway, "warm-up", list(islice(citizens, 50)), 50)
    runs = [(f"{rate}/s", int(rate * SECONDS * scale), rate) for rate in RATES]
    runs.append((f"burst of {int(BURST * scale):,}", int(BURST * scale), 0))
    return [
        figure
        for what, number, rate in runs
        for figure in _run(installation, gateway, f"{installation.mode}, {what}", list(islice(citizens, number)), rate)
    ]


def _run(installation: Installation, gateway: TimedGateway, what: str, citizens: Sequence[int], rate: float) -> list[Figure]:
    bodies = [sms(citizen) for citizen in citizens]
    computed = _computed(installation)
    asked = ask(Posts(installation.http_port, "/sms/main/inbound", SECRET, bodies, rate, CONNECTIONS))
    planned = {json.loads(each.answer)["number"]: each.planned for each in asked}
    arrivals = gateway.wait_for_numbers(planned, PATIENCE_SECONDS)
    computed = _computed(installation) - computed
    late = len(planned) - len(arrivals)
    note = f"{len(bodies)} SMS; {late} not within {PATIENCE_SECONDS:g} s" if late else f"{len(bodies)} SMS"
    seconds = max(arrivals.values()) - min(planned.values())
    return [
        *latencies(f"{what}: webhook's answer", [each.seconds for each in asked], _pace(asked)),
        *latencies(f"{what}: SMS with the number", [at - planned[number] for number, at in arrivals.items()], note),
        Figure(f"{what}: SMS with numbers", len(arrivals) / seconds, "SMS/s", "from the first post to the last SMS", GATEWAY),
        Figure(f"{what}: processor", computed / len(bodies) * 1_000, "ms/SMS", "of all Kanal's processes, until the last SMS was there"),
    ]


def _computed(installation: Installation) -> float:
    return sum(processor_seconds(process.pids) for process in installation.processes.values())


def _pace(asked: list[Asked]) -> str:
    """What was kept up, which at a set pace must be that pace."""
    seconds = max(each.answered for each in asked) - min(each.planned for each in asked)
    return f"{len(asked) / seconds:.0f}/s answered"
