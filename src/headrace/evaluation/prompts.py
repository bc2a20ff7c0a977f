"""Wordings of a prompt on the same examples: means with intervals, and verdicts against the first.

Each wording is an application: the user's own with another prompt in its place, or one that only asks a
model. So it is evaluated like any other (rows cached, resumed, traced) and leaves a report; the verdicts
are those of ``measure.comparing``. One example says nothing: below ``LEAST`` nobody wins.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headrace.errors import InputError, NotFound, Unavailable
from headrace.evaluation import chosen, dataset
from headrace.evaluation.chosen import Given
from headrace.evaluation.evaluate import ExamplesGiven, measure
from headrace.flows.app import App
from headrace.flows.load import load
from headrace.measure.comparing import Comparison, compare_reports
from headrace.prompts.clauses import is_refusal
from headrace.prompts.fourpart import FourPart
from headrace.prompts.steps import final_answer
from headrace.prompts.template import Template
from headrace.protocols import Model, Progress
from headrace.resources.handles import ModelHandle
from headrace.resources.prompt import PromptHandle
from headrace.settings import find_root
from headrace.types import Answer, Completion, Decoding, Report, digest, to_json

LEAST = 20  # examples below which no winner is named
STAND_IN = "scripted:echo"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One wording and what came of it: ``means`` by metric, as a report's measurements; ``against`` the
    verdicts on it against the first (empty for the first itself)."""

    name: str
    version: str
    report: Report
    means: Mapping[str, Mapping[str, Any]]
    against: Mapping[str, Comparison]


@dataclass(frozen=True, kw_only=True)
class PromptsCompared:
    """All wordings, in the order given. ``winner`` is the name of one whose interval on ``metric``
    excludes 0 against every other one that could be it; None: not known. ``model`` answered;
    ``confidence`` is of each verdict, stricter the more wordings there are."""

    variants: tuple[Variant, ...]
    metric: str
    winner: str | None
    model: str
    examples: int
    confidence: float
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Variant:
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise NotFound(f"{name!r} was not compared.", hint=f"There are: {[v.name for v in self.variants]}.")


def compare_prompts(
    variants: Sequence[Template | str | Path],
    examples: ExamplesGiven,
    metrics: Sequence[Given] | str | None = None,
    *,
    model: str | ModelHandle | Model | None = None,
    app: App | str | Path | None = None,
    prompt: str = "",
    margin: float | None = None,
    confidence: float = 0.95,
    decoding: Decoding | None = None,
    workers: int | None = None,
    cache: bool = True,
    progress: Progress | None = None,
) -> PromptsCompared:
    """Each wording on all examples, each further one against the first, pair by pair.

    ``variants`` are templates or their files, two or more that say different things. Through ``app``
    each takes the place of its prompt (``prompt`` names which, where it uses several); else each is
    filled with an example's inputs and sent to ``model``. ``metrics``: the first one decides.

    Raises InputError (examples, variants, metrics), NotFound, Unavailable where the model is not there.
    """
    templates = _named([item if isinstance(item, Template) else Template.read(item) for item in variants])
    read = dataset.read(examples) if isinstance(examples, (str, Path)) else dataset.of(examples)
    scored = chosen.choose(metrics, read)
    notes: list[str] = []
    if app is not None:
        if model is not None:
            raise InputError(
                "An application asks its own model.", hint="Leave model out, or give no application."
            )
        subject = app if isinstance(app, App) else load(app)
        handle = _prompt_of(subject, prompt)
        applications = [subject.using({handle: template}) for _, template in templates]
        asked = f"application {subject.name}, {handle.key}"
    else:
        opened, stands_in = _model(model)
        asked = opened.name
        for name, template in templates:
            if isinstance(template, FourPart) and not template.written_for(asked):
                notes.append(f"{name} was written for {', '.join(template.models)}, and {asked} answered.")
        applications = [_asking(opened, name, template, decoding) for name, template in templates]
        if stands_in:
            notes.append(
                f"No model is configured: {opened.name} answered, which repeats its prompt. This tries "
                "examples and metrics, not prompts; name a model to compare them."
            )
        elif opened.name.startswith("scripted:"):
            notes.append(f"{opened.name} plays given answers: nothing follows for another model.")
    strict = 1 - (1 - confidence) / max(1, len(templates) - 1)
    reports = [
        measure(one, read, scored, workers=workers, cache=cache, confidence=confidence, progress=progress,
                kind="prompts")
        for one in applications
    ]  # fmt: skip
    first = reports[0]
    told = [
        metric.name for metric in scored if metric.unit != "s"
    ]  # seconds of different moments tell nothing
    found = tuple(
        Variant(
            name=name,
            version=template.version,
            report=report,
            means={str(m["name"]): m for m in report.measurements},
            against={
                c.metric: c
                for c in (
                    compare_reports(report, first, margin=margin, metrics=told, confidence=strict)
                    if report is not first and told
                    else ()
                )
            },
        )
        for (name, template), report in zip(templates, reports, strict=True)
    )
    metric = scored[0].name
    winner = _winner(found, metric, margin, strict)
    if len(read) < LEAST:
        notes.append(
            f"{len(read)} examples are too few to choose by: no winner is named below {LEAST}. "
            "A prompt that was tried on a handful is not tried."
        )
        winner = None
    if app is None and stands_in:
        winner = None
    if metric not in told:
        notes.append(f"{metric} was taken at different moments and gets no verdict: name another one first.")
    if len(templates) > 2:
        notes.append(
            f"{len(templates) - 1} verdicts share an error of {1 - confidence:.0%}: each is at {strict:.1%}."
        )
    return PromptsCompared(
        variants=found,
        metric=metric,
        winner=winner,
        model=asked,
        examples=len(read),
        confidence=strict,
        notes=tuple(notes),
    )


