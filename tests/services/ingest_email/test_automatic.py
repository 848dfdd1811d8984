"""Which mails must not be answered automatically."""

from email import message_from_string
from email.policy import compat32, default

import pytest
from kanal_ingest_email.automatic import automatic_reason

OWN = "aduan@kota.example"


def reason(headers: str, own: str = OWN) -> str:
    return automatic_reason(message_from_string(f"{headers}\n\nhalo", policy=compat32), own)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ("From: Sari <sari@warga.example>\nSubject: Lampu mati", ""),
        ("From: sari@warga.example\nAuto-Submitted: no", ""),
        ("From: sari@warga.example\nAuto-Submitted: No (typed by hand)", ""),
        ("From: sari@warga.example\nAuto-Submitted: auto-replied", "auto-submitted"),
        ("From: sari@warga.example\nAuto-Submitted: auto-generated; owner-email=x@warga.example", "auto-submitted"),
        ("From: sari@warga.example\nAuto-Submitted: something-new", "auto-submitted"),
        ("From: sari@warga.example\nX-Autoreply: yes", "auto-submitted"),
        ("From: sari@warga.example\nX-Autorespond: Re: hai", "auto-submitted"),
        ("From: sari@warga.example\nX-Autoreply: no", ""),
        ("From: sari@warga.example\nPrecedence: auto_reply", "auto-submitted"),
        ("From: sari@warga.example\nPrecedence: Bulk", "list"),
        ("From: sari@warga.example\nPrecedence: list", "list"),
        ("From: sari@warga.example\nPrecedence: junk", "list"),
        ("From: sari@warga.example\nPrecedence: first-class", ""),
        ("From: sari@warga.example\nList-Id: <warga.milis.example>", "list"),
        ("From: sari@warga.example\nList-Unsubscribe: <https://milis.example/u>", "list"),
        ("Return-Path: <>\nFrom: sari@warga.example", "bounce"),
        ("Return-Path: <sari@warga.example>\nFrom: sari@warga.example", ""),
        ("From: MAILER-DAEMON@mx.example", "bounce"),
        ("From: Postmaster <postmaster@mx.example>", "bounce"),
        ("From: bounce-17@milis.example", "bounce"),
        ("From: bouncer.keren@warga.example", ""),
        ("From: a@b.example\nContent-Type: multipart/report; report-type=delivery-status", "bounce"),
        ("From: a@b.example\nContent-Type: multipart/report; report-type=disposition-notification", "report"),
        ("From: sari@warga.example\nX-Auto-Response-Suppress: All", "suppressed"),
        ("From: sari@warga.example\nX-Auto-Response-Suppress: DR, OOF, AutoReply", "suppressed"),
        ("From: sari@warga.example\nX-Auto-Response-Suppress: DR, RN, NRN", ""),
        ("From: sari@warga.example\nX-Loop: Kanal", "own-mail"),
        ("From: sari@warga.example\nX-Loop: lain", ""),
        ("From: Aduan <ADUAN@Kota.Example>", "own-mail"),
        ("From: aduan+JK-7F3K9~a1@kota.example", "own-mail"),
        ("From: aduan@warga.example", ""),
        ("From: noreply@toko.example", "no-reply-sender"),
        ("From: No-Reply@toko.example", "no-reply-sender"),
        ("From: notif-no_reply@toko.example", "no-reply-sender"),
        ("From: donotreply+x@toko.example", "no-reply-sender"),
        ("From: noreplika@toko.example", ""),
        ("From: sari@warga.example\nSubject: Out of Office: Lampu mati", "out-of-office"),
        ("From: sari@warga.example\nSubject: Automatic reply: Lampu mati", "out-of-office"),
        ("From: sari@warga.example\nSubject: Auto: Lampu mati", "out-of-office"),
        ("From: sari@warga.example\nSubject: Balasan otomatis: Lampu mati", "out-of-office"),
        ("From: sari@warga.example\nSubject: =?utf-8?Q?Sedang_cuti?=", "out-of-office"),
        ("From: sari@warga.example\nSubject: =?utf-µ?Q?Sedang_cuti?=", "out-of-office"),
        ("From: sari@warga.example\nSubject: =?unicode_escape?Q?Sedang_cuti=5Cq?=", ""),
        ("From: sari@warga.example\nSubject: =?utf-8?B?abcde?=", ""),
        ("From: sari@warga.example\nSubject: Sedang di luar kantor kelurahan ada genangan", ""),
        ("From: sari@warga.example\nSubject: Autopilot lampu lalu lintas rusak", ""),
        ("From: sari@warga.example\nSubject: Balasan otomatis dari aplikasi tidak jelas", ""),
        ("", ""),
    ],
)
def test_headers_give_the_reason_of_the_first_rule_that_holds(headers: str, expected: str) -> None:
    """Each rule of RFC 3834 and its neighbours holds for its headers, and not for the nearest innocent ones."""
    assert reason(headers) == expected


def test_modern_policy_gives_the_same_reason() -> None:
    """The guard does not depend on which of Python's two header models the caller parsed with."""
    text = "From: sari@warga.example\nSubject: =?utf-8?Q?Balasan_otomatis:?= ya\n\nhalo"
    assert automatic_reason(message_from_string(text, policy=default), OWN) == "out-of-office"


def test_unknown_own_address_matches_no_sender() -> None:
    """An empty own address never makes a mail without sender ours."""
    assert reason("Subject: halo", own="") == ""


def test_endless_comments_in_from_are_survived() -> None:
    """A hostile From does not stop the service."""
    assert reason("From: " + "(" * 50_000 + "\nAuto-Submitted: auto-replied") == "auto-submitted"
