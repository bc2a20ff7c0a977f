"""Document → chunks: by heading, then paragraph, then sentence, then line, then word.

Every chunk is an exact slice of the document's text, and no chunk has more tokens than the limit,
as the embedder itself counts that slice. The text is tokenised once; a slice is counted again only
where counting in context could be wrong. Knows no embedder: it is given ``offsets``.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from headrace.errors import InputError
from headrace.text import sentences
from headrace.types import Chunk, Document, Section

Offsets = Callable[[str], Sequence[tuple[int, int]]]

_WORD = re.compile(r"\w+|[^\w\s]")
_BLANK = re.compile(r"(?:\r\n|\n|\r)[ \t\f\v]*(?:\r\n|\n|\r)\s*")
_NEWLINE = re.compile(r"(?:\r\n|\n|\r)+")
_LONG = 64  # code points: a longer token is counted as several, so that chunks stay bounded
_PIECE = 16
HARD = 6  # headings below this level (page marks) name a place, they are no boundary


def word_offsets(text: str) -> list[tuple[int, int]]:
    """Words and punctuation marks as tokens: for knowledge bases without an embedder."""
    return [match.span() for match in _WORD.finditer(text)]


class StructureSplitter:
    """Cuts along the structure of the text.

    ``offsets`` gives the tokens of a text as (start, end) code points, special tokens excluded.
    ``limit`` is in tokens, with ``special`` ones included; ``overlap`` is how many tokens at most
    the end of a chunk is repeated at the beginning of the next one of the same section. Sections
    of fewer than a fifth of the limit are joined with their neighbours under the same top heading.
    """

    def __init__(
        self, offsets: Offsets, *, limit: int, overlap: int = 0, special: int = 2, name: str = "words"
    ) -> None:
        self._budget = limit - special
        if self._budget < 8:
            raise InputError(
                f"A limit of {limit!r} tokens per chunk leaves fewer than 8 beside {special} special ones.",
                hint="Set [kb] chunk_tokens to 64 or more.",
            )
        if not 0 <= overlap <= self._budget // 2:
            raise InputError(
                f"An overlap of {overlap!r} tokens does not fit chunks of {limit}.",
                hint=f"Use 0 to {self._budget // 2} ([kb] chunk_overlap).",
            )
        self._offsets, self._limit, self._overlap = offsets, limit, overlap
        self._special, self._name = special, name

    @property
    def identity(self) -> Mapping[str, Any]:
        return {
            "name": "structure",
            "version": 1,
            "limit": self._limit,
            "overlap": self._overlap,
            "tokenizer": self._name,
        }

    def split(self, document: Document) -> list[Chunk]:
        """The chunks in order. Together they cover all of the text that is not white space."""
        key = document.key  # a hash of everything where the document has no id: once is enough
        cutter = _Cutter(document, self._offsets, self._budget, self._overlap)
        return [
            Chunk(
                document=key,
                ordinal=ordinal,
                start=start,
                end=end,
                text=document.text[start:end],
                heading=heading,
                tokens=tokens + self._special,
            )
            for ordinal, (start, end, heading, tokens) in enumerate(cutter.cut())
        ]


class _Cutter:
    """One document being cut. Positions are code points, ``n`` tokens are indices into starts."""

    def __init__(self, document: Document, offsets: Offsets, budget: int, overlap: int) -> None:
        self.text, self.offsets, self.budget, self.overlap = document.text, offsets, budget, overlap
        self.starts = _starts(offsets(document.text))
        self.places = _Places(document.sections, len(document.text))
        self.paragraphs = [match.end() for match in _BLANK.finditer(self.text)]
        self.group = (0, 0)
        self.inner: tuple[list[int], list[int]] | None = None

    def count(self, start: int, end: int) -> int:
        """Tokens that begin in [start, end), as counted in the whole text."""
        return bisect_left(self.starts, end) - bisect_left(self.starts, start)

    def cut(self) -> list[tuple[int, int, str, int]]:
        """(start, end, heading path, tokens) of every chunk."""
        found: list[tuple[int, int, str, int]] = []
        for start, end in self._groups():
            self.group = (start, end)
            self.inner = None
            begin = position = start
            while position < end:
                begin, stop, tokens = self._next(begin, position, end)
                a, b = _trim(self.text, begin, stop)
                if _trim(self.text, position, stop)[0] < b:  # something beyond the overlap
                    found.append((a, b, self.places.heading(self.text, max(a, position), b), tokens))
                position = stop
                begin = self._overlapping(a, position) if position < end else position
        return found

    # ------------------------------------------------------------------ sections

    def _groups(self) -> list[tuple[int, int]]:
        """Stretches that are cut on their own: sections, small ones joined with their neighbours."""
        small = max(4, (self.budget + 2) // 5)
        groups: list[tuple[int, int, int, int]] = []  # start, end, tokens, index of the top heading
        for start, end, top in self.places.stretches():
            tokens = self.count(start, end)
            if groups:
                first, _, held, held_top = groups[-1]
                # a heading alone goes with what follows, even when that is too long for one chunk
                bare = held_top == top and self.places.bare(self.text, first, start)
                if bare or (held_top == top and held < small and held + tokens <= self.budget):
                    groups[-1] = (first, end, held + tokens, top)
                    continue
            groups.append((start, end, tokens, top))
        joined: list[tuple[int, int, int, int]] = []
        for group in groups:  # a small one at the end of its top heading goes with the one before
            if joined and group[2] < small and joined[-1][3] == group[3]:
                first, _, held, top = joined[-1]
                if held + group[2] <= self.budget:
                    joined[-1] = (first, group[1], held + group[2], top)
                    continue
            joined.append(group)
        return [(start, end) for start, end, _, _ in joined]

    # ------------------------------------------------------------------ one chunk

    def _next(self, begin: int, position: int, end: int) -> tuple[int, int, int]:
        """Beginning, end and tokens of the next chunk; it holds something after ``position``.

        ``begin`` is before ``position`` where the chunk before is overlapped; the overlap is given
        up where nothing else would fit.
        """
        for origin in dict.fromkeys((begin, position)):
            room = self.budget
            while room >= 1:
                stop = self._stop(origin, position, end, room)
                tokens = self._measure(origin, stop)
                if tokens <= self.budget:
                    return origin, stop, tokens
                room = min(room - 1, room - (tokens - self.budget))
        # counts in context mislead with this tokenizer: halve until the slice itself fits
        stop = end
        while stop - position > 1 and (tokens := self._measure(position, stop)) > self.budget:
            stop = position + (stop - position) // 2
        return position, stop, self._measure(position, stop)

    def _measure(self, begin: int, stop: int) -> int:
        """Tokens of the chunk's own text. In-context counts are taken where they cannot be wrong:
        both ends at white space and far enough from the limit."""
        counted = self.count(begin, stop)
        clean = _at_space(self.text, begin) and _at_space(self.text, stop)
        if clean and counted + max(4, self.budget // 32) <= self.budget:
            return counted
        a, b = _trim(self.text, begin, stop)
        return len(self.offsets(self.text[a:b]))

    def _stop(self, begin: int, position: int, end: int, room: int) -> int:
        """The best cut after ``position`` that leaves at most ``room`` tokens from ``begin``."""
        left = self.count(begin, end)
        if left <= room:
            return end
        first = bisect_left(self.starts, begin)
        last = self._at(first + room, end)  # the latest possible cut
        if last <= position:
            return min(position + 1, end)
        # of what is left, two chunks at most: cut near the middle instead of leaving a crumb
        least, ideal = room // 2, room
        if left <= 2 * room - self.overlap - 2:
            least, ideal = max(1, left - room), (left + self.overlap) // 2
            least = min(least, ideal)
        low = max(self._at(first + least, end), position + 1)
        aim = min(self._at(first + ideal, end), last)
        for level in (self.places.hard, self.paragraphs, *self._inner()):
            cut = _nearest(level, low, last, aim)
            if cut is not None:
                return cut
        return self._word(position, low, last)

    def _at(self, index: int, end: int) -> int:
        """Position of a token by its index, at most ``end``."""
        return min(self.starts[index], end) if index < len(self.starts) else end

    def _inner(self) -> tuple[list[int], list[int]]:
        """Starts of the sentences and of the lines in this group, when they are first needed."""
        if self.inner is None:
            start, end = self.group
            self.inner = (
                [start + a for a, _ in sentences(self.text[start:end])],
                [match.end() for match in _NEWLINE.finditer(self.text, start, end)],
            )
        return self.inner

    def _word(self, position: int, low: int, last: int) -> int:
        """The latest start of a word; within a word only where it fills the whole chunk."""
        text, starts = self.text, self.starts
        top = bisect_right(starts, last)
        for allowed, least in (
            (_after_space, low),
            (_between_words, low),
            (_after_space, position + 1),
            (_between_words, position + 1),
        ):
            for index in range(top - 1, bisect_left(starts, least) - 1, -1):
                if allowed(text, starts[index]):
                    return starts[index]
        cut = last
        while cut > position + 1 and _joined(text, cut) and last - cut < 32:
            cut -= 1
        return last if _joined(text, cut) else cut

    def _overlapping(self, begin: int, position: int) -> int:
        """Where the next chunk begins: at a sentence or word among the last ``overlap`` tokens."""
        if not self.overlap:
            return position
        index = bisect_left(self.starts, position)
        first = max(0, index - self.overlap)
        while 0 < first < index and self.starts[first - 1] == self.starts[first]:
            first += 1  # one code point can be several tokens
        if first >= index:
            return position
        earliest = max(self.starts[first], begin + 1)
        if earliest >= position:
            return position
        sentence = self._inner()[0]
        at = bisect_left(sentence, earliest)
        if at < len(sentence) and sentence[at] < position:
            return sentence[at]
        for start in self.starts[bisect_left(self.starts, earliest) : index]:
            if _after_space(self.text, start):
                return start
        return position


class _Places:
    """The headings of a document: paths, stretches between them, hard boundaries."""

    def __init__(self, sections: Sequence[Section], length: int) -> None:
        kept = [s for s in sections if 0 <= s.start < length]
        self.all_starts = [s.start for s in kept]
        self.paths: list[tuple[str, ...]] = []
        self.marks: list[str] = []  # the page that a section is, "" for a heading
        self.titles = [s.title for s in kept]
        self.hard = [s.start for s in kept if s.level <= HARD and s.start > 0]
        self.length = length
        self._tops: dict[int, int] = {}
        stack: list[Section] = []
        top = -1
        for index, section in enumerate(kept):
            while stack and stack[-1].level >= section.level:
                stack.pop()
            if not stack:
                top = index
            stack.append(section)
            self._tops[section.start] = top
            self.paths.append(tuple(s.title for s in stack if s.level <= HARD))
            self.marks.append(section.title if section.level > HARD else "")

    def stretches(self) -> list[tuple[int, int, int]]:
        """(start, end, which top heading) of the text between hard boundaries."""
        edges = [0, *self.hard, self.length]
        return [(a, b, self._tops.get(a, -1)) for a, b in pairwise(edges) if a < b]

    def bare(self, text: str, start: int, end: int) -> bool:
        """Whether a stretch is nothing but headings (their lines and adornments)."""
        return all(self._body(text, index, end) <= 0 for index in self._within(start, end))

    def heading(self, text: str, start: int, end: int) -> str:
        """The path of headings above a chunk: what all its sections with a body share."""
        inside = self._within(start, end)
        before = bisect_right(self.all_starts, start) - 1
        if before >= 0 and before not in inside:
            inside = range(before, inside.stop) if len(inside) else range(before, before + 1)
        if not len(inside):
            return ""
        full = [i for i in inside if self._body(text, i, end) > 0] or [inside[-1]]
        paths = [self.paths[i] for i in full]
        shared = 0
        while all(len(p) > shared and p[shared] == paths[0][shared] for p in paths):
            shared += 1
        path = paths[0][:shared] or paths[0]
        return " > ".join((*path, self.marks[full[0]]) if self.marks[full[0]] else path)

    def _within(self, start: int, end: int) -> range:
        return range(bisect_left(self.all_starts, start), bisect_left(self.all_starts, end))

    def _body(self, text: str, index: int, end: int) -> int:
        """Roughly how many code points of text a section has beside its heading (0: none)."""
        start = self.all_starts[index]
        after = self.all_starts[index + 1] if index + 1 < len(self.all_starts) else self.length
        words = sum(map(str.isalnum, text[start : min(after, end)][: len(self.titles[index]) * 2 + 240]))
        return words - sum(map(str.isalnum, self.titles[index]))


def _starts(offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Starts of the tokens, in order; a very long token (one unknown word) counts as several."""
    if all(end - start <= _LONG for start, end in offsets):
        return sorted(start for start, _ in offsets)
    return sorted(
        piece
        for start, end in offsets
        for piece in (range(start, end, _PIECE) if end - start > _LONG else (start,))
    )


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    return start, max(start, end - (len(piece) - len(piece.rstrip())))


