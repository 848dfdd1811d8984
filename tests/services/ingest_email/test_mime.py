"""What is read from the bytes of a mail, whatever they are."""

import base64
import time
import tracemalloc
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kanal_ingest_email import mime
from kanal_ingest_email.mime import Mail, parse_mail

from kanal.errors import InvalidInput

OWN = "aduan@kota.example"
SAMPLES = Path(__file__).resolve().parents[2] / "samples/mail"
REAL = Path(__file__).resolve().parents[3].parent / "shared/data/mail"
HEAD = b"From: Sari <sari@warga.example>\nSubject: Lampu\n"
FORWARD = "lihat\n---------- Forwarded message ---------\nisi"
PIXEL = b"\x89PNG\r\n"


def sample(name: str) -> Mail:
    return parse_mail((SAMPLES / name).read_bytes(), OWN)


def mail(header: bytes = b"", body: bytes = b"halo") -> Mail:
    return parse_mail(HEAD + header + b"\n" + body, OWN)


def mixed(*parts: bytes, kind: bytes = b"mixed") -> Mail:
    body = b"".join(b"--B\n" + part + b"\n" for part in parts) + b"--B--\n"
    return mail(b"Content-Type: multipart/" + kind + b"; boundary=B\n", body)


def html(body: str, header: bytes = b"") -> str:
    return mail(header + b"Content-Type: text/html; charset=utf-8\n", body.encode()).text


# Samples


def test_report_with_photo_gives_sender_text_and_file() -> None:
    """Encoded words cut between words, quoted-printable and a file name in two RFC 2231 pieces are put together."""
    got = sample("report_with_photo.eml")
    assert (got.sender, got.sender_name) == ("Sari.Wulandari@warga.example", "Sari Wulandari")
    assert got.subject == "Lampu jalan mati – RT 03/RW 05"
    assert got.sent_at == datetime(2026, 11, 23, 12, 42, 10, tzinfo=UTC)
    assert got.message_id == "CAF1a2b3c@mail.warga.example"
    assert got.text.startswith("Selamat malam, lampu jalan di depan pos ronda mati sejak tiga hari yang lalu.")
    assert [(file.media_type, file.name) for file in got.attachments] == [("image/jpeg", "lampu mati – malam.jpg")]
    assert got.attachments[0].content.startswith(b"\xff\xd8\xff")
    assert (got.automatic, got.bounce_of, got.language) == ("", "", "id")


def test_reply_gives_the_ids_it_answers_once_and_in_order() -> None:
    """Threading needs every id, References before In-Reply-To."""
    got = sample("gmail_reply_indonesian.eml")
    assert got.references == ("first@surel.example", "jk-7f3k9.receipt@kota.example")
    assert "menulis:" in got.text


def test_html_mail_leaves_what_the_sender_wrote() -> None:
    """Scripts, styles, pictures and Outlook's quote with all behind it go; table cells stay side by side."""
    assert sample("outlook_html_only.eml").text == "Pohonnya masih menutup separuh jalan.\n\nLokasi Jl. Kenanga 12"


def test_permanent_bounce_names_our_mail() -> None:
    """The tracker marks the reply as undeliverable by our own Message-ID."""
    got = sample("bounce_permanent.eml")
    assert (got.bounce_of, got.automatic) == ("jk-2m4n6.update.3@kota.example", "bounce")
    assert got.attachments[0].media_type == "message/delivery-status"


def test_delayed_delivery_is_no_bounce() -> None:
    """A server that still tries has not failed."""
    raw = (SAMPLES / "bounce_permanent.eml").read_bytes().replace(b"Action: failed", b"Action: delayed")
    assert parse_mail(raw, OWN).bounce_of == ""


def test_absence_note_is_marked_automatic() -> None:
    """An encoded subject does not hide an out-of-office note."""
    assert sample("out_of_office.eml").automatic == "out-of-office"


# Header fields


