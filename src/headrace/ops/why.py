"""Why did this answer come out as it did: what was asked, found, sent and checked, and where it went wrong.

Pure over one Trace, its votes and, where known, how long such runs usually take. It says what the
record shows and nothing else: where the record shows nothing wrong, it says so; what the record
lacks is 'not recorded'. It judges no answer by itself: whether a sentence is true is for people and
for evaluation to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace.types import Feedback, Span, Trace

Verdict = Literal["ok", "stopped", "wrong", "not recorded"]
TAKES = 0.5  # the share of a run's time that makes a span the place where the time went


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the run: ``stopped`` where the run ended there on purpose (an abstention)."""

    name: str
    verdict: Verdict
    said: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Why:
    """A run explained. ``made_by``: release, fingerprint, knowledge-base versions, models, decodings.

    ``found``: passages with rank, relevance, document. ``sent``: prompts, as they were sent.
    ``steps`` in the order of the run; ``wrong`` is the first that is not in order, None where none is.
    """

    trace_id: str
    app: str
    asked: Mapping[str, Any]
    answered: Any
    made_by: Mapping[str, Any]
    found: tuple[Mapping[str, Any], ...]
    sent: tuple[Mapping[str, Any], ...]
    votes: tuple[Feedback, ...]
    steps: tuple[Step, ...]
    wrong: str | None

    @property
    def said(self) -> str:
        """The finding in one sentence."""
        if self.wrong is not None:
            step = next(s for s in self.steps if s.name == self.wrong and s.verdict in ("wrong", "stopped"))
            return f"{step.name}: {step.said}"
        down = sum(vote.value == "down" for vote in self.votes)
        if down:
            return (
                "Nothing looks wrong in this record, but it was voted down: compare the answer with the "
                "passages that it cites."
            )
        return "Nothing looks wrong in this record."


def explain(trace: Trace, votes: Sequence[Feedback] = (), *, usual: float | None = None) -> Why:
    """What the record of a run shows. ``usual``: seconds that 95 % of such runs stay below."""
    record = trace.record
    steps = tuple(_steps(trace, usual))
    wrong = next((step.name for step in steps if step.verdict in ("wrong", "stopped")), None)
    failed = next((step.name for step in steps if step.name == "error"), None)
    return Why(
        trace_id=trace.id,
        app=str(trace.subject.get("app", "")),
        asked=trace.inputs,
        answered=trace.output,
        made_by={
            "release": trace.subject.get("release"),
            "fingerprint": trace.subject.get("fingerprint"),
            "knowledge": _many(record, "kb_versions"),
            "models": _many(record, "models"),
            "decodings": _many(record, "decodings"),
            "answered_by": _many(record, "answered_by"),
            "findings": _many(record, "findings"),
            "usage": _many(record, "usage"),
        },
        found=tuple(
            {
                "rank": rank,
                "relevance": item.get("relevance"),
                "score": item.get("score"),
                "document": item.get("document"),
                "heading": item.get("heading"),
                "start": item.get("start"),
                "end": item.get("end"),
                "text": item.get("text"),
            }
            for rank, item in enumerate(_mappings(record, "passages"), 1)
        ),
        sent=tuple(_mappings(record, "prompts")),
        votes=tuple(votes),
        steps=steps,
        wrong=failed or wrong,
    )


def _steps(trace: Trace, usual: float | None) -> Iterator[Step]:
    if trace.error is not None:
        yield _error(trace)
    yield from _search(trace)
    yield from _context(trace)
    yield from _answer(trace)
    yield from _findings(trace)
    yield _time(trace, usual)


# --------------------------------------------------------------------------- one step each


def _error(trace: Trace) -> Step:
    """The innermost span that failed: errors travel outward from there."""
    failed = [span for span in trace.spans if span.error]
    parents = {span.parent for span in failed}
    inner = [span for span in failed if span.id not in parents] or failed
    at = min(inner, key=lambda span: span.start) if inner else None
    where = f" in {at.name} ({at.kind}) after {at.seconds:.3f} s" if at is not None else ""
    return Step(
        name="error",
        verdict="wrong",
        said=f"the run failed{where}: {trace.error}",
        numbers={"span": at.name if at else None, "seconds": at.seconds if at else None},
    )


