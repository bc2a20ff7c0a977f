"""Which documents say the same: exact duplicates by hash, near ones by MinHash. Drops nothing.

A. Broder, "On the resemblance and containment of documents", 1997: the share of minima that two
texts' shingle sets have in common estimates their Jaccard similarity. Candidates come from
banding (locality-sensitive hashing); of each minimum only 8 bits are kept (P. Li and C. König,
"b-Bit minwise hashing", 2010), 128 bytes a document.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray

from headrace.text import normalise

SHINGLE = 5  # words
MINIMA = 128
BANDS = 16  # of 8 minima: a pair of similarity 0.85 is met with probability 0.99
THRESHOLD = 0.85
SHORTEST = 20  # words; shorter texts are compared exactly only
_BLOCK = 1024  # shingles hashed at once: half a megabyte, which stays in the cache
_PIECE = 1 << 17  # bytes of text hashed at once
_RUN = 2048  # documents per sorted run of the index
_MERGED = 1 << 19  # keys of the largest run

_random = np.random.default_rng(1997)
_A = _random.integers(1, 2**31, MINIMA, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
_B = _random.integers(0, 2**32, MINIMA, dtype=np.uint32)
_BAND = _random.integers(1, 2**63, (BANDS, MINIMA // BANDS), dtype=np.uint64) | np.uint64(1)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_WORD_BYTE = np.array([c >= 128 or chr(c).isalnum() for c in range(256)])

Signature = NDArray[np.uint32]


class Duplicates:
    """Tells of each text whether it was seen before, and gathers the groups.

    Memory is about 0.5 kB per distinct text. Only the first of a group is compared with.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self._threshold = threshold
        self._exact: dict[bytes, int] = {}
        self._ids: list[str] = []  # of the texts that are first of their kind
        self._groups: dict[int, list[str]] = {}
        self._index = _Bands()

    def add(self, id: str, text: str) -> str | None:
        """The id of the earlier text that this one repeats, or None where it is new."""
        key = hashlib.blake2b(normalise(text).encode("utf-8", "surrogatepass"), digest_size=12).digest()
        first = self._exact.get(key)
        minima = None
        if first is None:
            minima = signature(text)
            if minima is not None:
                first = self._index.find(minima, self._threshold)
        if first is not None:
            if self._ids[first] != id:  # the same file named twice is no duplicate of itself
                self._groups.setdefault(first, [self._ids[first]]).append(id)
            return self._ids[first]
        number = len(self._ids)
        self._ids.append(id)
        self._exact[key] = number
        if minima is not None:
            self._index.add(minima, number)
        return None

    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Groups of two or more, first seen first."""
        return tuple(tuple(ids) for _, ids in sorted(self._groups.items()))


def signature(text: str) -> Signature | None:
    """(MINIMA,) minima over the text's word shingles; None for a text of fewer than 20 words."""
    shingles = _shingles(text)
    if len(shingles) < SHORTEST - SHINGLE + 1:
        return None
    least = np.full(MINIMA, np.iinfo(np.uint32).max, np.uint32)
    hashed = np.empty((min(_BLOCK, len(shingles)), MINIMA), np.uint32)
    for start in range(0, len(shingles), _BLOCK):
        block = shingles[start : start + _BLOCK, None]
        out = hashed[: len(block)]
        np.multiply(block, _A, out=out)
        np.add(out, _B, out=out)
        np.minimum(least, out.min(axis=0), out=least)
    return least


def resemblance(one: Signature, other: Signature) -> float:
    """Estimated Jaccard similarity of the shingle sets behind two signatures (s.d. ≤ 0.045)."""
    return float((one == other).mean())