@pytest.mark.parametrize(
    ("field", "sender", "name"),
    [
        ("Sari <Sari@WARGA.example>", "Sari@warga.example", "Sari"),
        ('"Wulandari, Sari" <sari@warga.example>', "sari@warga.example", "Wulandari, Sari"),
        ("=?iso-8859-1?Q?Andr=E9?= <andre@warga.example>", "andre@warga.example", "André"),
        ("sari@warga.example (Sari)", "sari@warga.example", "Sari"),
        ("Sari sari@warga.example", "sari@warga.example", ""),
        ("kosong, Sari <sari@warga.example>", "sari@warga.example", "Sari"),
        ('"korban@bank.example" <penipu@jahat.example>', "penipu@jahat.example", "korban@bank.example"),
        ('"korban@bank.example" <bukan alamat>', "", ""),
        ("Mail Delivery System <>", "", ""),
        ("sari@warga..example", "", ""),
        ("(" * 5_000, "", ""),
        ("", "", ""),
    ],
)
def test_from_gives_the_parsed_address_or_nothing(field: str, sender: str, name: str) -> None:
    """An address in the display name never becomes the sender."""
    got = parse_mail(f"From: {field}\n\nhalo".encode(), OWN)
    assert (got.sender, got.sender_name) == (sender, name)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"Lampu\n mati", "Lampu mati"),
        (b"=?utf-8?Q?jalan_=C3?= =?utf-8?Q?=A9?=", "jalan é"),
        (b"=?utf-8?B?w6?= x", "Ã x"),
        (b"=?nama-aneh?Q?caf=C3=A9?=", "café"),
        (b"=?zlib?B?eJw=?= aman", "x\u0153 aman"),
        (b"jalan \xc3\xa9", "jalan é"),
        (b"jalan \xe9", "jalan é"),
        (b"=?utf-8?Q?a=00b=0D=0AX:_y=07?=", "ab X: y"),
        (b"e\xcc\x81", "é"),
        (b"=?utf-8?Q?tidak selesai", "=?utf-8?Q?tidak selesai"),
    ],
)
def test_subject_is_one_clean_line(raw: bytes, expected: str) -> None:
    """Encoded words in any state give one line without controls, never an error."""
    assert parse_mail(b"Subject: " + raw + b"\n\nhalo", OWN).subject == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Mon, 23 Nov 2026 10:12:00 +0700", datetime(2026, 11, 23, 3, 12, tzinfo=UTC)),
        ("23 Nov 2026 10:12:00 -0000", datetime(2026, 11, 23, 10, 12, tzinfo=UTC)),
        ("Thu, 01 Jan 1970 00:00:00 +0000", None),
        ("Mon, 23 Nov 9999 10:12:00 -2359", None),
        ("Mon, 99 Nov 2026 10:12:00", None),
        ("kemarin", None),
        ("", None),
    ],
)
def test_date_gives_utc_or_nothing(value: str, expected: datetime | None) -> None:
    """A claimed time is taken when it can be one."""
    assert parse_mail(f"Date: {value}\n\nhalo".encode(), OWN).sent_at == expected


def test_bare_id_counts_and_many_references_keep_the_latest() -> None:
    """Ids without brackets occur; the ids nearest to this mail matter."""
    many = b"".join(b" <%d@x>\n" % number for number in range(150))
    got = mail(b"Message-ID: a@b\nReferences:\n" + many + b"In-Reply-To: c@d\n")
    assert got.message_id == "a@b"
    assert len(got.references) == mime.MAX_REFERENCES
    assert got.references[-2:] == ("149@x", "c@d")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Lampu jalan mati, mohon diperbaiki", "id"),
        ("The street lamp is broken, please fix it", "en"),
        ("", "id"),
        ("12345", "id"),
        ("CEK JK-C9WE-PKWP-NKK4", "id"),
        ("CEK JK-CCGT-W3YW-A7WE", "id"),
        ("CEK JK-CCGT-WE-THE", "id"),
    ],
)
def test_language_is_guessed_from_frequent_words(text: str, language: str) -> None:
    """Indonesian unless English words prevail."""
    assert parse_mail(f"Subject: x\n\n{text}".encode(), OWN).language == language


# Text


@pytest.mark.parametrize(
    ("charset", "content", "expected"),
    [
        ("utf-8", "jalan é".encode(), "jalan é"),
        ("iso-8859-1", b"jalan \xe9 \x93x\x94", "jalan é “x”"),
        ("iso-8859-1", "jalan é".encode(), "jalan é"),
        ("us-ascii", "jalan é".encode(), "jalan é"),
        ("utf-8", "kopi “enak” di café".encode("cp1252"), "kopi"),
        ("x-tidak-ada", "jalan é".encode(), "jalan é"),
        ("gb2312", "道路".encode("gb18030"), "道路"),
        ("shift_jis", "道路①".encode("cp932"), "道路①"),
        ("koi8-r", "лампа".encode("koi8-r"), "лампа"),
        ("utf-16le", "lampu".encode("utf-16-le"), "lampu"),
        ("punycode", b"lampu", "lampu"),
        ("unicode_escape", rb"lampu \q", r"lampu \q"),
        ("base64", b"lampu", "lampu"),
        ("utf-8\x00", b"lampu", "lampu"),
    ],
)
def test_any_charset_gives_readable_text(charset: str, content: bytes, expected: str) -> None:
    """Wrong, unknown and dangerous charsets fall back, and never raise."""
    text = mail(f"Content-Type: text/plain; charset={charset}\n".encode(), content).text
    assert text.startswith(expected)