def _search(trace: Trace) -> Iterator[Step]:
    searches = [span for span in trace.spans if span.kind == "retrieve"]
    passages = _mappings(trace.record, "passages")
    if not searches:
        if passages:
            yield _found_some(passages, {})
        else:
            yield Step(name="search", verdict="not recorded", said="this run searched nothing")
        return
    for span in sorted(searches, key=lambda span: span.start):
        facts = span.attributes
        outcome = str(facts.get("outcome", ""))
        numbers = {
            key: facts[key]
            for key in ("passages", "candidates", "score_threshold", "best_relevance")
            if facts.get(key) is not None
        }
        where = f" in {facts['kb']!r}" if "kb" in facts else ""
        if span.error:
            yield Step(name="search", verdict="wrong", said=f"the search{where} failed: {span.error}")
        elif outcome == "below threshold":
            best, limit = facts.get("best_relevance"), facts.get("score_threshold")
            said = f"nothing relevant enough was found{where}"
            if isinstance(best, (int, float)) and isinstance(limit, (int, float)):
                said += f": the best passage has relevance {best:.2f}, the threshold is {limit:.2f}"
            yield Step(name="search", verdict="stopped", said=said, numbers=numbers)
        elif outcome == "timeout":
            yield Step(
                name="search",
                verdict="wrong",
                said=f"the search{where} did not finish in time ({span.seconds:.3f} s)",
                numbers=numbers,
            )
        elif facts.get("passages") == 0:
            yield Step(name="search", verdict="stopped", said=f"nothing was found{where}", numbers=numbers)
        elif outcome == "partial":
            yield Step(
                name="search",
                verdict="wrong",
                said=f"the time limit cut a part of the search{where} off: {facts.get('passages')} passages",
                numbers=numbers,
            )
        else:
            yield _found_some(passages, numbers, where)


def _found_some(passages: Sequence[Mapping[str, Any]], numbers: Mapping[str, Any], where: str = "") -> Step:
    best = max((_number(item.get("relevance")) or 0.0 for item in passages), default=0.0)
    count = numbers.get("passages", len(passages))
    return Step(
        name="search",
        verdict="ok",
        said=f"{_counted(count, 'passage')} found{where}; the best has relevance {best:.2f}",
        numbers={**numbers, "best": best},
    )


def _context(trace: Trace) -> Iterator[Step]:
    for item in _mappings(trace.record, "templates"):
        yield Step(
            name="wording",
            verdict="ok",
            said=f"the prompt {item.get('name')}, version {item.get('version')}",
            numbers={"version": item.get("version")},
        )
    for item in _mappings(trace.record, "contexts"):
        kept, dropped = list(item.get("kept") or ()), list(item.get("dropped") or ())
        numbers = {"kept": kept, "dropped": dropped, "tokens": item.get("tokens")}
        if dropped:
            listed = ", ".join(str(n) for n in dropped)
            yield Step(
                name="prompt",
                verdict="wrong",
                said=f"passages {listed} did not fit into the model's window; {len(kept)} were sent",
                numbers=numbers,
            )
        else:
            yield Step(
                name="prompt",
                verdict="ok",
                said=f"all {len(kept)} passages were sent, {item.get('tokens')} tokens",
                numbers=numbers,
            )


def _answer(trace: Trace) -> Iterator[Step]:
    for span in trace.spans:
        if span.kind == "model":
            yield _model(span)
    output = trace.output if isinstance(trace.output, Mapping) else {}
    by = str(output.get("answered_by", ""))
    if not output or "abstained" not in output:
        return
    if by == "quotes":
        yield _quote(trace, output)
    elif output.get("abstained"):
        yield Step(
            name="model",
            verdict="stopped",
            said=f"{by} was asked and replied that the passages do not contain the answer",
        )


def _model(span: Span) -> Step:
    name, finish = span.attributes.get("model", span.name), span.attributes.get("finish")
    numbers = {
        key: span.attributes[key]
        for key in ("input_tokens", "output_tokens", "cost", "finish")
        if span.attributes.get(key) is not None
    }
    if span.error:
        return Step(name="model", verdict="wrong", said=f"{name} failed: {span.error}", numbers=numbers)
    if finish == "length":
        return Step(
            name="model",
            verdict="wrong",
            said=f"{name} was cut off after {numbers.get('output_tokens')} tokens, the limit of the decoding",
            numbers=numbers,
        )
    wrote = numbers.get("output_tokens")
    said = f"{name} answered in {span.seconds:.3f} s" + (f" with {wrote} tokens" if wrote is not None else "")
    return Step(name="model", verdict="ok", said=said, numbers=numbers)


