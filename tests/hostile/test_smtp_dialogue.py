"""Any lines on the SMTP port: each gets an answer of SMTP, and nothing in Kanal fails."""

import re
import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.hostile.attack import answer_to, connected, others_are_heard
from tests.hostile.conftest import FUZZ
from tests.pipeline.town import Town

pytestmark = pytest.mark.servers

GOOD = [
    b"EHLO x.example",
    b"HELO x",
    b"MAIL FROM:<orang@warga.example>",
    b"RCPT TO:<lapor@localhost>",
    b"DATA",
    b".",
    b"RSET",
    b"NOOP",
    b"HELP",
    b"VRFY x",
]
BAD = [
    b"EHLO", b"EHLO \xff\xfe", b"MAIL FROM:<\xff\xfe@warga.example>", b"MAIL FROM:<>", b"MAIL FROM:<a@b> SIZE=99999999999999999999", b"MAIL FROM:<a@b> SIZE=x",
    b"MAIL FROM:<a@b> SMTPUTF8 BODY=8BITMIME", b'MAIL FROM:<"a\\"@b"@c>', b"MAIL FROM:<@a,@b:c@d>", b"RCPT TO:<lapor@localhost> NOTIFY=NEVER", b"RCPT TO:<LAPOR+\xe2\x80\xae@LOCALHOST>",
    b"RCPT TO:<lapor+" + b"x" * 400 + b"@localhost>", b"DATA x", b"..", b".\n.", b"\r\n.\n", b"AUTH PLAIN AGEAYg==", b"AUTH LOGIN", b"STARTTLS", b"BDAT 5 LAST", b"EXPN x", b"XCLIENT ADDR=1.2.3.4",
    b"\x00", b"\xff\xf4\xff\xfd\x06", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.1", b"", b" ", b"\r", b"x" * 600, b"x" * 3_000, b"From: ", b"Subject: lampu mati\r\n\r\nlampu mati",
]  # fmt: skip
LINES = st.lists(st.one_of(st.sampled_from(GOOD), st.sampled_from(BAD), st.binary(max_size=40)), max_size=25)
A_REPLY = re.compile(rb"[2-5]\d\d[ -][^\r\n]*")
BEGIN = [b"EHLO x.example", b"MAIL FROM:<orang@warga.example>", b"RCPT TO:<lapor@localhost>", b"DATA"]


def test_any_lines_get_answers_of_smtp(town: Town) -> None:
    """A stranger's bytes are answered line by line until QUIT; none of them is a failure of ours."""

    @FUZZ
    @example(
        [b"EHLO x", b"MAIL FROM:<\xff\xfe@warga.example>", b"RCPT TO:<lapor@localhost>", b"DATA", b"Subject: lampu mati", b".", b"QUIT"]
    )
    @example([*BEGIN, b"From: \xff\xfe <\xff@warga.example>", b"", b"lampu mati"])
    @example([*BEGIN, b"", b".."])
    @given(st.one_of(LINES, LINES.map(lambda lines: BEGIN + lines)))
    def holds(lines: list[bytes]) -> None:
        with connected(town.kanal.smtp_port) as connection:
            connection.sendall(b"\r\n".join([*lines, b"", b".", b"QUIT", b""]))
            said = answer_to(connection)
        assert all(A_REPLY.fullmatch(line) for line in said.split(b"\r\n")[:-1]), said
        assert said.split(b"\r\n")[-2][:3] in {b"221", b"421", b"502"}, said
        assert b"our side" not in said, said

    holds()
    others_are_heard(town)
    assert not [line for line in town.kanal.logs().splitlines() if '"level": "error"' in line]


STARTS = [
    pytest.param(b"", b"", id="nothing"),
    pytest.param(b"\r\n", b"\r\n", id="an empty line"),
    pytest.param(b"..\r\n", b".\r\n", id="a dot"),
    pytest.param(b"..a\r\n...\r\n", b".a\r\n..\r\n", id="dots at the beginning of lines"),
    pytest.param(b"\n.\n\r\n.\n\n.\r\n", b"\n.\n\r\n\n\n.\r\n", id="dots behind half line ends are no end"),
    pytest.param(b"a" * 2_000 + b"\r\n", b"a" * 2_000 + b"\r\n", id="a line longer than what is read at once"),
    pytest.param(b"a" * 998 + b"\r\n..\r\n", b"a" * 998 + b"\r\n.\r\n", id="a dot on the border of what is read at once"),
]


@pytest.mark.parametrize(("sent", "received"), STARTS)
def test_a_mail_arrives_byte_by_byte_as_it_was_sent(town: Town, sent: bytes, received: bytes) -> None:
    """Only CRLF, dot, CRLF ends a mail, also on its first line, and only the dots that SMTP added are taken away (RFC 5321, 4.5.2)."""
    head = b"Subject: lampu mati\r\n\r\n"
    for content, kept in ((head + sent, head + received), (sent, received)):
        sender = uuid.uuid4().hex.encode()  # what is in the mail and who sends it are its id
        with connected(town.kanal.smtp_port) as connection:
            connection.sendall(b"\r\n".join(BEGIN).replace(b"orang", sender) + b"\r\n" + content + b".\r\nRSET\r\nQUIT\r\n")
            codes_said = [line[:3] for line in answer_to(connection).split(b"\r\n") if line[3:4] == b" "]
        assert codes_said[5] in {b"250", b"554"}
        assert codes_said[6:] == [b"250", b"221"]
        assert kept_whole(town, kept) or codes_said[5] == b"554"


def kept_whole(town: Town, content: bytes) -> bool:
    """Whether a sealed original with this content lies among the attachments."""
    from kanal.contacts import open_bytes
    from kanal.keys import read_keys

    keys = read_keys(town.kanal.data / "keys")
    newest_first = sorted((town.kanal.data / "attachments").glob("*/raw"), key=lambda path: -path.stat().st_mtime_ns)
    return any(open_bytes(keys, path.read_bytes()) == content for path in newest_first)