def test_control_characters_and_half_characters_are_removed() -> None:
    """Only line ends and tabs remain of the controls; text is NFC."""
    assert mail(body=b"a\x00b\x1b[0m\tc\r\nd\x0be\rf e\xcc\x81").text == "ab[0m\tc\nd\ne\nf é"


def test_piled_up_marks_are_normalised_in_linear_time() -> None:
    """Sorting combining marks is quadratic unless long runs are broken (UAX #15)."""
    before = time.process_time()
    text = mail(b"Content-Type: text/plain; charset=utf-8\n", ("a" + "\u0301\u0316" * 200_000).encode()).text
    assert time.process_time() - before < 2
    assert unicodedata.is_normalized("NFC", text)


def test_plain_text_goes_before_html() -> None:
    """Of alternatives the plain one is what the sender saw typed."""
    got = mixed(b"Content-Type: text/html\n\n<b>tebal</b>", b"Content-Type: text/plain\n\npolos", kind=b"alternative")
    assert got.text == "polos"
    assert got.attachments == ()


def test_blank_plain_text_gives_way_to_html() -> None:
    """Some phones send an empty plain alternative."""
    got = mixed(b"Content-Type: text/plain\n\n  ", b"Content-Type: text/html\n\n<b>tebal</b>", kind=b"alternative")
    assert got.text == "tebal"


def test_text_around_a_picture_is_joined() -> None:
    """Apple Mail splits the text at each picture."""
    got = mixed(b"\natas", b"Content-Type: image/png\n\n" + PIXEL, b"\nbawah")
    assert got.text == "atas\nbawah"
    assert got.attachments[0].content == PIXEL


def test_long_text_is_cut() -> None:
    """A limit, not an error: the raw mail is kept."""
    assert len(mail(body=b"jalan rusak " * 20_000).text) <= mime.MAX_TEXT_CHARACTERS


def test_cut_inside_a_character_does_not_change_the_charset() -> None:
    """UTF-8 text longer than what is read stays UTF-8."""
    text = mail(b"Content-Type: text/plain; charset=utf-8\n", "é€".encode() * 300_000).text
    assert text.startswith("é€é€")
    assert "\ufffd" not in text


# HTML


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("<p>Satu</p><p>Dua<br>Tiga</p>", "Satu\n\nDua\nTiga"),
        ("<ul><li>a<li>b</ul>", "* a\n* b"),
        ("a<script>b</script><style>c</style><!-- d -->e", "ae"),
        ("a<?xml:namespace prefix = o />b", "ab"),
        ("a<span style='DISPLAY: none'>b</span>c", "ac"),
        ("baru<div class='gmail_quote'>lama</div>", "baru"),
        ("baru<blockquote type='cite'>lama</blockquote>bawah", "baru\nbawah"),
        ("baru<div class='x yahoo_quoted'>lama</div>", "baru"),
        ("baru<div class='moz-cite-prefix'>lama:</div><blockquote type='cite'>lama</blockquote>", "baru"),
        ("<div><p>baru</p><hr><div id='divRplyFwdMsg'>lama</div>lama</div><div>lama</div>lama", "baru"),
        (
            "atas<div class='gmail_quote'><p class='gmail_attr'>lama</p><blockquote type='cite'>lama</blockquote>sela</div>bawah",
            "atas\n\n\nsela\nbawah",
        ),
        ("<div class='gmail_quote'>hanya kutipan</div>", "hanya kutipan"),
        ("lihat<div class='gmail_quote'><div class='gmail_attr'>---------- Forwarded message ---------</div>isi</div>", FORWARD),
        (
            "lihat<div class='gmail_quote'>---------- Forwarded message ---------<br>isi</div>",
            FORWARD,
        ),
        ("<blockquote>bukan kutipan surel</blockquote>", "bukan kutipan surel"),
        ("&lt;b&gt; &amp; &#233;", "<b> & é"),
        ("a&#0;b&#27;c", "a"),
        ("a&#1;<script>b</script>&#1;<table><td>c</td>&#1;d</table>", "a\nc d"),
        ("<table><tr><th>a</th><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("<p style='padding-left:99999em;margin-top:99999em'>a</p>", "a"),
        ("<div>" * 5_000 + "dalam", "dalam"),
        ("<table><tr><td>" * 300 + "dalam", "dalam"),
        ("tidak <selesai", "tidak"),
    ],
)
def test_html_gives_the_text_without_quotes(body: str, expected: str) -> None:
    """Quotes of the usual clients go before conversion; forwards, odd markup and hidden text do no harm."""
    assert html(body).startswith(expected)
    assert "lama" not in html(body)