def _quote(trace: Trace, output: Mapping[str, Any]) -> Step:
    facts: dict[str, Any] = {}
    for span in trace.spans:
        if span.name == "answer":
            facts.update(span.attributes)
    sure, limit = _number(output.get("confidence")), _number(facts.get("threshold"))
    numbers = {key: value for key, value in (("confidence", sure), ("threshold", limit)) if value is not None}
    if not output.get("abstained"):
        said = f"{_counted(len(output.get('citations') or ()), 'sentence')} quoted"
        if sure is not None:
            said += f", confidence {sure:.2f}" + (f", threshold {limit:.2f}" if limit is not None else "")
        return Step(name="quote", verdict="ok", said=said, numbers=numbers)
    passages = _mappings(trace.record, "passages")
    if passages:
        best = max(_number(item.get("relevance")) or 0.0 for item in passages)
        numbers["best_relevance"] = best
    if not passages:
        said = "there was nothing to quote from"
    elif sure is None:
        said = "the passages hold no sentence that could be quoted"
    elif limit is None:
        said = f"passages were found, but the confidence that they answer is only {sure:.2f}"
    else:
        said = (
            f"passages were found, but the confidence that a sentence of theirs answers is {sure:.2f}, "
            f"below the threshold of {limit:.2f}"
        )
    if passages:
        said += f" (the best passage has relevance {numbers['best_relevance']:.2f})"
    return Step(name="quote", verdict="stopped", said=said, numbers=numbers)


_STEPS = {"citations": "citations", "window": "prompt", "length": "model", "canary": "model"}


def _findings(trace: Trace) -> Iterator[Step]:
    """What guards noticed, notes left aside; one step for each guard."""
    grouped: dict[str, list[str]] = {}
    for item in _mappings(trace.record, "findings"):
        if item.get("severity") != "note" and item.get("guard") != "length":  # told by the model's span
            message = item.get("message")
            grouped.setdefault(str(item.get("guard")), []).append(
                message if isinstance(message, str) else "(the message was not kept)"
            )
    for guard, messages in grouped.items():
        yield Step(
            name=_STEPS.get(guard, guard),
            verdict="wrong",
            said=" ".join(dict.fromkeys(messages)),
            numbers={"findings": len(messages)},
        )


def _time(trace: Trace, usual: float | None) -> Step:
    """Where the time went: what each span took by itself, without the spans within it."""
    inside: dict[str | None, float] = {}
    for span in trace.spans:
        inside[span.parent] = inside.get(span.parent, 0.0) + span.seconds
    own: dict[str, float] = {}
    for span in trace.spans:
        alone = max(0.0, span.seconds - inside.get(span.id, 0.0))
        own[span.name] = own.get(span.name, 0.0) + alone
    numbers: dict[str, Any] = {
        "seconds": trace.seconds,
        "usual": usual,
        "own": {name: round(took, 6) for name, took in sorted(own.items(), key=lambda i: -i[1])},
    }
    said = f"{trace.seconds:.3f} s"
    if own:
        name, took = max(own.items(), key=lambda item: item[1])
        share = took / trace.seconds if trace.seconds > 0 else 0.0
        said += f", most of it in {name}" if share >= TAKES else f", the largest part in {name}"
        said += f" ({took:.3f} s, {share:.0%})"
    if usual is None:
        return Step(name="time", verdict="ok", said=said, numbers=numbers)
    if trace.seconds > usual:
        return Step(
            name="time",
            verdict="wrong",
            said=f"slow: {said}; 95 % of such runs take at most {usual:.3f} s",
            numbers=numbers,
        )
    return Step(name="time", verdict="ok", said=f"{said}; usual is up to {usual:.3f} s", numbers=numbers)


# --------------------------------------------------------------------------- reading the record


def _many(record: Mapping[str, Any], name: str) -> list[Any]:
    value = record.get(name)
    return list(value) if isinstance(value, (list, tuple)) else []


def _mappings(record: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return [item for item in _many(record, name) if isinstance(item, Mapping)]


def _counted(count: Any, what: str) -> str:
    return f"1 {what} was" if count == 1 else f"{count} {what}s were"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
