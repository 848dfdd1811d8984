"""Masking: what must disappear, in the ways Indonesians write it, and what an agency needs and must survive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kanal.masking import mask
from kanal.numbers import number_for

PHONES = {
    "plain": "081200000001",
    "plus": "+6281200000001",
    "without plus": "6281200000001",
    "international 00": "006281200000001",
    "hyphens": "0812-0000-0001",
    "spaces": "0812 0000 0001",
    "dots": "0812.0000.0001",
    "plus and spaces": "+62 812 0000 0001",
    "plus and hyphens": "+62-812-0000-0001",
    "plus and dots": "+62.812.0000.0001",
    "optional zero": "+62 (0)812 0000 0001",
    "brackets around the country": "(+62) 812-0000-0001",
    "without its zero": "81200000001",
    "without its zero, hyphens": "812-0000-0001",
    "thirteen digits": "0812000000011",
    "two by two": "08 12 34 56 78 90",
    "digit by digit": "0 8 1 2 3 4 5 6 7 8 9 0",
    "spaces around hyphens": "0812 - 0000 - 0001",
    "two spaces": "0812  0000  0001",
    "slash": "0812/0000/0001",
    "dash of a phone's keyboard": "0812–0000–0001",
    "no-break spaces": "0812\u00a00000\u00a00001",
    "landline": "021-5551234",
    "landline in brackets": "(021) 555 1234",
    "landline with plus": "+62 21 5551234",
    "foreign": "+65 6123 4567",
    "no zero or one, after a word of two letters": "WA 8562 2222 2223",
    "no zero or one, after hp": "hp 8562-2222-2223",
}
IDENTITIES = {
    "NIK": "3171012000070001",
    "NIK with spaces": "3171 0123 4567 0001",
    "NIK with dots": "3171.0123.4567.0001",
    "NIK with hyphens": "317101-200007-0001",
    "NIK in its parts": "31.71.01.200007.0001",
    "KK after a word of two letters": "KK 3275 4893 2785 6349",
}
MAILS = {
    "plain": "adi@warga.example",
    "dotted and tagged": "adi.putra+lapor@mail.warga.example",
    "capitals": "ADI_PUTRA@WARGA.EXAMPLE",
    "in angle brackets": "<adi@warga.example>",
    "with mailto": "mailto:adi@warga.example",
    "right behind a telephone number": "0812 0000 0001adi@warga.example",
}
PLATES = {
    "Jakarta": "B 1234 XYZ",
    "without spaces": "B1234XYZ",
    "two letters in front": "AB 1234 CD",
    "three digits": "B 123 XY",
    "one letter behind": "B 1234 X",
    "hyphens": "B-1234-XYZ",
}


def digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())


@pytest.mark.parametrize("written", PHONES.values(), ids=PHONES.keys())
def test_a_phone_number_is_masked_however_it_is_written(written: str) -> None:
    """Not one run of three of its digits is left, in a sentence or alone."""
    for text in (written, f"Hubungi saya di {written}, terima kasih", f"telp:{written}."):
        assert len(digits(mask(text))) < 3


@pytest.mark.parametrize("written", IDENTITIES.values(), ids=IDENTITIES.keys())
def test_an_identity_number_is_masked_however_it_is_written(written: str) -> None:
    """NIK and KK have sixteen digits, typed in any groups; none is left."""
    for text in (written, f"Saya warga dengan nomor {written} di sini"):
        assert digits(mask(text)) == ""


@pytest.mark.parametrize("written", MAILS.values(), ids=MAILS.keys())
def test_a_mail_address_is_masked(written: str) -> None:
    """Neither the name nor the domain is left."""
    masked = mask(f"Balas ke {written} ya").casefold()
    assert "adi" not in masked
    assert "warga" not in masked
    assert "[email]" in masked


@pytest.mark.parametrize("written", PLATES.values(), ids=PLATES.keys())
def test_a_number_plate_is_masked(written: str) -> None:
    """Whose car it is, is nobody's business but the police's."""
    assert mask(f"Mobil {written} parkir sembarangan") == "Mobil [plat] parkir sembarangan"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("rek 1200000001", id="rek"),
        pytest.param("rekening no. 123-456-0001", id="rekening no."),
        pytest.param("No rekening: 1234 5678 9012", id="grouped"),
        pytest.param("rekening BCA 1200000001", id="with the bank"),
    ],
)
def test_an_account_number_is_masked(text: str) -> None:
    """Fraud reports quote them."""
    assert digits(mask(text)) == ""


SURVIVES = {
    "amount with dots": "Diminta bayar Rp 1.250.000 oleh petugas",
    "amount in words": "pungli 50 ribu per motor",
    "large amount": "Rp1.250.000.000,00",
    "amount of ten digits with a currency": "anggaran Rp 12.500.000.000",
    "house number": "Jalan Melati No. 12A",
    "RT and RW": "RT 003/RW 012 Kelurahan Cideng",
    "RT and RW short": "rt03 rw12",
    "date": "sejak 17-08-2025",
    "date with slashes": "17/08/2025 pukul 19.30",
    "ISO date": "2025-08-17",
    "years": "tahun 2019 sampai 2024",
    "range of years": "2019-2024",
    "date in the first days of a month": "sejak 01-08-2025",
    "date with dots": "tanggal 05.08.2025",
    "date with spaces": "pada 03 08 2025",
    "clock": "jam 08.00 - 17.00 WIB",
    "clock without spaces": "buka 08.00-17.00 setiap hari",
    "RT and RW in capitals": "RT 003 RW 012 KELURAHAN CIDENG",
    "address in capitals": "JL MELATI NO 123 RT 004 RW 05",
    "amount that begins with 8": "anggaran Rp 850.000.000.000",
    "coordinates": "-6.175392, 106.827153",
    "coordinates in brackets": "lokasi (-6.2087634,106.845599)",
    "postcode": "Jakarta 10150",
    "kilometre": "KM 12+500 tol dalam kota",
    "length": "lubang 30 cm x 120 cm",
    "emergency numbers": "sudah telepon 112 dan 110",
    "bus line": "halte TJ 1A, koridor 13",
    "pole number": "tiang PJU 0457",
    "number of the city's earlier system": "laporan JK2301150001 belum beres",
    "street with a number": "Jl. TB Simatupang 17",
    "several small numbers": "3 titik, 12 rumah, 450 warga",
    "room": "Blok AB 12 No 3",
}


@pytest.mark.parametrize("text", SURVIVES.values(), ids=SURVIVES.keys())
def test_what_an_agency_needs_is_left_as_it_is(text: str) -> None:
    """Amounts, dates, places and lengths are not personal data."""
    assert mask(text) == text


@pytest.mark.parametrize("index", range(40))
def test_a_tracking_number_survives(index: int) -> None:
    """Also one of figures only in a row, in the ways people type it; a phone beside it is masked all the same."""
    number = number_for(f"message-{index}", b"k" * 32, "JK")
    for written in (number, number.lower(), number.replace("-", " "), number.replace("-", "")):
        assert mask(f"CEK {written} hp 081200000001") == f"CEK {written} hp [telp]"


@given(st.text(alphabet="0120000789+-. ()@ABJKabcrek[]", max_size=60))
def test_masking_twice_is_masking_once(text: str) -> None:
    """Texts pass more than one masking on their way."""
    assert mask(mask(text)) == mask(text)


@pytest.mark.parametrize("text", ["0791246030500200F6040B081200000001", "081200000001B1234AB", "B1234AB3171012345678901"])
def test_a_mask_makes_no_new_border_for_a_plate(text: str) -> None:
    """What stood inside a longer row of letters and digits is no plate, also when its neighbours are masked."""
    assert mask(mask(text)) == mask(text)


@pytest.mark.parametrize("text", ["rek 12000001&0812-0001", "rek|B1234AB(1234(3456", "0812 0000 0001adi@warga.example"])
def test_a_mask_changes_nothing_of_what_stands_behind_it(text: str) -> None:
    """It is not the word for an account, does not lead from that word to other digits, and no address begins anew behind it."""
    assert mask(mask(text)) == mask(text)


@given(st.text(max_size=80))
def test_any_text_can_be_masked(text: str) -> None:
    """Never an error, and still nothing new the second time."""
    assert mask(mask(text)) == mask(text)


BIG = 1_000_000
LONG = {
    "digits": "1" * BIG, "spaced digits": "1 " * (BIG // 2), "at signs": "a@" * (BIG // 2), "plus": "+6" * (BIG // 2),
    "letters": "a" * BIG, "prefixes": "JK" * (BIG // 2), "dots": "a@" + "a." * (BIG // 2), "plates": "AB 123 " * (BIG // 7),
    "brackets": "(0" * (BIG // 2), "account word and spaces": "rek" + " " * BIG, "account words": "rek no. " * (BIG // 8),
    "account word and dots": "rekening no" + ".:" * (BIG // 2),
}  # fmt: skip


@pytest.mark.timeout(100)  # the square of a megabyte takes hours
@pytest.mark.parametrize("text", LONG.values(), ids=LONG.keys())
def test_a_crafted_text_of_a_megabyte_does_not_hold_up_the_stage(text: str) -> None:
    """Nobody can stop the normalizer with one message: work grows with the length, not with its square."""
    assert mask(text)
