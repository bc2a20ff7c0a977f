"""Bytes → text: which encoding a file is in, and whether it is text at all.

Byte-order marks first, then UTF-8, then statistics (charset-normalizer). Not a repair shop: apart
from single damaged bytes in a file that is otherwise UTF-8, what does not decode is an error.
"""

from __future__ import annotations

import codecs
import io
import re
from collections import Counter

from headrace.errors import ReadError

_MARKS = (  # longer marks first: UTF-32's little-endian mark begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_KINDS = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"PK\x03\x04", "a ZIP archive (or an office file with the wrong ending)"),
    (b"%PDF-", "a PDF with the wrong ending"),
    (b"\x1f\x8b", "gzip-compressed"),
    (b"\x7fELF", "a program"),
    (b"\xd0\xcf\x11\xe0", "an old office file"),
    (b"SQLite format 3", "a SQLite database"),
)
_CONTROLS = bytes(c for c in range(32) if c not in b"\t\n\v\f\r\x1a\x1b") + b"\x7f"
_SAMPLE = 1 << 18  # bytes that the statistics look at
_SURROGATE = re.compile("[\ud800-\udfff\x00]")


def decode(data: bytes, name: str) -> str:
    """The text of a file, newlines untouched, without its byte-order mark.

    Raises ReadError where the bytes are no text, saying what they seem to be.
    """
    return decode_with_name(data, name)[0]


def decode_with_name(data: bytes, name: str) -> tuple[str, str]:
    """The text and the name of its encoding (Python's codec name)."""
    for mark, codec in _MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(codec), codec
            except UnicodeDecodeError as error:
                if codec == "utf-8" and (repaired := _damaged(data[len(mark) :])) is not None:
                    return repaired, codec
                raise ReadError(
                    f"{name!r} begins like {codec} but byte {error.start + len(mark):,} does not fit.",
                    hint="The file is damaged or cut off; save it again as UTF-8.",
                ) from error
    if any(data.startswith(magic) for magic, _ in _KINDS):
        raise _binary(data, name)
    if b"\0" in data:
        if (wide := _wide(data)) is not None:
            try:
                return data.decode(wide), wide
            except UnicodeDecodeError as error:
                raise _binary(data, name) from error
        raise _binary(data, name)
    if _controls(data[:_SAMPLE]):
        raise _binary(data, name)
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        if (repaired := _damaged(data)) is not None:
            return repaired, "utf-8"
    return _by_statistics(data, name)


def stream(data: bytes, name: str) -> io.TextIOWrapper:
    """A text file over the bytes, newlines untouched, decoded as it is read: for large tables.

    Raises ReadError at once where the bytes are no text.
    """
    sample = data[:_SAMPLE]
    if b"\0" in sample or _controls(sample) or not _is_utf8(data):
        data = decode(data, name).encode("utf-8", "surrogatepass")
    return io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline="")


def _is_utf8(data: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), _SAMPLE):
            decoder.decode(data[start : start + _SAMPLE])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _controls(sample: bytes) -> bool:
    """A control character is rare in text; 1 in 10 bytes of compressed data is one."""
    return len(sample) - len(sample.translate(None, _CONTROLS)) > max(2, len(sample) // 100)


def clean(text: str) -> str:
    """Text from inside a format (JSON, PDF) with what no store can hold replaced by U+FFFD.

    Lone surrogates and NUL; for text formats this never happens, so offsets stay true there.
    """
    return _SURROGATE.sub("\ufffd", text)


def _damaged(data: bytes) -> str | None:
    """UTF-8 with a few bad bytes, replaced by U+FFFD; None where it is another encoding."""
    text = data.decode("utf-8", "replace")
    bad = text.count("\ufffd") - data.count("\ufffd".encode())
    good = sum(1 for byte in data if byte >= 0xC2)  # lead bytes, of which bad ones are few
    return text if bad * 10 <= good - bad else None


def _wide(data: bytes) -> str | None:
    """UTF-16 without a mark: NULs on one side of each pair, hardly any on the other."""
    sample = data[: _SAMPLE & ~1]
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    half = max(1, len(sample) // 2)
    if len(data) % 2 == 0 and max(even, odd) > 0.4 * half and min(even, odd) < 0.02 * half:
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def _by_statistics(data: bytes, name: str) -> tuple[str, str]:
    if (codec := _latin(data)) is not None:
        return data.decode(codec), codec
    from charset_normalizer import from_bytes

    sample = data
    if len(data) > _SAMPLE:  # cut after a line, so that no character of several bytes is halved
        sample = data[: data.rfind(b"\n", 0, _SAMPLE) + 1 or _SAMPLE]
    guess = from_bytes(sample).best()
    if guess is not None:
        try:
            return data.decode(guess.encoding), guess.encoding
        except UnicodeDecodeError:
            return data.decode(guess.encoding, "replace"), guess.encoding
    raise ReadError(
        f"The encoding of {name!r} cannot be told, or it is no text.",
        hint="Save it as UTF-8; if it is not text, give it the ending of its real format.",
    )


# charset-normalizer confuses the single-byte encodings of Latin script in texts of ordinary length
# ("Młyn" as "M³yn"). Which of them gives letters of one alphabet settles it.
_LATIN = ("cp1252", "cp1250", "iso8859-2", "cp1254", "cp1257", "iso8859-15", "mac_roman", "cp850", "cp437")
_ALPHABETS = [
    frozenset(letters + letters.upper())
    for letters in (
        *(
            "äöüß",
            "àâæçéèêëîïôœùûüÿ",
            "áéíñóúü¿¡ºª",
            "àáâãçéêíóôõúüº",
            "àèéìîòóù",
            "åäöé",
            "æøåé",
            "áðéíóúýþæö",
        ),
        *("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "ăâîșțşţ", "čćđšž"),
        *("çğıöşüâîûİ", "ąčęėįšųūž", "āčēģīķļņšūž", "äõöüšž"),
    )
]
_WESTERN = frozenset("àáâãäåæçèéêëìíîïðñòóôõöøœùúûüýþÿß¿¡ºªÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØŒÙÚÛÜÝÞŸ")
_NEUTRAL = frozenset("“”‘’„–—…•€©®™°§«»·\xa0\u00ad")


def _latin(data: bytes) -> str | None:
    """The single-byte encoding under which nearly all letters belong to one Latin alphabet."""
    high = data.translate(None, bytes(range(128)))
    if len(high) * 3 > len(data):
        return None  # Cyrillic, Greek, East Asian: not mostly ASCII
    times = Counter(high)
    best, most = None, 0.9
    for codec, alphabets in (*((codec, _ALPHABETS) for codec in _LATIN), ("cp1252", [_WESTERN])):
        if best is not None and alphabets[0] is _WESTERN:
            break  # several languages in one text are the last thing to suppose
        try:
            shown = {bytes([byte]).decode(codec): count for byte, count in times.items()}
        except UnicodeDecodeError:
            continue
        weighed = sum(count for letter, count in shown.items() if letter not in _NEUTRAL)
        if not weighed:
            return codec  # only typographic marks
        for alphabet in alphabets:
            share = sum(count for letter, count in shown.items() if letter in alphabet) / weighed
            if share > most:
                best, most = codec, share
    return best


def _binary(data: bytes, name: str) -> ReadError:
    kind = next((kind for magic, kind in _KINDS if data.startswith(magic)), "")
    return ReadError(
        f"{name!r} is a binary file{f': {kind}' if kind else ', not text'}.",
        hint="Give it the ending of its real format, or leave it out.",
    )
