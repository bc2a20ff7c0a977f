"""Where a text's headings are: Markdown, reStructuredText, source code, plain books.

Line-based and forgiving; not parsers. Every function returns sections in order of their start.
References: CommonMark 0.31 §4.2, §4.3, §4.5; docutils' reStructuredText specification, "Sections".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from headrace.types import Section

_LINE = re.compile(r"([^\r\n]*)(\r\n|\n|\r|\Z)")


def lines(text: str, start: int = 0) -> Iterator[tuple[int, str]]:
    """(offset, line without its newline). Only \\n, \\r\\n and \\r end a line."""
    if text.count("\r") == text.count("\r\n"):  # no lone \r: the fast way
        for line in text[start:].split("\n") if start else text.split("\n"):
            yield start, line[:-1] if line.endswith("\r") else line
            start += len(line) + 1
        return
    while start < len(text):
        match = _LINE.match(text, start)
        assert match is not None
        yield start, match.group(1)
        start = match.end()


# --------------------------------------------------------------------------- Markdown

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_NOT_PARAGRAPH = re.compile(r" {0,3}(?:>|[-*+][ \t]|\d{1,9}[.)][ \t]|\||#{1,6}[ \t])| {4}|\t|[ \t]*$")
_LINK = re.compile(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])")
_EMPHASIS = re.compile(r"(?<!\w)(\*{1,3}|_{1,3})(?=\S)(.+?)(?<=\S)\1(?!\w)")
_ATTRIBUTES = re.compile(r"[ \t]*\{[^{}]*\}[ \t]*$")


def markdown(text: str, start: int = 0) -> tuple[Section, ...]:
    """ATX (``## x``) and setext (underlined) headings outside of fenced code and comments."""
    found: list[Section] = []
    fence = ""
    comment = inside = False
    above: tuple[int, str] | None = None  # a line of text that an underline would make a heading
    for offset, line in lines(text, start):
        was_inside, inside, candidate, above = inside, False, above, None
        if comment:
            comment = "-->" not in line
        elif fence:
            match = _FENCE.match(line)
            if match and match[1][0] == fence[0] and len(match[1]) >= len(fence) and not match[2].strip():
                fence = ""
        elif (match := _FENCE.match(line)) and not (match[1][0] == "`" and "`" in match[2]):
            fence = match[1]
        elif line.lstrip().startswith("<!--") and "-->" not in line:
            comment = True
        elif match := _ATX.match(line):
            if title := _plain(match[2] or ""):
                found.append(Section(start=offset, level=len(match[1]), title=title))
        elif candidate is not None and (match := _SETEXT.match(line)):
            level = 1 if match[1][0] == "=" else 2
            found.append(Section(start=candidate[0], level=level, title=_plain(candidate[1])))
        elif not _NOT_PARAGRAPH.match(line):
            # only a paragraph of one line can become a heading here; CommonMark allows several
            above, inside = (None if was_inside else (offset, line)), True
    return tuple(found)


def _plain(title: str) -> str:
    title = _ATTRIBUTES.sub("", _LINK.sub(r"\1", title))
    return " ".join(_EMPHASIS.sub(r"\2", title.replace("`", "")).split())


# --------------------------------------------------------------------------- reStructuredText

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1*[ \t]*$")
_UNDERLINE = re.compile(r"[\r\n]([!-/:-@\[-`{-~])\1*[ \t]*(?=[\r\n]|\Z)")
_ROLE = re.compile(r":[\w:.-]+:`([^`<]*?)(?:\s*<[^`]*>)?`|`([^`<]+?)(?:\s*<[^`]*>)?`_{0,2}")


def rst(text: str, start: int = 0) -> tuple[Section, ...]:
    """Titles with an underline, or with an overline and the same underline.

    Levels follow the order in which the adornments appear, as docutils has it.
    """
    found: list[Section] = []
    styles: list[str] = []
    for under in _UNDERLINE.finditer(text, start):
        title_at, title = _line_before(text, under.start(1))
        if not title.strip() or _ADORNMENT.match(title):
            continue
        length = len(under[0].strip())
        over_at, over = _line_before(text, title_at)
        overlined = over[:1] == under[1] and over.rstrip() == under[0].strip()
        free = overlined or (not title[0].isspace() and not over.strip())
        if free and (length >= 4 or length >= _columns(title.rstrip())):
            style = under[1] * (2 if overlined else 1)
            if style not in styles:
                styles.append(style)
            name = _ROLE.sub(lambda m: m[1] or m[2], title.replace("``", "")).replace("`", "")
            found.append(
                Section(
                    start=over_at if overlined else title_at,
                    level=styles.index(style) + 1,
                    title=" ".join(name.split()),
                )
            )
    return tuple(found)


def _line_before(text: str, start: int) -> tuple[int, str]:
    """(offset, line) of the line before the one that begins at ``start``; empty at the top."""
    if start <= 0:
        return 0, ""
    end = start - (2 if text.startswith("\r\n", start - 2) and start > 1 else 1)
    begin = max(text.rfind("\n", 0, end), text.rfind("\r", max(0, end - 4096), end)) + 1
    return begin, text[begin:end]


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


# --------------------------------------------------------------------------- plain text

_DIVISIONS = {"volume": 1, "book": 1, "part": 1, "act": 2, "chapter": 3, "scene": 4}
_DIVISION = re.compile(
    r"[ \t]*((?:THE )?(VOLUME|BOOK|PART|ACT|CHAPTER|SCENE)[ \t]+"
    r"(?:[IVXLC]+|\d+|[A-Z]+)\b[^\r\n]{0,80}?)[ \t]*$"
)


def plain(text: str) -> tuple[Section, ...]:
    """The divisions of a book: lines such as ``CHAPTER IV`` or ``ACT III`` after a blank line.

    Fewer than two of them are taken for chance.
    """
    found: list[Section] = []
    blank = True
    for offset, line in lines(text):
        if blank and (match := _DIVISION.match(line)):
            found.append(
                Section(start=offset, level=_DIVISIONS[match[2].lower()], title=" ".join(match[1].split()))
            )
        blank = not line.strip()
    return tuple(found) if len(found) > 1 else ()


# --------------------------------------------------------------------------- source code

_C_LIKE = (
    r"^(?:(?:export|default|public|private|protected|internal|static|final|abstract|sealed|open|data|async|"
    r"override|partial|virtual|inline|extern|unsafe|pub(?:\([^)]*\))?|const|declare)[ \t]+)*"
    r"(?P<kind>class|interface|enum|struct|union|namespace|module|trait|impl|record|object|protocol|extension|"
    r"function\*?|func|fun|fn|def|type|mod)[ \t]+(?P<name>(?:\([^)]*\)[ \t]*)?[\w$.:<>, ]*[\w$>])"
)
_ARROW = (
    r"^(?:export[ \t]+)?(?:const|let|var)[ \t]+(?P<name>[\w$]+)[ \t]*=[ \t]*"
    r"(?:async[ \t]*)?(?:function|\([^)\r\n]*\)[ \t]*=>)"
)
_C_FUNCTION = (
    r"^(?!(?:else|if|for|while|switch|return|typedef)\b)[A-Za-z_][\w:*&<>,~ \t]{0,120}?[*& \t]"
    r"(?P<name>~?[\w:]+)[ \t]*\([^;{}()]{0,400}\)[^;{}()]{0,80}\{"
)
_FAMILIES: dict[str, tuple[str, ...]] = {
    "python": (r"^(?P<indent>[ \t]*)(?:async[ \t]+)?(?P<kind>def|class)[ \t]+(?P<name>\w+)",),
    "c": (_C_LIKE, _C_FUNCTION),
    "curly": (_C_LIKE, _ARROW),
    "ruby": (r"^(?P<indent>[ \t]*)(?P<kind>def|class|module)[ \t]+(?P<name>[\w.:?!=<>\[\]]+)",),
    "shell": (r"^(?:(?P<kind>function)[ \t]+(?P<name>[\w:-]+)|(?P<name2>[\w:-]+)[ \t]*\([ \t]*\)[ \t]*\{?)",),
    "sql": (
        r"^(?i:create)[ \t]+(?i:or[ \t]+replace[ \t]+)?(?i:temp(?:orary)?[ \t]+|unique[ \t]+)?"
        r"(?P<kind>(?i:table|view|function|procedure|trigger|index|type))[ \t]+"
        r"(?i:if[ \t]+not[ \t]+exists[ \t]+)?(?P<name>[\w.\"`]+)",
    ),
    "lua": (r"^(?:local[ \t]+)?(?P<kind>function)[ \t]+(?P<name>[\w.:]+)",),
    "perl": (r"^(?P<kind>sub|package)[ \t]+(?P<name>[\w:]+)",),
    "r": (r"^(?P<name>[\w.]+)[ \t]*(?:<-|=)[ \t]*function\b",),
    "ini": (r"^[ \t]*\[+(?P<name>[^\]\r\n]+)\]+[ \t]*(?:[#;].*)?$",),
    "yaml": (r"^(?P<name>[\w.-]+):(?=[ \t\r\n]|$)",),
}
_SUFFIXES = {
    **dict.fromkeys((".py", ".pyi"), "python"),
    **dict.fromkeys((".c", ".h", ".cc", ".cpp", ".hpp"), "c"),
    **dict.fromkeys((".js", ".mjs", ".ts", ".tsx", ".jsx", ".java", ".cs", ".go", ".rs", ".php"), "curly"),
    **dict.fromkeys((".swift", ".kt", ".scala"), "curly"),
    **dict.fromkeys((".toml", ".ini", ".cfg"), "ini"),
    **dict.fromkeys((".yaml", ".yml"), "yaml"),
    **dict.fromkeys((".sh", ".bash"), "shell"),
    ".rb": "ruby",
    ".sql": "sql",
    ".lua": "lua",
    ".pl": "perl",
    ".r": "r",
}
_COMMENT = re.compile(r"[ \t]*(?:#(?!!)|//|/\*|\*|@|--|\[\w)")


def code(text: str, suffix: str) -> tuple[Section, ...]:
    """Top-level definitions (and methods, one level below), by patterns of the language's family.

    A definition begins at the decorators or comments right above it.
    """
    patterns = _FAMILIES.get(_SUFFIXES.get(suffix.lower(), ""), ())
    marks: dict[int, Section] = {}
    for pattern in patterns:
        for match in re.finditer(pattern, text, re.MULTILINE):
            groups = match.groupdict()
            name = groups.get("name") or groups.get("name2") or ""
            indent = len((groups.get("indent") or "").expandtabs(4))
            if indent > 4 or not name:
                continue  # deeper than a method: a local function
            kind = (groups.get("kind") or "").strip("*").lower()
            start = (
                match.start() if _SUFFIXES[suffix.lower()] in ("ini", "yaml") else _above(text, match.start())
            )
            title = " ".join(f"{kind} {name}".split())
            marks.setdefault(start, Section(start=start, level=2 if indent else 1, title=title))
    return tuple(marks[start] for start in sorted(marks))


def _above(text: str, start: int) -> int:
    """Start of the comment or decorator lines that directly precede a definition."""
    while start > 0:
        begin, line = _line_before(text, start)
        if not _COMMENT.match(line):
            break
        start = begin
    return start
