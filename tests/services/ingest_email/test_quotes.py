"""What is cut from replies, and above all what is not."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kanal_ingest_email.mime import parse_mail
from kanal_ingest_email.quotes import cut_quotes

REPLIES = Path(__file__).resolve().parents[3].parent / "shared/data/mail-replies"

TAILS = {
    "gmail english": "On Mon, 23 Nov 2026 at 10:12, Aduan <aduan@kota.example> wrote:\n\n> Diterima.\n> Salam",
    "gmail broken over two lines": "On Mon, 23 Nov 2026 at 10:12, Aduan Kota <\naduan@kota.example> wrote:\n\n> Diterima.",
    "gmail broken over three lines": "On Mon, 23 Nov 2026 at 10:12, Aduan Kota\n<aduan@kota.example>\nwrote:\n\n> Diterima.",
    "gmail without marks": "On Mon, 23 Nov 2026 at 10:12, Aduan <aduan@kota.example> wrote:\n\nDiterima.\n\nSalam",
    "gmail indonesian": "Pada Sen, 23 Nov 2026 pukul 10.12 Aduan Kota <aduan@kota.example> menulis:\n\n> Diterima.",
    "gmail indonesian broken": "Pada tanggal Sen, 23 Nov 2026 pukul 10.12 Aduan Kota\n<aduan@kota.example> menulis:\n\n> Diterima.",
    "gmail dated": "2026-11-23 10:12 GMT+07:00 Aduan <aduan@kota.example>:\n\n> Diterima.",
    "apple": "On Nov 23, 2026, at 10:12 AM, Aduan Kota wrote:\n\n> Diterima.",
    "apple indonesian": "Pada 23 Nov 2026, pukul 10.12, Aduan Kota <aduan@kota.example> menulis:\n\n> Diterima.",
    "thunderbird indonesian": "Pada 23/11/26 10.12, Aduan Kota menulis:\n> Diterima.",
    "yahoo": "--- On Mon, 11/23/26, Aduan <aduan@kota.example> wrote:\n\nFrom: Aduan\nDiterima.",
    "yahoo indonesian": "Pada Senin, 23 November 2026 10.12.33 WIB, Aduan <aduan@kota.example> menulis:\n\nDiterima.",
    "outlook": "-----Original Message-----\nFrom: Aduan\nSent: Monday\nSubject: Re: x\n\nDiterima.",
    "outlook indonesian": "-----Pesan Asli-----\nDari: Aduan\nDiterima.",
    "samsung": "-------- Original message --------\nFrom: Aduan <aduan@kota.example>\nDate: 23/11/26\n\nDiterima.",
    "header block": "From: Aduan Kota <aduan@kota.example>\nSent: Monday, 23 November 2026 10:12\nTo: Sari\nSubject: x\n\nDiterima.",
    "header block indonesian": "Dari: Aduan Kota\nDikirim: Senin, 23 November 2026 10.12\nKepada: Sari\nPerihal: x\n\nDiterima.",
    "header block in bold": "*From:* Aduan Kota\n*Sent:* Monday, 23 November 2026 10:12\n*To:* Sari\n\nDiterima.",
    "header block under a rule": "________________________________\nFrom: Aduan\nSent: Monday\nTo: Sari\n\nDiterima.",
    "outlook mobile": "Get Outlook for Android<https://aka.ms/x>\n________________________________\n"
    "Dari: Aduan\nDikirim: Senin\nKepada: Sari\n\nDiterima.",
    "signature": "-- \nSari Wulandari\nWarga RT 03\n\nTelepon kantor\n\nPT Contoh",
    "signature without blank": "--\nSari Wulandari\nWarga RT 03",
    "iphone": "Sent from my iPhone",
    "iphone indonesian": "Dikirim dari iPhone saya",
    "yahoo app": "Terkirim dari Yahoo Mail untuk Android",
    "samsung indonesian": "Dikirim dari perangkat Samsung Galaxy saya",
    "outlook app": "Dapatkan Outlook untuk iOS",
    "windows mail": "Sent from Mail for Windows 10",
    "blackberry": "Powered by Telkomsel BlackBerry®",
    "blackberry english": "Sent from my BlackBerry® wireless device",
    "rule at the end": "________________________________",
    "mailman": "_______________________________________________\nwarga mailing list\nwarga@milis.example",
    "marks without attribution": "> Diterima.\n> Salam",
}

KEPT = {
    "plain report": "Lampu mati.\n\nSejak kemarin.\n\nTerima kasih",
    "greater than": "Sampah menumpuk\n> 3 hari belum diangkut\nTolong",
    "letter with its own heading": "Yth. Admin,\nDari: Budi\nTanggal: 23 November 2026\nPerihal: Lampu mati\n\nDengan hormat,",
    "date in a sentence": "Pada 23 November 2026 pukul 10.12 petugas datang dan menulis\nlaporan, tetapi lampu mati lagi.",
    "on at the beginning": "On the corner of Jl. Kenanga 12 there is a hole.\nOn Monday someone fell.",
    "sent from in a sentence": "Sent from my desk, is much easier than my mobile phone.",
    "dikirim dari in a sentence": "Dikirim dari HP tetangga karena HP saya ikut terendam banjir\nkemarin.",
    "dashes between two parts": "Jalan rusak.\n--\nLokasi dekat pasar.\n\nSudah dua minggu begini.",
    "dashes inside a line": "Jalan -- yang baru -- sudah rusak.",
    "rule between two parts": "Lampu mati\n____________________\nJalan rusak",
    "gmail forward": "FYI\n\n---------- Forwarded message ---------\nFrom: Budi <budi@warga.example>\n"
    "Date: Mon, 23 Nov 2026 at 10:12\nSubject: x\nTo: Sari\n\nAda lubang.\n\n-- \nBudi",
    "indonesian forward": "Mohon bantu\n\n---------- Pesan terusan ---------\nDari: Budi <budi@warga.example>\n"
    "Date: Sen, 23 Nov 2026 pukul 10.12\nSubject: x\nTo: Sari\n\nAda lubang.",
}

BOTTOM = "On Mon, 23 Nov 2026 at 10:12, Aduan <aduan@kota.example> wrote:\n\n> Di mana?\n\nDi depan pasar."


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS.keys())
def test_quote_or_signature_below_the_text_is_cut(tail: str) -> None:
    """Each client's way of quoting and signing leaves only what the sender wrote."""
    assert cut_quotes(f"Lampu masih mati.\n\n{tail}\n") == "Lampu masih mati."


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT.keys())
def test_text_that_only_resembles_a_quote_is_kept(text: str) -> None:
    """Nothing a citizen wrote may vanish because it looks like what clients write."""
    assert cut_quotes(text) == text


