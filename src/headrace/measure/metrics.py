"""The metrics by name: what an observed answer scores on an example, from 0 to 1 or in its unit.

A metric is a pure function of an Example and of what was Observed; running applications is
``evaluation``'s, intervals are ``statistics``'.

**Failed rows.** A run that raised gave the user no answer: every metric of quality scores it 0, so
that an application cannot gain by failing on hard questions. Seconds, tokens and cost of a failed
run are left out (None) and counted: a quick error is not a quick answer.

**Unanswerable examples** (``{"unanswerable": true}``), by the rule of SQuAD 2.0: an abstention scores
1, an answer 0. An abstention on an answerable example scores 0.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from headrace.errors import InputError, NotFound
from headrace.measure import overlap, squad
from headrace.types import Answer, Example, Score, Usage, to_json

if TYPE_CHECKING:  # an application may name hr.metric: that must not load numpy
    from headrace.measure.statistics import Kind

Direction = Literal["higher", "lower"]


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What one run gave. ``seconds`` is its wall time; ``passages`` as in a report's rows (``document`` …).

    ``error`` is the message of a run that raised, and ``output`` then None. ``usage`` None: no model
    reported any.
    """

    output: Any = None
    seconds: float | None = None
    passages: Sequence[Mapping[str, Any]] = ()
    usage: Usage | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A named measure of one row.

    ``margin`` is the smallest difference that matters: in the metric's unit, or, where ``relative``,
    as a share of the value compared with (0.1: a tenth). ``kind`` says how rows are put together, ``q``
    which quantile. ``unit``: ``share`` (0 to 1), ``s``, ``tokens``, ``USD`` or "". ``source`` is the
    paper or the rule. ``score`` gives None as value where the example says nothing about it.
    """

    name: str
    direction: Direction
    margin: float
    kind: Kind
    unit: str
    source: str
    score: Callable[[Example, Observed], Score]
    relative: bool = False
    q: float = 0.5


# --------------------------------------------------------------------------- reading outputs


def text_of(output: Any) -> str:
    """What an output says: the text of an Answer or a str; "" for an abstention or None.

    Of a mapping the first of ``text``, ``answer``, ``output``; anything else as canonical JSON.
    """
    if output is None or abstained(output):
        return ""
    if isinstance(output, str):
        return output
    if isinstance(output, Answer):
        return output.text
    if isinstance(output, Mapping):
        for key in ("text", "answer", "output"):
            if isinstance(output.get(key), str):
                return str(output[key])
    return json.dumps(to_json(output), ensure_ascii=False, sort_keys=True)


def abstained(output: Any) -> bool:
    """Whether an output declines: says so itself, or is empty."""
    if isinstance(output, Answer):
        return output.abstained
    if isinstance(output, Mapping):
        return bool(output.get("abstained", False))
    return output is None or (isinstance(output, str) and not output.strip())


def answers_of(example: Example) -> list[str]:
    """The gold answers: ``answers`` and ``answer`` of the expectations."""
    many = example.expectations.get("answers") or ()
    one = example.expectations.get("answer")
    found = [many] if isinstance(many, str) else list(many)
    return [str(text) for text in [*found, *([] if one is None else [one])]]


def documents_of(example: Example) -> list[str]:
    """The documents that hold the answer."""
    found = example.expectations.get("documents") or ()
    return [found] if isinstance(found, str) else [str(document) for document in found]


def is_document(found: str, expected: str) -> bool:
    """Whether ``found`` is the expected document: the same path, or one that ends in it (whole folders).

    ``docs/leave.md`` is ``leave.md`` and ``docs/leave.md``, not ``eave.md``. A part of a file
    (``faq.csv#3``) is the file too.
    """
    for whole in {found, found.split("#", 1)[0]}:
        have, want = _parts(whole), _parts(expected)
        if want and have[-len(want) :] == want:
            return True
    return False


def _parts(path: str) -> list[str]:
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]


# --------------------------------------------------------------------------- scores


def _unanswerable(example: Example) -> bool:
    return bool(example.expectations.get("unanswerable", False))


def _quality(
    name: str, measure: Callable[[Example, Observed], tuple[float | None, str]]
) -> Callable[[Example, Observed], Score]:
    """A failed row scores 0; otherwise value and reason from ``measure``."""

    def score(example: Example, observed: Observed) -> Score:
        value, why = measure(example, observed)
        if value is not None and observed.error is not None:
            value, why = 0.0, "the run failed"
        return Score(name=name, value=value, why=why)

    return score


def _against_gold(
    compare: Callable[[str, list[str]], float],
) -> Callable[[Example, Observed], tuple[float | None, str]]:
    def measure(example: Example, observed: Observed) -> tuple[float | None, str]:
        if _unanswerable(example):
            right = abstained(observed.output)
            return float(right), "abstained, rightly" if right else "answered an unanswerable question"
        gold = answers_of(example)
        if not gold:
            return None, "no answer is expected"
        if abstained(observed.output):
            return 0.0, "abstained although there is an answer"
        return compare(text_of(observed.output), gold), ""

    return measure


def _best(one: Callable[[str, str], float | bool]) -> Callable[[str, list[str]], float]:
    return lambda text, gold: max(float(one(text, answer)) for answer in gold)


def _abstention(example: Example, observed: Observed) -> tuple[float | None, str]:
    expected = example.expectations
    if not any(key in expected for key in ("unanswerable", "answer", "answers", "documents")):
        return None, "whether there is an answer is not said"
    declined = abstained(observed.output)
    if declined == _unanswerable(example):
        return 1.0, ""
    return 0.0, "abstained although there is an answer" if declined else "answered an unanswerable question"


def _hit(k: int) -> Callable[[Example, Observed], tuple[float | None, str]]:
    def measure(example: Example, observed: Observed) -> tuple[float | None, str]:
        expected = documents_of(example)
        if not expected:
            return None, "no document is expected"
        for place, passage in enumerate(list(observed.passages)[:k], start=1):
            if any(is_document(str(passage.get("document", "")), one) for one in expected):
                return 1.0, f"place {place}"
        return 0.0, f"none of {', '.join(expected)} among the first {k}"

    return measure


def _citation_precision(example: Example, observed: Observed) -> tuple[float | None, str]:
    """Cited documents that are expected ones; an answer that cites nothing supports nothing: 0."""
    expected = documents_of(example)
    if not expected:
        return None, "no document is expected"
    if observed.error is None and abstained(observed.output):
        return None, "abstained: nothing is cited"
    output = observed.output
    cited = output.get("citations", ()) if isinstance(output, Mapping) else getattr(output, "citations", ())
    documents = [str(c["document"] if isinstance(c, Mapping) else c.document) for c in cited or ()]
    if not documents:
        return 0.0, "nothing is cited"
    right = sum(any(is_document(document, one) for one in expected) for document in documents)
    return right / len(documents), f"{right} of {len(documents)} citations"


def _measured(name: str, value: Callable[[Observed], float | None]) -> Callable[[Example, Observed], Score]:
    def score(example: Example, observed: Observed) -> Score:
        if observed.error is not None:
            return Score(name=name, value=None, why="the run failed")
        found = value(observed)
        return Score(name=name, value=found, why="" if found is not None else "not known")

    return score


def _tokens(observed: Observed) -> float | None:
    usage = observed.usage
    return None if usage is None else float(usage.input_tokens + usage.output_tokens)


# --------------------------------------------------------------------------- the table


def _share(
    name: str,
    measure: Callable[[Example, Observed], tuple[float | None, str]],
    source: str,
    kind: Kind = "mean",
) -> Metric:
    """A score from 0 to 1, more is better; five points matter."""
    return Metric(
        name=name,
        direction="higher",
        margin=0.05,
        kind=kind,
        unit="share",
        source=source,
        score=_quality(name, measure),
    )


def _spent(
    name: str, unit: str, value: Callable[[Observed], float | None], source: str, **more: Any
) -> Metric:
    """Something that is paid with, less is better; a tenth matters."""
    return Metric(
        name=name,
        direction="lower",
        margin=0.1,
        relative=True,
        unit=unit,
        source=source,
        score=_measured(name, value),
        **more,
    )


_SQUAD = "Rajpurkar et al. 2016, 2018 (SQuAD 1.1, 2.0): best over the gold answers"
_TABLE: dict[str, Callable[[], Metric]] = {
    "exact_match": lambda: _share("exact_match", _against_gold(_best(squad.exact_match)), _SQUAD, "rate"),
    "answer_f1": lambda: _share("answer_f1", _against_gold(_best(squad.f1)), _SQUAD),
    "contains": lambda: _share(
        "contains", _against_gold(_best(squad.contains)), "a gold answer stands in the text", "rate"
    ),
    "citation_precision": lambda: _share(
        "citation_precision", _citation_precision, "share of citations of an expected document"
    ),
    "abstention": lambda: _share(
        "abstention", _abstention, "answered what has an answer, declined what has none", "rate"
    ),
    "rouge_l": lambda: _share(
        "rouge_l", _against_gold(overlap.rouge_l), "Lin 2004, F-measure, rouge-score with stemming"
    ),
    "bleu": lambda: _share(
        "bleu", _against_gold(overlap.bleu), "Papineni et al. 2002, by sentence, sacrebleu; 0 to 1"
    ),
    "latency": lambda: _spent("latency", "s", lambda o: o.seconds, "wall time, median", kind="quantile"),
    "latency_p95": lambda: _spent(
        "latency_p95", "s", lambda o: o.seconds, "wall time, 95th percentile", kind="quantile", q=0.95
    ),
    "tokens": lambda: _spent("tokens", "tokens", _tokens, "sent and received, a run", kind="mean"),
    "cost": lambda: _spent(
        "cost", "USD", lambda o: None if o.usage is None else o.usage.cost, "a run", kind="mean"
    ),
}
_HIT = re.compile(r"hit@([1-9]\d*)")


def names() -> list[str]:
    """The names that ``get`` knows; K of ``hit@K`` is any whole number from 1."""
    return [*_TABLE, "hit@K"]


def get(name: str) -> Metric:
    """The metric of that name; raises NotFound with the known names, the nearest first."""
    if name in _TABLE:
        return _TABLE[name]()
    hit = _HIT.fullmatch(name)
    if hit:
        k = int(hit[1])
        return _share(name, _hit(k), f"an expected document among the first {k} passages", "rate")
    near = difflib.get_close_matches(name, names(), n=3, cutoff=0.4)
    ordered = [*near, *(known for known in names() if known not in near)]
    raise NotFound(f"There is no metric {name!r}.", hint=f"Known: {', '.join(ordered)}.")


# --------------------------------------------------------------------------- a user's metric

F = TypeVar("F", bound=Callable[..., Any])
_SETTINGS = "_headrace_metric"


@overload
def metric(function: F) -> F: ...
@overload
def metric(
    *, direction: Direction = ..., margin: float = ..., relative: bool = ..., unit: str = ...
) -> Callable[[F], F]: ...
def metric(
    function: F | None = None,
    *,
    direction: Direction = "higher",
    margin: float = 0.05,
    relative: bool = False,
    unit: str = "",
) -> F | Callable[[F], F]:
    """Say of a function ``(example, output) -> float | bool | None | Score`` how its numbers are meant.

    The function stays what it is. Optional: any function can be used as a metric, and is then taken
    as 'higher is better, 0.05 matters'. Raises InputError for an unknown direction or a negative margin.
    """
    if direction not in ("higher", "lower"):
        raise InputError(f"{direction!r} is no direction.", hint="higher or lower: which values are better.")
    if not margin >= 0:
        raise InputError(f"A margin of {margin!r}.", hint="The smallest difference that matters, 0 or more.")

    def mark(marked: F) -> F:
        settings = {"direction": direction, "margin": margin, "relative": relative, "unit": unit}
        setattr(marked, _SETTINGS, settings)
        return marked

    return mark if function is None else mark(function)


def of(function: Callable[..., Any]) -> Metric:
    """A Metric round a user's function; its name is the function's.

    It is called with the Example and the application's output, and not for failed runs (those score 0
    where more is better, and are left out where less is). True and False are 1 and 0; None is 'not
    assessed'; a Score brings its own reason. Anything else, NaN and infinity included, raises
    InputError when the row is scored.
    """
    name = getattr(function, "__name__", type(function).__name__)
    settings: Mapping[str, Any] = getattr(function, _SETTINGS, {})
    direction: Direction = settings.get("direction", "higher")

    def score(example: Example, observed: Observed) -> Score:
        if observed.error is not None:
            worst = 0.0 if direction == "higher" else None
            return Score(name=name, value=worst, why="the run failed")
        found = function(example, observed.output)
        why = found.why if isinstance(found, Score) else ""
        value = found.value if isinstance(found, Score) else found
        if value is None:
            return Score(name=name, value=None, why=why or "not assessed")
        if hasattr(value, "item"):  # a numpy scalar
            value = value.item()
        if not isinstance(value, (bool, int, float)) or not math.isfinite(value):
            raise InputError(
                f"The metric {name} returned {value!r}.", hint="Return a finite number, True, False or None."
            )
        return Score(name=name, value=float(value), why=why)

    return Metric(
        name=name,
        direction=direction,
        margin=settings.get("margin", 0.05),
        relative=settings.get("relative", False),
        kind="mean",
        unit=settings.get("unit", ""),
        source=(getattr(function, "__doc__", None) or "").strip().split("\n")[0],
        score=score,
    )
