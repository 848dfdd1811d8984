"""Any bytes into everything that reads what strangers write; `make fuzz` goes on for hours where these stop."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kanal.events import EVENTS, encode
from kanal.pack import find_pack
from kanal.testing import number, registered, updated
from tests.hostile.conftest import FUZZ
from tests.hostile.targets import FILES, TARGETS, pack_with

SAMPLES = Path(__file__).parents[1] / "samples/mail"
EXAMPLES = Path(__file__).parents[2] / "schemas/examples"

MULTIPART = (
    b"From: =?utf-8?q?Siti?= <siti@warga.example>\r\nSubject: =?utf-8?b?SmFsYW4=?=\r\nReferences: <a@b> <c@d>\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n'
    b"--c\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nJalan=20rusak\r\n"
    b"--c\r\nContent-Type: text/html\r\n\r\n<p>Jalan <b>rusak</b><blockquote type=cite>lama</blockquote></p>\r\n--c--\r\n"
    b"--b\r\nContent-Type: image/jpeg; name*0*=utf-8''a%20; name*1=b.jpg\r\nContent-Transfer-Encoding: base64\r\n\r\n/9j/4AAQ\r\n--b--\r\n"
)
SMS = {
    "id": "1",
    "from": "+6281200000001",
    "to": "08111272206",
    "text": "Jalan rusak",
    "part_reference": 7,
    "part_number": 1,
    "part_total": 2,
}
TEXTS = [
    f"CEK {number()}", "BELUM beres, WA 0812-0000-0001", "LAPOR lampu jalan mati di kelurahan Cawang RT 04/05", "&amp;amp;lt;b&gt;",
    "NIK 3171012345678901 B 1234 ABC rek. BCA 1234567890", "tanggal 12-03-2026 pukul 10.30 Rp 1.000.000 -6.2088, 106.8456",
]  # fmt: skip
HTML = [
    "<p>Jalan <b>rusak</b>", "<table><tr><td>a<td style='display:none'>b", "<blockquote type=cite><div class=gmail_quote>", "<!--[if mso]><p><![endif]-->",
    "<script>a</script><style>b</style>", "<div id=divRplyFwdMsg>x</div>y",
]  # fmt: skip
CORPUS: dict[str, list[bytes]] = {
    "mail": [MULTIPART, *(path.read_bytes()[:4_000] for path in sorted(SAMPLES.glob("*.eml")))],
    "html": [text.encode() for text in HTML],
    "header": [b'"a, b" (c (d)) <siti@warga.example>', b"=?utf-8?b?SmFsYW4=?= =?x?q?=20?=", b"multipart/mixed; boundary*0=\"a\"; x*=u''%", b"Tue, 24 Nov 2026 13:00:00 +0700"],
    "sms": [json.dumps(SMS).encode(), b"id=1&from=0812&to=1&text=%F0%9F%98%80"],
    "number": [text.encode() for text in TEXTS],
    "masking": [text.encode() for text in TEXTS],
    "event": [path.read_bytes() for path in sorted(EXAMPLES.glob("*/*.json")) if not path.name.endswith(".headers.json")],
    "record": [b"\n".join([b"id", b"2026-01-01T00:00:00+00:00", b"kanal.report-routed.v1", b"00-a-b-01"]), encode(registered()), encode(updated())],
    "normalizer": [text.encode() for text in TEXTS],
    "splitting": [("Laporan diterima. " * 20).encode(), "Lampu 😀 你好 ".encode() * 20],
}  # fmt: skip
NASTY = [
    b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80\xae", b"\xcc\x81" * 40, b"\r", b"\n", b"\r\n\r\n", b"\r\n.\r\n", b"\\u0000", b"\\ud800",
    b"[" * 2_000, b'{"a":' * 2_000, b"9" * 5_000, b"1e999", b"-0", b"NaN", b"null", b"true", b'"', b"'", b"\\", b"<" * 500, b"&#0;", b"&#xd800;", b"&#x110000;", b"--b",
    b"--b--", b"=?utf-8?q?=?=", b"=", b"%", b"%00", b"%ed%a0%80", b"(" * 500, b"<a@b>", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"+62", b"0812 3456 7890", b"JK", b"*" * 500,
    b"9999-12-31T23:59:59+23:59", b"0001-01-01T00:00:00-23:59", b"\xef\xb7\xba" * 20, b"{}", b"{0.x}", b"\xd9\xa1\xd9\xa2",
]  # fmt: skip
assert set(CORPUS) | {"pack"} == set(TARGETS)
assert {path.parent.name for path in EXAMPLES.glob("*/*.json")} == set(EVENTS)


@st.composite
def spoilt(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """A good sample in which a few places were overwritten, doubled or cut; now and then anything at all."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=300))
    content = draw(st.sampled_from(samples))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(content)))
        end = draw(st.integers(at, min(len(content), at + 40)))
        put = draw(st.one_of(st.sampled_from(NASTY), st.binary(max_size=8), st.just(content[at:end] * 2), st.just(b"")))
        content = content[:at] + put + content[end:]
    return content


@pytest.mark.parametrize("target", CORPUS)
def test_any_bytes_are_understood_or_refused_by_name(target: str) -> None:
    """No bytes of a stranger lead to anything but a result that can go on, or one of the errors that are promised."""

    @FUZZ
    @given(spoilt(CORPUS[target]))
    def holds(raw: bytes) -> None:
        TARGETS[target](raw)

    holds()


@pytest.mark.parametrize("name", FILES)
def test_a_pack_with_a_spoilt_file_loads_or_tells_the_mistake(name: str) -> None:
    """A slip of the pen in the city's data is told at the start, and never found by a citizen."""
    shipped = (find_pack("jakarta") / name).read_bytes()

    @FUZZ
    @given(spoilt([shipped]))
    def holds(content: bytes) -> None:
        pack_with(name, content)

    holds()


def test_the_corpus_is_what_it_says() -> None:
    """Unspoilt, every sample is taken: the fuzzing begins at what is right."""
    for name, samples in CORPUS.items():
        for sample in samples:
            TARGETS[name](sample)