def _nearest(positions: Sequence[int], low: int, high: int, aim: int) -> int | None:
    """The position in [low, high] that is nearest to ``aim``."""
    left, right = bisect_left(positions, low), bisect_right(positions, high)
    if left >= right:
        return None
    at = bisect_left(positions, aim, left, right)
    around = [positions[i] for i in (at - 1, at) if left <= i < right]
    return min(around, key=lambda position: (abs(position - aim), -position))


def _at_space(text: str, position: int) -> bool:
    return position <= 0 or position >= len(text) or text[position - 1].isspace() or text[position].isspace()


def _after_space(text: str, position: int) -> bool:
    return text[position - 1].isspace()


def _between_words(text: str, position: int) -> bool:
    """Whether a cut here leaves words whole: scripts without spaces may be cut between characters."""
    before, after = text[position - 1], text[position]
    if _joined(text, position):
        return False
    return not (_of_word(before) and _of_word(after))


def _of_word(character: str) -> bool:
    return (character.isalnum() or character == "_") and not "\u2e80" <= character <= "\U0003ffff"


def _joined(text: str, position: int) -> bool:
    """Whether the code points around belong to one visible character (marks, joiners, \\r\\n)."""
    if not 0 < position < len(text):
        return False
    before, after = text[position - 1], text[position]
    return (
        unicodedata.combining(after) != 0
        or "\u200d" in (before, after)
        or "\ufe00" <= after <= "\ufe0f"
        or "\U0001f3fb" <= after <= "\U0001f3ff"
        or (before == "\r" and after == "\n")
    )