def test_forwarding_subject_keeps_quotes() -> None:
    """What was forwarded is the report."""
    raw = b"Subject: Fwd: x\nContent-Type: text/html\n\nlihat<blockquote type=cite>isi</blockquote>"
    assert "isi" in parse_mail(raw, OWN).text


def test_text_below_a_picture_in_the_html_is_read() -> None:
    """Pictures written into the HTML itself do not use up what is read of it."""
    body = "atas<img src='data:image/png;base64," + "A" * 3_000_000 + "'>bawah"
    assert html(body) == "atasbawah"


def test_html_names_its_own_charset() -> None:
    """Without a charset in the header the document's own counts."""
    body = b"<meta charset='koi8-r'><p>" + "лампа".encode("koi8-r")
    assert mail(b"Content-Type: text/html\n", body).text == "лампа"


# Attachments


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [
        ('attachment; filename="foto.jpg"', "foto.jpg"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        (r'attachment; filename="C:\\Users\\sari\\foto.jpg"', "foto.jpg"),
        ('attachment; filename="=?utf-8?Q?l=C3=A9mp.jpg?="', "lémp.jpg"),
        ("attachment; filename*=utf-8''l%C3%A9mp.jpg", "lémp.jpg"),
        ("attachment; filename*=nama-aneh'x'l%C3%A9mp.jpg", "lémp.jpg"),
        ("attachment; filename=lémp.jpg", "lémp.jpg"),
        ("attachment; filename*=utf-8''exe%E2%80%AEgpj.scr", "exegpj.scr"),
        ("attachment; filename*=utf-8''a%00b%0Ac.jpg", "abc.jpg"),
        ('attachment; filename="a:b*c?.jpg"', "a_b_c_.jpg"),
        ('attachment; filename=".."', ""),
        ("attachment; filename=" + "a" * 300 + ".jpeg", "a" * 145 + ".jpeg"),
        ("attachment", ""),
    ],
)
def test_file_name_is_a_safe_base_name(disposition: str, expected: str) -> None:
    """No path, control or direction character of a stranger reaches a screen or a file system."""
    got = mixed(f"Content-Type: image/jpeg\nContent-Disposition: {disposition}\n\nx".encode())
    assert got.attachments[0].name == expected


@pytest.mark.parametrize("media_type", ["message/rfc822", "text/calendar", "application/ms-tnef", "text/csv"])
def test_part_that_is_no_text_is_a_file(media_type: str) -> None:
    """Forwarded mails and calendars do not mix with the text."""
    got = mixed(b"\nhalo", f"Content-Type: {media_type}\n\nFrom: x@y.example\n\nisi".encode())
    assert got.text == "halo"
    assert [file.media_type for file in got.attachments] == [media_type]


def test_attached_text_is_a_file() -> None:
    """A text that says it is attached is not the body."""
    got = mixed(b"\nhalo", b"Content-Type: text/plain\nContent-Disposition: attachment; filename=a.txt\n\nisi")
    assert (got.text, got.attachments[0].content) == ("halo", b"isi")


def test_broken_base64_gives_what_can_be_read() -> None:
    """A file cut on the way is still better than none."""
    got = mixed(b"Content-Type: image/png\nContent-Transfer-Encoding: base64\n\n" + base64.b64encode(b"abcdef")[:-1] + b"!")
    assert got.attachments[0].content == b"abcde"


def test_odd_media_type_is_a_plain_file() -> None:
    """Only names of types reach the store."""
    assert mixed(b"Content-Type: gambar/<x>\n\nx").attachments[0].media_type == "application/octet-stream"


def test_attachments_beyond_the_limit_stay_in_the_raw_mail() -> None:
    """Twenty are taken out."""
    assert len(mixed(*[b"Content-Type: image/png\n\nx"] * 30).attachments) == mime.MAX_ATTACHMENTS


# Structure and limits


