"""What the demo's citizens report. Invented people and texts; places are real names of Jakarta."""

from collections.abc import Sequence
from typing import NamedTuple


class Script(NamedTuple):
    """One citizen's report: by `mail` or `sms`, and how the story goes on."""

    channel: str
    text: str
    subject: str = ""
    asks: bool = False
    """Asks for the status later."""
    not_fixed: bool = False
    """Says BELUM when it is called done."""


SCRIPTS: Sequence[Script] = (
    Script("mail", "Jalan berlubang besar di depan pasar, kelurahan Cikini. Sudah dua motor jatuh.", "Jalan berlubang", asks=True),
    Script("sms", "Lampu jalan mati di RT 03 RW 05 kelurahan Kebagusan, gelap sekali kalau malam", asks=True),
    Script("sms", "Sampah menumpuk di TPS dekat sekolah, kel Rawamangun. Sudah seminggu tidak diangkut"),
    Script("mail", "Pohon besar miring dan hampir tumbang di jalan depan taman, kelurahan Menteng.", "Pohon miring", not_fixed=True),
    Script("sms", "Parkir liar di trotoar sepanjang jalan, kelurahan Senayan. Pejalan kaki turun ke jalan"),
    Script("mail", "Saluran air mampet dan air meluap ke rumah warga di kelurahan Petogogan.", "Saluran mampet", asks=True),
    Script("mail", "A manhole cover is missing on the sidewalk near the bus stop, kelurahan Gambir.", "Missing manhole cover"),
    Script("sms", "Spanduk iklan dipasang di pohon dan tiang listrik, kelurahan Cempaka Putih Timur"),
    Script("sms", "Kebakaran di gudang belakang pasar, kelurahan Tanah Sereal!"),
    Script("mail", "PKL berjualan di atas trotoar setiap sore, kelurahan Kelapa Gading Barat.", "PKL di trotoar", not_fixed=True),
    Script("sms", "Air PAM keruh dan bau sudah tiga hari, kelurahan Pademangan Barat", asks=True),
    Script("sms", "Jalan rusak parah"),
    Script("mail", "Suara musik keras dari kafe sampai jam 2 pagi, kelurahan Kemang.", "Gangguan kebisingan"),
    Script("sms", "Lampu merah di perempatan mati, kelurahan Cawang. Macet total"),
)
