"""Each server really starts, does its one thing, and leaves no process behind."""

import http.server
import signal
import smtplib
import string
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import psycopg
import pytest
import requests
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.servers import install
from tests.servers.gateway import SIGNATURE_HEADER, SmsGateway
from tests.servers.kafka import KafkaServer
from tests.servers.kanal import PROJECT
from tests.servers.mailbox import Mailbox
from tests.servers.nginx import Nginx
from tests.servers.postfix import Postfix
from tests.servers.postgres import PostgresServer
from tests.servers.processes import Child, Server, ServerError, free_port, wait_until

pytestmark = pytest.mark.servers


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    install.install()


def test_install_finds_that_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second call has nothing to do, so that every test run can afford it."""
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("install had something to do"))
    install.install()


def test_install_does_not_take_half_a_copy_for_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jars without the marker are fetched again."""
    monkeypatch.setattr(install, "_KEPT", tmp_path)
    monkeypatch.setattr(install, "KAFKA_DIRECTORY", tmp_path / "kafka-4.3.1")
    for folder in ("kafka-4.3.1", "kafka-4.3.1.unfinished"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "half.jar").touch()
    install.install(["kafka"])
    assert {path.name for path in tmp_path.iterdir()} == {"kafka-4.3.1", "lock"}
    assert not (tmp_path / "kafka-4.3.1" / "half.jar").exists()


def test_install_names_what_only_root_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other users are told each missing package and the command."""
    monkeypatch.setattr(install, "_program", lambda _: None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(install.NotInstalledError, match="apt-get install nginx-light postfix"):
        install.install(["postfix", "nginx"])


def assert_leaves_nothing(server: Server) -> None:
    """Stops the server: none of its processes may stay, and its port is free."""
    pids = server.pids
    assert pids
    server.stop()
    assert not [pid for pid in pids if _lives(pid)]
    assert not server.running


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_what_is_paused_does_nothing_more(tmp_path: Path) -> None:
    """When `pause` returns no thread works on, also where the machine is too busy to stop them at once."""
    work = "import hashlib, threading; work = lambda: [hashlib.sha256(bytes(10**6)) for _ in iter(int, 1)]; "
    busy = Child([sys.executable, "-c", work + "[threading.Thread(target=work).start() for _ in range(4)]"], tmp_path / "log")
    rivals = [Child([sys.executable, "-c", "while True: pass"], tmp_path / "log") for _ in range(6)]
    try:
        time.sleep(0.5)
        for _ in range(5):
            busy.pause()
            before = _processor_ticks(busy.pid)
            time.sleep(0.1)
            assert _processor_ticks(busy.pid) == before
            busy.send(signal.SIGCONT)
    finally:
        for child in [busy, *rivals]:
            child.kill()


def _processor_ticks(pid: int) -> list[str]:
    """User and system time of a process, from proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]


# Kafka


def create_topic(kafka: KafkaServer, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.address})
    admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])[topic].result(20)