def test_digest_members_are_mails() -> None:
    """RFC 2046: the default type inside a digest is message/rfc822."""
    assert mixed(b"\nFrom: x@y.example\n\nisi", kind=b"digest").attachments[0].media_type == "message/rfc822"


def test_missing_last_boundary_ends_with_the_part_around_it() -> None:
    """A mail cut on the way keeps what came."""
    raw = HEAD + b"Content-Type: multipart/mixed; boundary=B\n\n--B\n\natas\n--B\n\nbawah"
    assert parse_mail(raw, OWN).text == "atas\nbawah"


def test_multipart_without_its_boundary_is_shown_as_it_is() -> None:
    """Better raw structure than no text."""
    assert "isi" in mail(b"Content-Type: multipart/mixed; boundary=B\n", b"--C\n\nisi\n--C--").text


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_line_ends_of_every_system_are_read(line_end: bytes) -> None:
    """LF, CRLF and old CR mails give the same."""
    raw = HEAD + b"Content-Type: multipart/mixed; boundary=B\n\n--B\n\natas\n--B\nContent-Type: image/png\n\nx\n--B--\n"
    got = parse_mail(raw.replace(b"\n", line_end), OWN)
    assert (got.text, got.attachments[0].content) == ("atas", b"x")


@pytest.mark.parametrize("raw", [b"", b"\n", b"From: sari@warga.example\n\n \n", b"\x00" * 100, b"Subject: \n\n\x07"])
def test_mail_without_anything_is_refused(raw: bytes) -> None:
    """Nothing to register: the sender's server is told so."""
    with pytest.raises(InvalidInput, match=r"^text: mail has no text, no subject and no attachment$"):
        parse_mail(raw, OWN)


def parts(count: int) -> bytes:
    return HEAD + b"Content-Type: multipart/mixed; boundary=B\n\n" + b"--B\n\nx\n" * count + b"--B--\n"


