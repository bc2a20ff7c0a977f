"""What is missing in a prompt, seen without a model: parts, a task verb, a format, examples, clauses.

Advice, not proof: words are looked for (English ones; a prompt in another language is not asked for
verbs), and whether a prompt works is measured (``headrace prompts compare``). Each remark has a code;
``allow = ["no-context"]`` in the front matter switches one off.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headrace.errors import HeadraceError, NotFound
from headrace.prompts.fences import DELIMITERS
from headrace.prompts.file import Opened, opened, text_of
from headrace.prompts.fourpart import FourPart
from headrace.prompts.template import gaps
from headrace.schema.values import problems

Severity = Literal["error", "warning", "note"]

VERBS = frozenset(
    "act analyse analyze answer arrange assess calculate categorise categorize choose classify "
    "combine compare complete compose continue convert correct count create decide define describe "
    "detect determine draft edit estimate evaluate explain express extract fill filter find fix "
    "format generate give group identify improve infer label list locate map mark match merge name "
    "order outline paraphrase parse pick plan predict produce propose quote rank rate read recommend "
    "refine rephrase reply return review rewrite score select shorten show simplify solve sort split "
    "state suggest sum summarise summarize tag tell transform translate turn verify write".split()
)
FACTUAL = frozenset(
    "answer calculate categorise categorize classify count detect determine extract find identify "
    "label match quote solve summarise summarize tag translate verify".split()
)
_ENGLISH = re.compile(
    r"\b(?:the|of|and|to|in|is|a|an|from|with|for|or|this|you|by|on|as|into)\b", re.IGNORECASE
)
_FORMAT = re.compile(
    r"\b(?:reply with|respond with|answer with|output|format|json|xml|html|markdown|yaml|csv|table|list|"
    r"bullets?|sentences?|words?|lines?|paragraphs?|characters|numbered|only the|nothing else|exactly|"
    r"one of)\b",
    re.IGNORECASE,
)
_REFUSES = re.compile(
    r"\b(?:do(?:es)? not (?:contain|know|have|hold|invent|make)|don't know|cannot (?:answer|be answered)|"
    r"(?:not|never) (?:make|invent)|no information|made up|nothing else but)\b",
    re.IGNORECASE,
)
_PRIVATE = re.compile(r"\b(?:sensitive|personal|private|confidential|passwords?)\b", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\breplace this\b", re.IGNORECASE)

# code → (severity, what to do)
CODES: Mapping[str, tuple[Severity, str]] = {
    "broken": ("error", "Correct the file; it cannot be used as it is."),
    "no-instruction": (
        "error",
        "Say what is to be done: [instruction] with a verb such as classify or extract.",
    ),
    "no-context": ("note", "Give what to work from: [context] with {passages}, or examples."),
    "no-question": ("warning", "Say where the input goes: [question] with a variable such as {text}."),
    "no-format": ("warning", "Say how the output looks: [format], labels or schema."),
    "no-task-verb": ("warning", "Begin with what to do: classify, translate, summarise, extract, answer …"),
    "no-variable": ("note", "A prompt without {variables} says the same each time."),
    "undeclared-variables": ("note", 'Declare them: variables = ["…"]; a slip of the pen is then found.'),
    "no-examples": ("note", "Three or four examples, one for each kind of output, help most models."),
    "one-example": ("warning", "A single example is copied rather than generalised: give three or four."),
    "label-without-example": ("warning", "Give each label an example: what is never shown is rarely chosen."),
    "example-not-a-label": ("error", "Correct the example's output or the labels."),
    "example-against-schema": ("error", "Correct the example: a model does what is shown, not what is said."),
    "schema-without-example": ("error", 'Show one right output: [example], or "examples" in the schema.'),
    "placeholder": ("note", "Put a real example of yours in its place."),
    "no-refusal": ("warning", "Leave refusal on, or say what to reply where the answer is not there."),
    "no-sensitive-clause": ("warning", "Leave sensitive on, or say what must not be asked for or repeated."),
    "no-delimiter": ("warning", 'Leave delimiter = "auto", or put what comes from elsewhere between marks.'),
    "value-in-instruction": (
        "note",
        "What comes from elsewhere belongs into [context] or [question], where it is marked as data.",
    ),
    "sampling-in-factual-task": ("warning", "Use temperature 0 where there is one right answer."),
    "steps-with-labels": ("note", "A label needs no reasoning written out: it costs tokens and time."),
}


@dataclass(frozen=True, kw_only=True)
class Remark:
    """What was noticed. ``line`` counts from 1 in the file; ``hint`` says what to do."""

    code: str
    severity: Severity
    message: str
    line: int
    hint: str


def lint(path: str | Path) -> list[Remark]:
    """The remarks on a file, by line. A file that cannot be used has one, ``broken``. NotFound."""
    try:
        text = text_of(Path(path))
    except NotFound:
        raise
    except HeadraceError as error:  # not UTF-8
        return [_remark("broken", error.message, 1, hint=error.hint)]
    return lint_text(text, name=Path(path).stem, folder=Path(path).parent)


def lint_text(text: str, *, name: str = "", folder: Path | None = None) -> list[Remark]:
    """The remarks on the text of a file of a prompt."""
    try:
        found = opened(text, name=name, folder=folder)
    except HeadraceError as error:
        at = re.search(r"line (\d+)", error.message)
        message = error.message.removeprefix(f"{name or 'the prompt'}, {at[0]}: ") if at else error.message
        return [_remark("broken", message, int(at[1]) if at else 1, hint=error.hint)]
    allowed = [str(code) for code in found.meta.get("allow", ())]
    remarks = [remark for remark in _Linter(found, text).remarks() if remark.code not in allowed]
    for code in allowed:
        if code not in CODES:
            near = difflib.get_close_matches(code, CODES, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(CODES)}."
            remarks.append(_remark("broken", f"allow names {code!r}, which is no code.", 1, hint=hint))
    return sorted(remarks, key=lambda remark: remark.line)


def _remark(
    code: str, message: str, line: int, *, hint: str = "", severity: Severity | None = None
) -> Remark:
    usual, advice = CODES[code]
    return Remark(code=code, severity=severity or usual, message=message, line=line, hint=hint or advice)


def task_verbs(text: str) -> list[str]:
    """The task verbs of an English text, in order; "the answer" is none."""
    words = re.findall(r"[A-Za-z]+", text.lower())
    nouns = {"the", "a", "an", "your", "this", "that", "its", "each", "no", "of"}
    return [w for i, w in enumerate(words) if w in VERBS and (i == 0 or words[i - 1] not in nouns)]


class _Linter:
    def __init__(self, found: Opened, text: str) -> None:
        self.found = found
        self.template = found.template
        self.meta = found.meta
        self.text = text
        self.first = found.sections[0].line if found.sections else 1

    def remarks(self) -> Iterator[Remark]:
        """Everything there is to say, in no order."""
        if isinstance(self.template, FourPart):
            yield from self._four(self.template)
        else:
            yield from self._messages()
        yield from self._both()

    def line(self, name: str) -> int:
        """Where a part begins, or its key of the front matter; else the first part."""
        for section in self.found.sections:
            if section.name == name:
                return section.line
        key = re.compile(rf"^\[*{re.escape(name)}\b", re.MULTILINE).search(self.text)
        return self.text.count("\n", 0, key.start()) + 1 if key and name in self.meta else self.first

    def _both(self) -> Iterator[Remark]:
        names = self.template.variables
        if not names:
            yield _remark("no-variable", "It has no variable.", self.first)
        elif "variables" not in self.meta:
            yield _remark("undeclared-variables", f"Its variables are not declared: {', '.join(names)}.", 1)
        heat = self.meta.get("decoding", {}).get("temperature", 0)
        if isinstance(heat, (int, float)) and heat > 0 and (why := self._factual()):
            yield _remark(
                "sampling-in-factual-task", f"temperature = {heat} although {why}.", self.line("decoding")
            )

    def _factual(self) -> str:
        """Why there is one right answer, "" where there need not be."""
        template = self.template
        if isinstance(template, FourPart):
            if template.labels:
                return "it chooses a label"
            if template.schema is not None:
                return "it fills a schema"
            verbs = task_verbs(template.instruction)
        else:
            verbs = task_verbs(" ".join(part.text for part in template.parts))
        found = [verb for verb in verbs[:3] if verb in FACTUAL]
        return f"its task is to {found[0]}" if found else ""

    def _verb(self, text: str, line: int) -> Iterator[Remark]:
        english = len(text.split()) < 5 or _ENGLISH.search(text)
        latin = sum(c.isascii() for c in text) * 10 >= len(text) * 7
        if text.strip() and latin and english and not task_verbs(text):
            yield _remark("no-task-verb", "No verb says what is to be done.", line)

    # ------------------------------------------------------------------ four parts

    def _four(self, template: FourPart) -> Iterator[Remark]:
        if not template.instruction:
            yield _remark("no-instruction", "There is no [instruction].", self.first)
        else:
            yield from self._verb(template.instruction, self.line("instruction"))
        if not template.context and not template.shots:
            yield _remark("no-context", "There is no [context] and no [example].", self.first)
        if not template.question and not (template.context and template.variables):
            yield _remark("no-question", "There is no [question].", self.first)
        if not (template.format or template.labels or template.schema is not None):
            yield _remark("no-format", "Nothing says how the output looks.", self.first)
        yield from self._shots(template)
        options = template.options
        if not options.refusal:
            yield _remark(
                "no-refusal",
                "The clause against inventing is switched off.",
                self.line("refusal"),
                severity=None if template.context else "note",
            )
        if not options.sensitive:
            yield _remark(
                "no-sensitive-clause", "The clause about sensitive data is off.", self.line("sensitive")
            )
        if options.delimiter == "none" and template.variables:
            yield _remark("no-delimiter", "Values stand in the prompt without marks.", self.line("delimiter"))
        inside = gaps(f"{template.instruction} {template.format}")
        if inside and options.delimiter != "none":
            named = ", ".join(inside)
            yield _remark(
                "value-in-instruction",
                f"Without marks in the orders themselves: {named}.",
                self.line("instruction"),
            )
        if options.steps and template.labels:
            yield _remark("steps-with-labels", "Steps are asked for to choose a label.", self.line("steps"))

    def _shots(self, template: FourPart) -> Iterator[Remark]:
        shots, line = template.shots, self.line("example")
        lines = [section.line for section in self.found.sections if section.name == "example"]
        if not shots and template.schema is None:
            yield _remark(
                "no-examples",
                "There is no [example]" + (" of any label." if template.labels else "."),
                line,
                severity="warning" if template.labels else None,
            )
        if len(shots) == 1 and template.schema is None:
            yield _remark("one-example", "There is one [example] only.", line)
        shown = {shot.output for shot in shots}
        if shots and (missing := [label for label in template.labels if label not in shown]):
            yield _remark("label-without-example", f"No example shows: {', '.join(missing)}.", line)
        for shot, at in zip(shots, lines, strict=True):
            if template.labels and shot.output not in template.labels:
                yield _remark("example-not-a-label", f"{shot.output[:60]!r} is none of the labels.", at)
            if any(_PLACEHOLDER.search(text) for text in (*shot.values.values(), shot.output)):
                yield _remark("placeholder", "This example is a placeholder.", at)
            if template.schema is not None and (wrong := _against(shot.output, template.schema)):
                yield _remark("example-against-schema", f"The example does not fit the schema: {wrong}.", at)
        if template.schema is not None and template.worked_example is None:
            yield _remark(
                "schema-without-example", "The schema has no worked example that fits.", self.line("schema")
            )

    # ------------------------------------------------------------------ messages

    def _messages(self) -> Iterator[Remark]:
        whole = "\n".join(part.text for part in self.template.parts)
        yield from self._verb(whole, self.first)
        if not _FORMAT.search(whole):
            yield _remark("no-format", "Nothing says how the output looks.", self.first)
        if not self.template.variables and "?" not in whole:
            yield _remark("no-question", "There is no variable and no question.", self.first)
        if len(self.template.variables) < 2 and not any(p.role == "assistant" for p in self.template.parts):
            yield _remark("no-context", "There is nothing to work from beside the input.", self.first)
        if not _REFUSES.search(whole):
            yield _remark("no-refusal", "Nothing says what to do where the answer is not known.", self.first)
        if not _PRIVATE.search(whole):
            yield _remark("no-sensitive-clause", "Nothing is said about sensitive data.", self.first)
        marked = "open" in self.template.variables or any(mark in whole for mark in DELIMITERS)
        if self.template.variables and not marked and not re.search(r"</?\w+>|<<", whole):
            yield _remark("no-delimiter", "Values stand in the prompt without marks.", self.first)


def _against(output: str, schema: object) -> str:
    try:
        value = json.loads(output)
    except ValueError as error:
        return f"it is no JSON ({error})"
    wrong = problems(value, schema)  # type: ignore[arg-type]  # checked when the file was read
    return wrong[0] if wrong else ""