def test_quote_alone_comes_back_whole() -> None:
    """A mail that is nothing but a quote keeps its text."""
    assert cut_quotes("> a\n> b\n") == "> a\n> b\n"


def test_text_below_a_marked_quote_is_kept() -> None:
    """Bottom posting: the answer stands below, only attribution and marked lines go."""
    assert cut_quotes(BOTTOM) == "Di depan pasar."


def test_text_between_quotes_is_kept() -> None:
    """Answers between the questions stay in order."""
    text = "On Mon, 23 Nov 2026, Aduan <a@kota.example> wrote:\n> Di mana?\nDi pasar.\n> Kapan?\nKemarin."
    assert cut_quotes(text) == "Di pasar.\n\nKemarin."


def test_signature_above_a_quote_does_not_swallow_text_below_it() -> None:
    """A signature ends where a quote begins."""
    assert cut_quotes("Halo\n-- \nSari\n> a\n> b\nDi pasar.") == "Halo\n\nDi pasar."


def test_text_below_an_unmarked_quote_is_cut_with_it() -> None:
    """Without marks nobody can tell quote from answer; the text above decides."""
    assert cut_quotes("Masih mati.\n\n-----Pesan Asli-----\nHalo\n\nTeks bawah") == "Masih mati."


PIECES = [
    *(line for text in [*TAILS.values(), *KEPT.values(), BOTTOM] for line in text.split("\n")),
    *("", "", " ", "> a", ">", "--", "-- ", "wrote:", "menulis:", "teks biasa", "On 3", "Pada 3, Budi", "a@b.example"),
]
mails = st.lists(st.sampled_from(PIECES), max_size=25).map("\n".join) | st.text(max_size=200)


@given(mails)
def test_result_has_only_lines_of_the_mail_in_their_order(text: str) -> None:
    """Cutting never writes: every line with text stands in the mail, in the same order."""
    source = iter(text.split("\n"))
    assert all(line in source for line in cut_quotes(text).split("\n") if line.strip())


@given(mails)
def test_cutting_twice_is_cutting_once(text: str) -> None:
    """Replays and re-imports do not eat further into a text."""
    once = cut_quotes(text)
    assert cut_quotes(once) == once


@given(mails)
def test_text_never_becomes_blank(text: str) -> None:
    """A mail with text keeps text."""
    assert bool(cut_quotes(text).strip()) == bool(text.strip())


@pytest.mark.parametrize(
    "text",
    [
        "On " + "a" * 1_000_000 + " wrote:",
        "On 1, " * 200_000,
        "Sent from my " + "iPhone " * 150_000,
        "> " * 500_000,
        "-" * 1_000_000,
        "_" * 1_000_000,
        " " * 1_000_000 + "x",
        "--\n" * 50_000 + "x",
        "-- \nx\n\n" * 30_000,
        "__________________________\n" * 30_000 + "x",
        "On 1, a\n" * 50_000,
        "From: a@b\n" * 50_000,
        "From: a@b 10:12\nDate: 10:12\n" * 30_000,
        "On 1, a wrote:\n\n\n\n> x\n" * 20_000,
        "Get Outlook for " + "a " * 400_000,
    ],
    ids=lambda text: repr(text[:18]),
)
def test_hostile_text_costs_linear_time(text: str) -> None:
    """A megabyte made for bad patterns takes about as long as any other megabyte."""
    before = time.process_time()
    cut_quotes(text)
    assert time.process_time() - before < 3


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


@pytest.mark.skipif(not REPLIES.is_dir(), reason="published fixtures are not shipped")
@pytest.mark.parametrize(
    "name", ["aol", "apple_mail", "apple_mail_2", "comcast", "gmail", "hotmail", "iphone", "outlook", "thunderbird", "yahoo"]
)
def test_published_replies_leave_their_greeting(name: str) -> None:
    """Real replies of ten clients (talon's set) leave the one word that was typed."""
    mail = parse_mail((REPLIES / f"talon/standard_replies/{name}.eml").read_bytes(), "aduan@kota.example")
    assert squeezed(cut_quotes(mail.text)) == "Hello"


@pytest.mark.skipif(not REPLIES.is_dir(), reason="published fixtures are not shipped")
@pytest.mark.parametrize("folder", ["github_email_reply_parser", "zapier"])
def test_published_texts_leave_no_attribution(folder: str) -> None:
    """Whatever else stays of the published texts, no quote with its attribution does, and no text becomes blank."""
    for file in sorted((REPLIES / folder).glob("*.txt")):
        result = cut_quotes(file.read_text())
        assert result.strip(), file.name
        assert not re.search(r"^On .{10,200}wrote:$", result, re.MULTILINE), file.name
        assert not re.search(r"^>.*\n>", result, re.MULTILINE), file.name