def produce(kafka: KafkaServer, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": kafka.address, "acks": "all", "message.max.bytes": 4_000_000})
    errors: list[object] = []
    producer.produce(topic, value, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(20) == 0
    if errors[0] is not None:
        raise KafkaException(errors[0])


def read_one(kafka: KafkaServer, topic: str) -> bytes | None:
    settings = {"bootstrap.servers": kafka.address, "group.id": "reader", "auto.offset.reset": "earliest"}
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    try:
        message = consumer.poll(20)
        return message.value() if message and not message.error() else None
    finally:
        consumer.close()


def test_kafka_keeps_an_acknowledged_message_through_kill_and_restart(tmp_path: Path) -> None:
    """What was acknowledged is there after SIGKILL, on the same port."""
    with KafkaServer(tmp_path, flush_every_messages=1) as kafka:
        create_topic(kafka, "reports")
        produce(kafka, "reports", b"a lamp is out")
        kafka.kill()
        kafka.start()
        assert read_one(kafka, "reports") == b"a lamp is out"
        assert_leaves_nothing(kafka)


def test_kafka_starts_on_data_of_an_earlier_run_with_another_port(tmp_path: Path) -> None:
    """A second object on the same directory finds the data; and over-long messages and unknown topics are refused."""
    with KafkaServer(tmp_path, heap_mb=256) as first:
        create_topic(first, "reports")
        produce(first, "reports", b"x" * 2_000_000)
    with KafkaServer(tmp_path, heap_mb=256) as second:
        assert len(read_one(second, "reports") or b"") == 2_000_000
        with pytest.raises(KafkaException, match="MSG_SIZE_TOO_LARGE"):
            produce(second, "reports", b"x" * 2_200_000)
        second.pause()
        assert not second.ready()
        second.resume()
        second.wait_ready()
        assert list(AdminClient({"bootstrap.servers": second.address}).list_topics("nowhere", 5).topics) == ["nowhere"]
        assert "nowhere" not in AdminClient({"bootstrap.servers": second.address}).list_topics(timeout=5).topics


# PostgreSQL


def test_postgres_keeps_a_committed_row_through_kill_and_restart(tmp_path: Path) -> None:
    """What was committed is there after SIGKILL of all the server's processes, on the same port."""
    with PostgresServer(tmp_path) as postgres:
        postgres.create_database("kanal")
        address = postgres.url("kanal").replace("+psycopg", "")
        with psycopg.connect(address) as connection:
            connection.execute("CREATE TABLE reports (number text)")
            connection.execute("INSERT INTO reports VALUES ('JK-1')")
        postgres.kill()
        assert not postgres.ready()
        postgres.start()
        with psycopg.connect(address) as connection:
            assert connection.execute("SELECT number FROM reports").fetchall() == [("JK-1",)]
        assert_leaves_nothing(postgres)


def test_postgres_drops_a_database_in_use(tmp_path: Path) -> None:
    """Tests may drop their database without hunting for open connections, twice even."""
    with PostgresServer(tmp_path, fsync=False) as postgres:
        postgres.create_database("kanal")
        with psycopg.connect(postgres.url("kanal").replace("+psycopg", "")) as connection:
            postgres.drop_database("kanal")
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        postgres.drop_database("kanal")


# nginx


class _Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"hello from {self.path}".encode())

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Writes nothing."""


@pytest.fixture
def upstream() -> Iterator[int]:
    """The port of a small HTTP server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hello) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_the_deployed_nginx_limits_pages_of_one_address_but_no_webhooks(tmp_path: Path, upstream: int) -> None:
    """Who asks too much gets 429; the gateway's SMS all pass."""
    here = f"127.0.0.1:{upstream}"
    template = string.Template((PROJECT / "deploy/nginx.conf.template").read_text())
    values = {"LISTEN": "127.0.0.1:{port}", "TRACKER": here, "INGEST_SMS": here, "RESOLVER": "127.0.0.1", "REQUESTS_PER_SECOND": "1"}
    with Nginx(tmp_path, template.safe_substitute(values)) as nginx:
        pages = [requests.get(f"{nginx.url}/r/JK", timeout=10).status_code for _ in range(150)]
        webhooks = {requests.get(f"{nginx.url}/sms/main/inbound", timeout=10).status_code for _ in range(150)}
    assert (pages[0], pages[-1]) == (200, 429)
    assert webhooks == {200}


def test_nginx_passes_requests_on(tmp_path: Path, upstream: int) -> None:
    """nginx stands in front of a server, and keeps its files in its directory."""
    config = "server { listen 127.0.0.1:{port}; location / { proxy_pass http://127.0.0.1:UPSTREAM; } }"
    with Nginx(tmp_path, config.replace("UPSTREAM", str(upstream))) as nginx:
        assert _get(f"{nginx.url}/x").text == "hello from /x"
        assert {"error.log", "access.log", "nginx.pid"} <= {file.name for file in tmp_path.iterdir()}
        assert_leaves_nothing(nginx)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    """A faulty configuration fails at once, with the server's own words."""
    with pytest.raises(ServerError, match="unknown directive"):
        Nginx(tmp_path, "nonsense;").start()