def nested(levels: int, body: bytes) -> bytes:
    opened = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (level, level) for level in range(levels))
    return HEAD + opened + b"\n" + body


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "501 parts": (lambda: parts(501), "mail: has more than 500 parts"),
    "10,000 parts": (lambda: parts(10_000), "mail: has more than 500 parts"),
    "31 levels": (lambda: nested(31, b"x"), "mail: is nested deeper than 30 levels"),
    "100 levels": (lambda: nested(100, b"x"), "mail: is nested deeper than 30 levels"),
    "50 MB in one field": (lambda: b"Subject: " + b"a" * 50_000_000, "mail: has more than 262144 bytes of header"),
    "50 MB of fields": (lambda: b"X: a\n" * 10_000_000, "mail: has more than 262144 bytes of header"),
    "50 MB of fields in a part": (
        lambda: HEAD + b"Content-Type: multipart/mixed; boundary=B\n\n--B\n" + b"X: a\n" * 10_000_000,
        "mail: has more than 262144 bytes of header",
    ),
    "false delimiters": (
        lambda: HEAD + b"Content-Type: multipart/mixed; boundary=B\n" + b"\n--Bx" * 5_000_000,
        "mail: has more than 10000 lines that begin like a delimiter",
    ),
}
LARGE = 25_000_000
READ: dict[str, Callable[[], bytes]] = {
    "500 parts": lambda: parts(500),
    "30 levels around 25 MB": lambda: nested(30, b"\n--" * (LARGE // 3)),
    "25 MB in one line": lambda: HEAD + b"\n" + b"a" * LARGE,
    "25 MB of short lines": lambda: HEAD + b"\n" + b"a\n" * (LARGE // 2),
    "25 MB photo": lambda: (
        HEAD + b"Content-Type: image/jpeg\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(bytes(LARGE * 3 // 4))
    ),
    "25 MB of broken base64": lambda: (
        HEAD + b"Content-Type: image/jpeg\nContent-Transfer-Encoding: base64\n\n" + b"a!" * (LARGE // 2) + b"b"
    ),
    "25 MB of HTML": lambda: HEAD + b"Content-Type: text/html\n\n" + b"<p>a" * (LARGE // 4),
    "HTML with endless indents": lambda: HEAD + b"Content-Type: text/html\n\n<pre style='padding-left:9999em'>" + b"a\n" * 500_000,
    "499 HTML parts": lambda: (
        HEAD + b"Content-Type: multipart/mixed; boundary=B\n\n" + (b"--B\nContent-Type: text/html\n\n" + b"<p>" * 15_000 + b"\n") * 499
    ),
    "parameters of one long header": lambda: b'Subject: x\nContent-Type: multipart/mixed; a="' + b";" * 250_000 + b"\n\nx",
    "encoded words that never end": lambda: b"Subject: " + b"=?a?q?" * 40_000 + b"\n\nx",
    "85,000 small fields": lambda: b"a:\n" * 85_000 + b"\nhalo",
    "zeros": lambda: b"Subject: x\n\n" + bytes(LARGE),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_mail_over_a_limit_is_refused_at_once(make: Callable[[], bytes], message: str) -> None:
    """Hostile structure is refused before anything is decoded, within two seconds of processor time."""
    raw = make()
    before = time.process_time()
    with pytest.raises(InvalidInput) as refused:
        parse_mail(raw, OWN)
    assert str(refused.value) == message
    assert time.process_time() - before < 2


@pytest.mark.parametrize("make", READ.values(), ids=READ.keys())
def test_large_mail_is_read_in_little_time(make: Callable[[], bytes]) -> None:
    """Within the limits any mail costs under two seconds of processor time."""
    raw = make()
    before = time.process_time()
    assert len(parse_mail(raw, OWN).text) <= mime.MAX_TEXT_CHARACTERS
    assert time.process_time() - before < 2


def test_25_mb_of_short_lines_need_no_memory_of_their_own() -> None:
    """One object per line would take 800 MB; the raw mail is already there."""
    raw = READ["25 MB of short lines"]()
    tracemalloc.start()
    parse_mail(raw, OWN)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000


# Any bytes

FRAGMENTS = [
    *(b"From: ", b"Subject: ", b"Date: ", b"Message-ID: <a@b>", b"References: <", b"Content-Type: ", b"multipart/mixed; boundary=B"),
    *(b'multipart/alternative; boundary="B"', b"multipart/report; boundary*0=B", b"text/html", b"text/plain; charset=", b"utf-7"),
    *(b"utf-16", b"hz", b"iso-2022-jp", b"message/rfc822", b"message/delivery-status", b"Content-Transfer-Encoding: ", b"base64"),
    *(
        b"quoted-printable",
        b"Content-Disposition: attachment; filename*0*=",
        b"utf-8''%ff%",
        b"=?utf-8?B?",
        b"=?x?q?=FF?=",
        b"=?utf-\xc2\xb5?Q?x?=",
        b"?=",
    ),
    *(
        b"\n",
        b"\n",
        b"\n\n",
        b"\r\n",
        b"\r",
        b"--B\n",
        b"--B--\n",
        b" ",
        b"\t",
        b";",
        b"=",
        b'"',
        b"\\",
        b"<",
        b">",
        b"@",
        b"(",
        b"&#55296;",
        b"&#1;",
    ),
    *(b"<div class=gmail_quote>", b"<blockquote type=cite>", b"<div id=divRplyFwdMsg>", b"<table><td>", b"<li value=9>", b"\x00", b"\xff"),
    *(
        b"\xed\xa0\x80",
        b"\xc3\xa9",
        b"99 Nov 99999 99:99:99 +9999",
        b"<!DOCTYPE",
        b"<?xml encoding='x'?>",
        b"<svg>",
        b"<p style=display:none>",
        b"</p>",
        b"+AGE-",
        b"~{",
    ),
]
anything = st.binary(max_size=400) | st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=4), max_size=40).map(b"".join)


@given(anything)
def test_any_bytes_give_a_mail_or_invalid_input(raw: bytes) -> None:
    """Nothing that a stranger sends stops the service, and what comes out is clean."""
    try:
        got = parse_mail(raw, OWN)
    except InvalidInput:
        return
    for text in (got.text, got.subject, got.sender_name, got.sender, got.message_id, *(file.name for file in got.attachments)):
        text.encode()
        assert not any(unicodedata.category(character) == "Cc" and character not in "\n\t" for character in text)
    assert unicodedata.is_normalized("NFC", got.text)
    assert "\n" not in got.subject
    assert all(file.content for file in got.attachments)


@pytest.mark.skipif(not REAL.is_dir(), reason="published mails are not shipped")
def test_every_published_mail_gives_a_mail_or_invalid_input() -> None:
    """Real and torture mails of five libraries: at most two say nothing at all."""
    refused = 0
    for file in sorted(path for path in REAL.rglob("*") if path.is_file()):
        try:
            parse_mail(file.read_bytes(), OWN)
        except InvalidInput:
            refused += 1
    assert refused <= 2
