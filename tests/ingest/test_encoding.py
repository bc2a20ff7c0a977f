"""Bytes to text: marks, encodings, damage, and what is no text at all."""

from __future__ import annotations

import codecs
import os

import pytest

from headrace.errors import ReadError
from headrace.ingest.encoding import clean, decode, decode_with_name

GERMAN = "Über die Mühle führt ein schmaler Steg; das Wasser läuft daneben.\n"
JAPANESE = "水車は山の水で回ります。毎朝、人々は粉を挽きに来ます。水路は長く、少しずつ下ります。\n" * 6
RUSSIAN = "Мельница стоит у реки, и вода приходит по длинному каналу. Колесо вращается медленно.\n" * 6
POLISH = (
    "Młyn stoi nad rzeką, a woda płynie długim kanałem. Koło obraca się powoli i źródło nie wysycha.\n" * 6
)
CZECH = "Prastarý mlýn stojí u řeky, voda přitéká dlouhým náhonem. Kolo se točí pomalu, říká mlynář.\n"
FRENCH = "Le bief amène l’eau à la roue ; « où coule-t-elle ? » demande l’élève. Très loin, par le canal.\n"


@pytest.mark.parametrize("text", ["", "plain\n", GERMAN, JAPANESE, "a\r\nb\rc\n", "tab\tform\ffeed"])
def test_utf8_is_itself_newlines_untouched(text: str) -> None:
    assert decode_with_name(text.encode(), "a.txt") == (text, "utf-8")


@pytest.mark.parametrize(
    ("mark", "codec"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_byte_order_mark_decides_and_is_no_text(mark: bytes, codec: str) -> None:
    assert decode_with_name(mark + GERMAN.encode(codec), "a.txt") == (GERMAN, codec)


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark(codec: str) -> None:
    assert decode((GERMAN * 3).encode(codec), "a.txt") == GERMAN * 3


@pytest.mark.parametrize("codec", ["latin-1", "cp1252"])
def test_short_western_text(codec: str) -> None:
    assert decode(GERMAN.encode(codec), "a.txt") == GERMAN
    assert decode("caf\xe9".encode(codec), "a.txt") == "café"


def test_typographic_marks() -> None:
    assert decode(FRENCH.encode("cp1252"), "a.txt") == FRENCH
    mixed = "Œuvre, Mühle, señor, Århus, coração, þorp: Ünïversal.\n"
    assert decode(mixed.encode("cp1252"), "a.txt") == mixed
    assert decode("“water” – it’s".encode("cp1252"), "a.txt") == "“water” – it’s"


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8_r"),
        (POLISH, "cp1250"),
        (CZECH, "cp1250"),
        (CZECH, "iso8859-2"),
    ],
)
def test_other_encodings_are_told_by_statistics(text: str, codec: str) -> None:
    assert decode(text.encode(codec), "a.txt") == text


def test_a_long_file_in_another_encoding() -> None:
    text = JAPANESE * 2000
    assert decode(text.encode("shift_jis"), "a.txt") == text


def test_single_damaged_bytes_do_not_turn_utf8_into_something_else() -> None:
    data = (GERMAN * 20).encode() + b"\xff" + GERMAN.encode()
    assert decode(data, "a.txt") == GERMAN * 20 + "\ufffd" + GERMAN


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "PNG"),
        (b"PK\x03\x04" + bytes(500), "ZIP"),
        (b"%PDF-1.7\n" + b"x" * 500, "PDF"),
        (b"text\0text\0more", "not text"),
        (os.urandom(4096).replace(b"\0", b"\1"), "not text"),
        (codecs.BOM_UTF16_LE + b"abc", "utf-16-le"),
    ],
)
def test_what_is_no_text_is_said(data: bytes, said: str) -> None:
    with pytest.raises(ReadError, match=said) as caught:
        decode(data, "notes.txt")
    assert "notes.txt" in str(caught.value)
    assert caught.value.hint


def test_what_no_store_holds_is_replaced() -> None:
    assert clean("a\ud800b\0c😀") == "a\ufffdb\ufffdc😀"