def _get(url: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, timeout=10)


# Mail


def mail(subject: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "warga@example.org", "aduan@kanal.test", subject
    message.set_content("Lampu jalan mati.")
    return message


def send_mail(port: int, subject: str, *recipients: str) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as smtp:
        smtp.send_message(mail(subject), to_addrs=recipients or ["aduan@kanal.test"])


def test_postfix_delivers_one_recipient_at_a_time_and_again_after_451(tmp_path: Path) -> None:
    """Postfix keeps a mail that was answered with 451 and brings it again; a 550 makes it give up."""
    with Mailbox() as mailbox, Postfix(tmp_path, None, mailbox.port, "kanal.test") as postfix:
        mailbox.answer_next("451 4.3.0 later")
        send_mail(postfix.port, "lampu", "aduan@kanal.test", "lurah@kanal.test")
        received = mailbox.wait_for(lambda mails: len(mails) == 2, 20)
        assert sorted(mail.recipients for mail in received) == [["aduan@kanal.test"], ["lurah@kanal.test"]]
        assert received[0].message["Subject"] == "lampu"
        mailbox.answer_next("550 5.1.1 no such box")
        send_mail(postfix.port, "salah")
        wait_until(lambda: not postfix.queue_ids(), 20, "an empty queue")
        assert len(mailbox.messages) == 2
        assert_leaves_nothing(postfix)


def test_postfix_keeps_accepted_mail_through_kill_while_the_receiver_is_away(tmp_path: Path) -> None:
    """A mail answered with 250 is delivered in the end, whoever is killed in between; outside mail is refused."""
    with Mailbox() as mailbox, Postfix(tmp_path, None, mailbox.port, "kanal.test") as postfix:
        mailbox.stop()
        send_mail(postfix.port, "lampu")
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            send_mail(postfix.port, "keluar", "somebody@example.org")
        assert len(postfix.queue_ids()) == 1
        postfix.kill()
        postfix.start()
        mailbox.start()
        mailbox.wait_for(bool, 20)
        wait_until(lambda: not postfix.queue_ids(), 20, "an empty queue")


def test_mailbox_answers_as_told_and_may_lose_the_connection_after_keeping() -> None:
    """The sender of a dropped mail hears nothing, though it was kept: so duplicates come into being."""
    with Mailbox() as mailbox:
        mailbox.answer_next("451 4.3.0 later", count=2)
        for _ in range(2):
            with pytest.raises(smtplib.SMTPDataError, match=r"451.*4\.3\.0 later"):
                send_mail(mailbox.port, "ditolak")
        mailbox.drop_after_data = 1
        with pytest.raises(smtplib.SMTPServerDisconnected):
            send_mail(mailbox.port, "putus")
        send_mail(mailbox.port, "masuk")
        assert [mail.message["Subject"] for mail in mailbox.messages] == ["putus", "masuk"]
        assert mailbox.messages[0].sender == "warga@example.org"
        with pytest.raises(TimeoutError):
            mailbox.wait_for(lambda mails: len(mails) > 2, 0.05)


# SMS


@pytest.fixture
def gateway() -> Iterator[SmsGateway]:
    with SmsGateway("secret") as gateway:
        yield gateway


def test_sms_gateway_keeps_what_is_rightly_signed(gateway: SmsGateway) -> None:
    """A wrong signature is refused; the same id twice is sent twice."""
    message = {"id": "r-1", "to": "+628111111111", "text": "Laporan JK-1 selesai"}
    assert [gateway.send(gateway.url, message) for _ in range(2)] == [(200, {"id": "r-1"})] * 2
    assert gateway.sent == [message, message]
    assert requests.post(gateway.url, json=message, headers={SIGNATURE_HEADER: "sha256=0"}, timeout=5).status_code == 401
    assert gateway.send(gateway.url, {"id": "r-1"})[0] == 400
    assert len(gateway.wait_for(lambda sent: len(sent) >= 2)) == 2


def test_sms_gateway_answers_as_told(gateway: SmsGateway) -> None:
    """Failures come before or after the message was sent, with headers if wanted, and slowly if wanted."""
    message = {"id": "r-1", "to": "+628111111111", "text": "x"}
    gateway.answer_next(503, 2)
    gateway.answer_next(429, headers={"Retry-After": "1"}, after_keeping=True)
    assert [gateway.send(gateway.url, message)[0] for _ in range(4)] == [503, 503, 429, 200]
    assert len(gateway.sent) == 2
    gateway.delay_seconds = 30
    errors: list[Exception] = []
    caller = threading.Thread(target=_keep_error, args=(errors, gateway, message))
    caller.start()
    gateway.wait_for(lambda sent: len(sent) == 3)
    gateway.stop()
    caller.join(5)
    assert isinstance(errors[0], requests.ConnectionError)


def _keep_error(errors: list[Exception], gateway: SmsGateway, message: dict[str, str]) -> None:
    try:
        gateway.send(gateway.url, message)
    except requests.ConnectionError as error:
        errors.append(error)


def test_sms_gateway_signs_what_it_brings(gateway: SmsGateway) -> None:
    """Inbound messages and delivery reports carry the signature of their raw body, as JSON or as a form."""
    with SmsGateway("secret") as kanal:
        fields = {"id": "m-1", "to": "1708", "text": "Banjir & macet"}
        assert gateway.send(kanal.url, fields) == (200, {"id": "m-1"})
        assert gateway.send(kanal.url, fields, as_form=True)[0] == 400
        assert gateway.report_delivery(kanal.url, "r-1", "delivered")[0] == 400
        kanal.secret = "another"
        assert gateway.send(kanal.url, fields, as_form=True)[0] == 401


# Processes


_START_AND_WAIT = """
import sys, time
from pathlib import Path
from tests.servers.nginx import Nginx
from tests.servers.postfix import Postfix
from tests.servers.postgres import PostgresServer
from tests.servers.processes import free_port

home = Path(sys.argv[1])
servers = [
    PostgresServer(home / "postgres"),
    Nginx(home / "nginx", "server { listen 127.0.0.1:{port}; }"),
    Postfix(home / "postfix", None, free_port(), "kanal.test"),
]
print(*(pid for server in servers for pid in server.start().pids), flush=True)
time.sleep(600)
"""


def test_servers_die_with_the_process_that_started_them(open_path: Path) -> None:
    """A test run that is killed leaves no servers behind, their own children included."""
    command = [sys.executable, "-c", _START_AND_WAIT, str(open_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        pids = [int(pid) for pid in starter.stdout.readline().split()]
        assert len(pids) > 10
        starter.kill()
        wait_until(lambda: not any(map(_lives, pids)), 10, "end of all servers")


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that every user can reach, so that nothing is put elsewhere and stays there."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_thread_may_not_start_a_server(tmp_path: Path) -> None:
    """The server would die with the thread, so it is refused."""
    errors: list[BaseException] = []

    def start() -> None:
        try:
            Child(["sleep", "1"], tmp_path / "log")
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])


def test_a_child_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    """`stop` ends what will not end, grandchildren in other sessions included."""
    script = "trap '' TERM; setsid sleep 600 & sleep 600"
    child = Child(["sh", "-c", script], tmp_path / "log")
    wait_until(lambda: len(child.family()) == 3, 5, "the grandchildren")
    family = child.family()
    child.stop(signal.SIGTERM, 0.2)
    assert not [pid for pid in family if _lives(pid)]


def test_free_ports_differ_and_stay_out_of_the_ephemeral_range() -> None:
    """A client's own port can never be a server's."""
    first_ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = [free_port() for _ in range(100)]
    assert len(set(ports)) == 100
    assert max(ports) < first_ephemeral
