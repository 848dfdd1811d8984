"""Kanal as an operator runs it by `docker compose up`, from outside: mail and SMS in, answers out, pages; containers killed.

Prints what it saw. Not part of `make test`, since it needs a dockerd: `make compose-test`.
"""

import json
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from tests.compose.containers import SERVERS, Containers, host_address
from tests.compose.images import DockerError, docker, prepare, release, standins
from tests.faults.traffic import CITIZENS, Habits, Traffic
from tests.pipeline.town import Town, body_of, number_in
from tests.servers.gateway import SmsGateway
from tests.servers.install import NotInstalledError
from tests.servers.kanal import SERVICES
from tests.servers.mailbox import Mailbox
from tests.servers.processes import free_port, wait_until

pytestmark = pytest.mark.servers
MESSAGES = 200
HABITS = Habits(reports_only=True, at_most=MESSAGES // CITIZENS, channels=("sms",))


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """The compose project up; its relay and its gateway on this machine."""
    with ExitStack() as stack:
        host, gateway_port = host_address(), free_port()
        mailbox = stack.enter_context(Mailbox(host=host))
        environment = {
            "KANAL_SMTP_RELAY": f"{host}:{mailbox.port}",
            "KANAL_SMS_MAIN_SEND_URL": f"http://{host}:{gateway_port}/messages",
        }
        kanal = Containers(tmp_path_factory.mktemp("compose"), environment)
        gateway = stack.enter_context(SmsGateway(kanal.sms_secret, gateway_port, host))
        stack.callback(kanal.stop)
        began = time.monotonic()
        kanal.start()
        say(f"built, up and healthy after {time.monotonic() - began:.0f} s; stand-ins: {', '.join(standins()) or 'none'}")
        yield Town(kanal, mailbox, gateway)


@pytest.fixture(scope="module", autouse=True)
def _images() -> Iterator[None]:
    try:
        prepare()
    except (NotInstalledError, DockerError) as reason:
        pytest.fail(str(reason))
    yield
    release()


@pytest.fixture
def kanal(town: Town) -> Containers:
    assert isinstance(town.kanal, Containers)
    return town.kanal


def test_mail_and_sms_get_their_receipts_and_the_page_and_the_api_show_the_reports(town: Town) -> None:
    """What the README promises of `docker compose up`: a working Kanal behind one port for HTTP and one for mail."""
    siti, budi = town.mail_citizen("siti"), town.sms_citizen()
    siti.send("Jalan berlubang besar di kelurahan Cikini.", "Jalan rusak")
    promised = budi.send("Lampu jalan mati di kelurahan Kebagusan")["number"]
    by_mail, by_sms = number_in(body_of(siti.wait_for("Laporan diterima"))), number_in(budi.wait_for("Laporan diterima"))
    assert by_sms == promised
    for number in (by_mail, by_sms):
        report = town.wait_for_report(number, lambda found: found["agency"] is not None)
        page = town.page(f"/r/{number}")
        assert (page.status_code, report["agency"]["name"] in page.text) == (200, True)
        say(f"{number}: {report['status']}, {report['agency']['name']}")
    assert town.act(by_mail, "accept").status_code == 200
    siti.wait_for("mulai ditangani")
    assert town.page("/metrics").status_code == 404


def test_containers_run_without_root_without_capabilities_and_cannot_change_what_they_run(kanal: Containers) -> None:
    """A hole in a service gives no more than the service itself; only Kafka's image must write into its own folders."""
    for service in (*SERVICES, *SERVERS):
        assert kanal.execute(service, "id", "-u").strip() != "0", service
        status = dict(line.split(":", 1) for line in kanal.execute(service, "cat", "/proc/1/status").splitlines())
        assert (int(status["CapBnd"], 16), status["NoNewPrivs"].strip()) == (0, "1"), service
        if service != "kafka":
            with pytest.raises(DockerError, match="Read-only file system"):
                kanal.execute(service, "touch", "/probe", user="0")
    say("no container runs as root, none has a capability, all but kafka's are read-only even for root")


def test_secrets_are_in_files_of_those_who_need_them_only(kanal: Containers) -> None:
    """`docker inspect` shows no secret; who never sees an address has no keys; secrets that are there are never made anew."""
    described = json.dumps([kanal.inspect(service) for service in ("setup", *SERVICES, *SERVERS)])
    secrets = {file.name: kanal.secret(file.name) for file in kanal.secrets.iterdir()}
    assert [name for name, secret in secrets.items() if secret and secret in described] == []  # the relay's is empty at first
    kanal.make_secrets()
    assert {name: kanal.secret(name) for name in secrets} == secrets
    given = {service: sorted(kanal.execute(service, "ls", "/run/secrets").split()) for service in SERVICES}
    assert given == {
        "ingest-email": ["database-url", "smtp-relay-password"],
        "ingest-sms": ["database-url", "sms-main-secret"],
        "normalizer": ["database-url"],
        "router": ["database-url"],
        "tracker": ["database-url", "staff-token"],
    }
    assert [service for service in SERVICES if kanal.execute(service, "ls", "/keys")] == ["ingest-email", "ingest-sms"]
    say(f"secrets: {given}")


@pytest.mark.parametrize("victim", ["normalizer", "ingest-sms", "kafka", "postgres"])
def test_killed_under_load_it_comes_back_and_nothing_is_lost_and_nothing_happens_twice(town: Town, kanal: Containers, victim: str) -> None:
    """Docker starts again what dies; every acknowledged SMS has one settlement, one report and one receipt."""
    traffic = Traffic(town, zlib.crc32(victim.encode()), HABITS)
    traffic.start()
    traffic.wait_for(MESSAGES // 10)
    began = time.monotonic()
    kanal.kill(victim)
    traffic.wait_for(MESSAGES, 180)
    traffic.join()
    wait_until(lambda: kanal.healthy(victim), 120, f"health of {victim}")
    healthy_after = time.monotonic() - began
    numbers, message_ids = {sent.about for sent in traffic.ledger.sent}, {sent.message_id for sent in traffic.ledger.sent}
    assert len(numbers) == MESSAGES
    wait_until(lambda: numbers <= receipts_of(town).keys(), 120, "a receipt for every report")
    for number in numbers:
        report = town.wait_for_report(number, lambda found: found["agency"] is not None)
        assert [line["action"] for line in report["timeline"]] == ["register", "route"]
    settled = settlements(kanal)
    assert {message_id: settled.get(message_id) for message_id in message_ids} == dict.fromkeys(message_ids, 1)
    repeated = sum(times - 1 for number, times in receipts_of(town).items() if number in numbers)
    # Only who dies between sending and noting it sends again.
    assert repeated == 0 or victim in {"ingest-sms", "postgres"}
    assert kanal.execute("tracker", "kanal", "dead-letters") == ""
    say(f"{victim} killed: healthy after {healthy_after:.0f} s, {MESSAGES} SMS: 0 lost, 0 twice, {repeated} receipts repeated")


def test_services_are_found_again_when_their_addresses_have_changed(town: Town, kanal: Containers) -> None:
    """nginx looks names up anew: pages must never go to who has the tracker's old address."""
    before = {service: address_of(kanal, service) for service in ("tracker", "ingest-sms")}
    kanal.compose("stop", *before)
    # Docker gives out the lowest free address: who had the higher one gets the other's.
    for service in sorted(before, key=lambda each: ip_address(before[each]), reverse=True):
        kanal.compose("start", service)
    kanal.wait_healthy()
    after = {service: address_of(kanal, service) for service in before}
    citizen = town.sms_citizen()
    wait_until(lambda: town.page("/").status_code == 200, 30, "the page")
    citizen.send("LAPOR pohon tumbang di kelurahan Menteng")
    citizen.wait_for("Laporan diterima")
    say(f"addresses were {before}, are {after}")
    assert before != after


def test_all_stop_in_order_and_all_is_there_after_down_and_up(town: Town, kanal: Containers) -> None:
    """Services end by themselves on SIGTERM; what must survive is in named volumes, so containers can be thrown away."""
    text, sms_id = "LAPOR saluran mampet di kelurahan Petogogan", f"sms-{time.monotonic_ns()}"
    citizen = town.sms_citizen()
    number = citizen.send(text, sms_id)["number"]
    citizen.wait_for("Laporan diterima")
    town.wait_for_report(number, lambda found: found["agency"] is not None)
    kanal.compose("stop")
    assert {service: kanal.inspect(service)["State"]["ExitCode"] for service in SERVICES} == dict.fromkeys(SERVICES, 0)
    kanal.compose("down")
    began = time.monotonic()
    kanal.start()
    say(f"stopped in order; down and up again: healthy after {time.monotonic() - began:.0f} s")
    assert town.report(number).json()["agency"] is not None
    assert citizen.send(text, sms_id)["number"] == number, "other keys give other numbers"


def test_images_and_memory_are_as_small_as_the_limits_say(kanal: Containers) -> None:
    """No container comes near its limit after all of the above; prints what each uses."""
    used = {}
    for service in (*SERVICES, *SERVERS):
        container = kanal.inspect(service)
        line = docker("stats", "--no-stream", "--format", "{{.MemUsage}} {{.MemPerc}}", container["Id"]).strip()
        used[service] = float(line.split()[-1].rstrip("%"))
        say(f"{service}: {line}; image {container['Config']['Image']}, {size_of(container['Image'])}")
    assert max(used.values()) < 80, used


SETTLEMENTS = """
import json, os
from collections import Counter
from kanal import topics
from kanal.journal.kafka import KafkaJournal
from kanal.records import open_record
ids = {}
for stored in KafkaJournal(os.environ["KANAL_JOURNAL"]).scan(topics.MESSAGE_SETTLED):
    opened = open_record(stored)
    ids.setdefault(opened.event.message_id, set()).add(opened.event_id)
print(json.dumps({message_id: len(each) for message_id, each in ids.items()}))
"""


def settlements(kanal: Containers) -> dict[str, int]:
    """Message id → how many different settlements the journal holds; read in a container, since Kafka is open to nobody else."""
    found: dict[str, int] = json.loads(kanal.execute("tracker", "python", "-", text_in=SETTLEMENTS))
    return found


def receipts_of(town: Town) -> "Counter[str]":
    """Number → how often its receipt went out by SMS."""
    return Counter(number_in(sms["text"]) for sms in town.gateway.sent if "Laporan diterima" in sms["text"])


def address_of(kanal: Containers, service: str) -> str:
    return str(kanal.inspect(service)["NetworkSettings"]["Networks"][f"{kanal.name}_inside"]["IPAddress"])


def size_of(image: str) -> str:
    return f"{int(docker('inspect', '--format', '{{.Size}}', image)) / 1e6:.0f} MB"


def say(text: str) -> None:
    """What was seen, for who runs this."""
    print(f"  {text}", flush=True)  # noqa: T201