def _shingles(text: str) -> NDArray[np.uint32]:
    """A hash per run of SHINGLE words. Case and punctuation do not count."""
    data = text.lower().encode("utf-8", "surrogatepass")
    pieces = []
    start = 0
    while start < len(data):
        end = start + _PIECE
        if end < len(data):  # cut at a space: a word is hashed whole
            end = max(data.rfind(b" ", start, end), data.rfind(b"\n", start, end)) + 1 or end
        pieces.append(_words(np.frombuffer(data[start:end], np.uint8)))
        start = end
    words = np.concatenate(pieces) if pieces else np.empty(0, np.uint64)
    if len(words) < SHINGLE:
        return np.empty(0, np.uint32)
    count = len(words) - SHINGLE + 1
    runs = np.zeros(count, np.uint64)
    for place in range(SHINGLE):
        runs = runs * _BASE + words[place : count + place]
    return (_mix(runs) >> np.uint64(32)).astype(np.uint32)


def _words(data: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """A hash per word: a polynomial by prefix sums, sum(byte · base^place) / base^start mod 2^64."""
    inside = np.zeros(len(data) + 2, np.bool_)
    inside[1:-1] = _WORD_BYTE[data]
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    starts, ends = edges[0::2], edges[1::2]
    powers, inverse = _powers()
    sums = np.zeros(len(data) + 1, np.uint64)
    np.cumsum((data + np.uint64(1)) * powers[: len(data)], out=sums[1:])
    return _mix((sums[ends] - sums[starts]) * inverse[starts])


@cache
def _powers() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Powers of the base and of its inverse, for every place in a piece of text."""
    both = []
    for base in (int(_BASE), pow(int(_BASE), -1, 2**64)):
        powers = np.full(_PIECE + 1, np.uint64(base))
        powers[0] = 1
        both.append(np.cumprod(powers))
    return both[0], both[1]


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea and Flood, 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class _Bands:
    """Documents by bands of their signature: a small dict of the newest, sorted runs of the rest."""

    def __init__(self) -> None:
        self._recent: dict[int, int] = {}
        self._runs: list[tuple[NDArray[np.uint64], NDArray[np.int32]]] = []
        self._short: list[NDArray[np.uint8]] = []  # blocks of _RUN rows: growing one array would copy it
        self._numbers: list[int] = []
        self._size = 0

    def find(self, minima: Signature, threshold: float) -> int | None:
        """The best earlier document at or above the threshold."""
        keys = _keys(minima)
        candidates = {self._recent[k] for k in keys.tolist() if k in self._recent}
        for sorted_keys, rows in self._runs:
            at = np.searchsorted(sorted_keys, keys)
            at[at == len(sorted_keys)] = 0
            candidates.update(rows[at[sorted_keys[at] == keys]].tolist())
        if not candidates:
            return None
        met = sorted(candidates)
        held = np.stack([self._short[row // _RUN][row % _RUN] for row in met])
        same = (held == minima.astype(np.uint8)).mean(axis=1)
        estimate = (same - 1 / 256) / (1 - 1 / 256)  # 8 bits agree by chance once in 256
        best = int(np.argmax(estimate))
        return self._numbers[met[best]] if estimate[best] >= threshold else None

    def add(self, minima: Signature, number: int) -> None:
        if self._size % _RUN == 0:
            self._short.append(np.empty((_RUN, MINIMA), np.uint8))
        self._short[-1][self._size % _RUN] = minima.astype(np.uint8)
        self._numbers.append(number)
        for key in _keys(minima).tolist():
            self._recent.setdefault(key, self._size)
        self._size += 1
        if self._size % _RUN == 0:
            self._seal()

    def _seal(self) -> None:
        keys = np.fromiter(self._recent, np.uint64, len(self._recent))
        rows = np.fromiter(self._recent.values(), np.int32, len(self._recent))
        self._recent.clear()
        # few runs: merge those of like size, while a merge takes little memory
        while self._runs and len(self._runs[-1][0]) <= min(2 * len(keys), _MERGED - len(keys)):
            older = self._runs.pop()
            keys, rows = np.concatenate([older[0], keys]), np.concatenate([older[1], rows])
        order = np.argsort(keys, kind="stable")
        self._runs.append((keys[order], rows[order]))


def _keys(minima: Signature) -> NDArray[np.uint64]:
    """(BANDS,) one hash per band."""
    banded = minima.reshape(BANDS, -1).astype(np.uint64)
    return _mix((banded * _BAND).sum(axis=1) + np.arange(BANDS, dtype=np.uint64))