def _named(templates: Sequence[Template]) -> list[tuple[str, Template]]:
    """Two or more different wordings, each with a name of its own."""
    if len(templates) < 2:
        raise InputError(
            f"{len(templates)} wording was given.", hint="Give two or more files: prompts/a.md prompts/b.md"
        )
    found: list[tuple[str, Template]] = []
    for number, template in enumerate(templates, 1):
        same = next((name for name, other in found if other.hash == template.hash), None)
        if same is not None:
            raise InputError(
                f"{template.name!r} says the same as {same!r} (version {template.version}).",
                hint="Change one of them, or leave it out.",
            )
        name = template.name or f"variant {number}"
        taken = name in [other for other, _ in found]
        found.append((f"{name} {template.version}" if taken else name, template))
    return found


def _prompt_of(app: App, name: str) -> PromptHandle:
    """The prompt of an application that is exchanged."""
    handles = [handle for handle in (*app.handles, *app.opened) if isinstance(handle, PromptHandle)]
    known = dict.fromkeys(handle.name for handle in handles)
    if name:
        for handle in handles:
            if handle.name == name:
                return handle
        listed = ", ".join(known) or "none"
        raise NotFound(f"{app.name!r} uses no prompt {name!r}.", hint=f"It uses: {listed}.")
    if len(known) != 1:
        raise InputError(
            f"{app.name!r} uses {len(known)} prompts that can be exchanged.",
            hint=f"Say which one: {', '.join(known)}."
            if known
            else "Make its prompt exchangeable: hr.prompt('NAME') in its file, prompts/NAME.md beside it.",
        )
    return handles[0]


def _model(given: str | ModelHandle | Model | None) -> tuple[Model, bool]:
    """The model to ask, and whether it only stands in because none is configured."""
    if given is None or isinstance(given, (str, ModelHandle)):
        handle = given if isinstance(given, ModelHandle) else ModelHandle(given or "auto", root=find_root())
        try:
            return handle.open(), False
        except Unavailable:
            if given is not None:
                raise
            return ModelHandle(STAND_IN, root=find_root()).open(), True
    return given, False


def _asking(model: Model, name: str, template: Template, decoding: Decoding | None) -> App:
    """The application that fills the template, asks the model and gives its answer."""
    llm = ModelHandle("auto", root=find_root())
    wording = PromptHandle("variant", root=find_root())
    base = decoding or _decoding(template)

    def ask(**inputs: str) -> Answer:
        opened = llm.open()
        made = wording.rendered(inputs, model=opened.name)
        settings = replace(base, stop=tuple(dict.fromkeys((*base.stop, *made.stop))))
        return _answer(template, opened.complete(made.messages, settings))

    _typed(ask, template.variables)
    called = f"prompt {name}" + (f" {digest(to_json(decoding))[:8]}" if decoding else "")  # other rows
    made = App(ask, name=called, root=find_root(), replacements={llm: model, wording: template})
    made.file = None  # its code is ours, not the project's
    return made


def _typed(function: Callable[..., Any], names: Sequence[str]) -> None:
    """Give a function that takes anything the signature of these texts."""
    kind = inspect.Parameter.KEYWORD_ONLY
    function.__annotations__ = {**dict.fromkeys(names, str), "return": Answer}
    parameters = [inspect.Parameter(name, kind, annotation=str) for name in names]
    function.__signature__ = inspect.Signature(parameters, return_annotation=Answer)  # type: ignore[attr-defined]


def _decoding(template: Template) -> Decoding:
    """As the prompt's file says, else greedy: of two draws one is better by chance."""
    said = dict(template.decoding) if isinstance(template, FourPart) else {}
    try:
        return Decoding(**said)
    except TypeError as error:
        raise InputError(
            f"The prompt {template.name!r} has a decoding that cannot be used: {error}.",
            hint="Settings: temperature, top_p, top_k, num_beams, max_new_tokens, seed, stop.",
        ) from error


def _answer(template: Template, made: Completion) -> Answer:
    """What the metrics see: after steps, the answer alone; a label without what models put round it; the
    fixed refusal as an abstention."""
    text, refusal = made.text.strip(), ""
    if isinstance(template, FourPart):
        refusal = template.refusal
        if template.options.steps:
            text = final_answer(text).answer or text
        plain = text.strip(".\"'`* ").casefold()
        text = next((label for label in template.labels if label.casefold() == plain), text)
    return Answer(text=text, abstained=is_refusal(text, refusal), answered_by=made.model, usage=made.usage)


def _winner(variants: Sequence[Variant], metric: str, margin: float | None, confidence: float) -> str | None:
    """The wording that is better than each other one that might be the best, by the metric's verdicts."""
    first, *others = variants
    if any(metric not in other.against for other in others):
        return None
    if any(other.against[metric].method == "nothing to compare" for other in others):
        return None
    if all(other.against[metric].verdict == "worse" for other in others):
        return first.name
    better = [other for other in others if other.against[metric].verdict == "better"]
    if not better:
        return None
    down = better[0].against[metric].direction == "lower"
    best = sorted(better, key=lambda v: float(v.means[metric]["value"]), reverse=not down)[0]
    for rival in others:
        if rival is best or rival.against[metric].verdict == "worse":
            continue
        (found,) = compare_reports(
            best.report, rival.report, margin=margin, metrics=[metric], confidence=confidence
        )
        if found.verdict != "better":
            return None
    return best.name
