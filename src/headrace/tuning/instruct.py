"""Instruction tuning: rows of questions and answers + a base model → a model folder with its figures.

``instruct`` reads, splits, judges the base, trains, saves, loads what was saved, and judges that, on rows
that it never saw. The folder is what ``hr.model("local:FOLDER")`` opens; ``manifest.json`` in it says from
what it was made, how, and how good it is. Not here: the tokens (``formatter.py``), TRL (``training.py``).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from headrace.errors import InputError
from headrace.matter import front_matter
from headrace.models import licence as licences
from headrace.models.local import LocalModel
from headrace.models.weights import sha256_of, write_json
from headrace.protocols import Progress
from headrace.search.lock import WriterLock
from headrace.settings import home
from headrace.tuning import data, judging, training
from headrace.tuning.data import Labels, Row
from headrace.tuning.formatter import Formatter, Tokens
from headrace.tuning.training import Course
from headrace.types import Completion, Decoding, digest

FORMAT = 1
MANIFEST = "manifest.json"
WORK = "training"  # checkpoints, losses, event files: inside the artifact
COMPARED = 8  # rows on which the saved model is compared with the trained one, token by token
BASE_PROMPTS = 16
CHARACTERS = ("model.safetensors", "tokenizer.json", "config.json")


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learned and where it goes. ``held_out`` is a share of the rows, or a file of its own.

    ``prompts``: so many held-out rows are also answered, to see whether answers end. ``demand`` is what
    the licences of base and data must allow (``models.licence``), ``override`` a reason to go on anyway.
    """

    data: Path
    base: Path
    out: Path
    name: str = ""
    held_out: float | Path = 0.1
    labels: Labels | None = None
    max_length: int = 0  # tokens of a row; 0: the model's window
    prompts: int = 100
    licence: str = ""
    demand: str = "any"
    override: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would take, before it is started. ``memory`` in bytes; ``seconds`` of training alone."""

    parameters: int
    trained: int
    rows: int
    held_out: int
    tokens: int
    steps: int
    seconds_a_step: float
    seconds: float
    memory: int
    left_out: Mapping[str, int]


Tell = Callable[[str], None]


class Prepared:
    """Base and rows, read and checked: what :func:`plan` and :func:`instruct` both begin with."""

    def __init__(self, task: Task, course: Course, tell: Tell) -> None:
        self.task, self.course = task, course
        self.name = task.name or task.base.name
        rows = data.read(task.data, labels=task.labels)
        if isinstance(task.held_out, Path):
            self.split = data.apart(rows, data.read(task.held_out, labels=task.labels))
        else:
            self.split = data.split(rows, share=task.held_out, seed=course.seed)
        self.licences = _licences(task)
        self.tokenizer = training.load_tokenizer(task.base)
        self.formatter = Formatter(self.tokenizer, name=self.name, ends=training.ends_of(task.base))
        self.formatter.check([*self.split.train, *self.split.held_out])
        self.model = training.load_model(task.base)
        window = training.window_of(self.model)
        self.longest = min(task.max_length or window or 2048, window or 10**9)
        self.train, _, long = self._tokens(self.split.train)
        self.judged, self.kept, long_too = self._tokens(self.split.held_out)
        self.groups = [self.split.groups[i] for i in self.kept]
        self.left_out = {"repeated": len(self.split.repeated), "too long": long + long_too}
        if not self.train or not self.judged:
            side = "learn from" if not self.train else "judge by"
            raise InputError(
                f"No row to {side} has at most {self.longest} tokens.",
                hint="Give shorter rows, or a base with a longer window. Rows are never cut: an answer "
                "without its end would teach never to stop.",
            )
        if long + long_too:
            tell(f"{long + long_too} rows have more than {self.longest} tokens and are left out.")
        if self.split.repeated:
            row, earlier = self.split.repeated[0]
            tell(f"{len(self.split.repeated)} rows repeat another and are left out ({row} is {earlier}).")

    def _tokens(self, rows: Sequence[Row]) -> tuple[list[Tokens], list[int], int]:
        made = [self.formatter.tokens(row) for row in rows]
        fits = [i for i, row in enumerate(made) if len(row.ids) <= self.longest and row.response]
        return [made[i] for i in fits], fits, len(made) - len(fits)

    @property
    def rows(self) -> list[Row]:
        """The held-out rows that are judged."""
        return [self.split.held_out[i] for i in self.kept]

    def key(self) -> str:
        """SHA-256 over everything that decides the result: two runs with one key give one model."""
        held = data.hash_of(self.split.held_out)
        return digest(
            {
                "format": FORMAT,
                "base": self.base_hash(),
                "rows": [data.hash_of(self.split.train), held],
                "course": asdict(replace(self.course, checkpoint=0, threads=0)),
                "formatter": [self.longest, self.formatter.describe()],
            }
        )

    def base_hash(self) -> str:
        """SHA-256 over the base's weights, tokenizer and configuration."""
        files = [*sorted(self.task.base.glob("*.safetensors"))]
        files += [p for name in CHARACTERS[1:] if (p := self.task.base / name).is_file()]
        return digest([[p.name, sha256_of(p, home())] for p in files])


def _licences(task: Task) -> Mapping[str, Any]:
    """What base and data say of their licences; Refused where the demand is not met, before training."""
    card = task.base / "README.md"
    stated = front_matter(card.read_text(encoding="utf-8", errors="replace"))[0] if card.is_file() else {}
    base = licences.Used(name=task.name or task.base.name, licence=licences.read(stated.get("license")))
    rows = licences.Used(name=task.data.name, licence=licences.read(task.licence))
    found = licences.check([base, rows], demand=task.demand, purpose="tuning", override=task.override)
    return {
        "base": asdict(base.licence),
        "data": asdict(rows.licence),
        "demand": task.demand,
        "verdict": found.verdict,
        "why": found.why,
    }


# --------------------------------------------------------------------------- before


def plan(task: Task, course: Course, *, tell: Tell = lambda _: None) -> Plan:
    """What the run would take: three real steps are made and thrown away, memory is computed.

    Memory: weights, and for what is trained its gradient and Adam's two moments, all in 4 bytes; and
    the activations of a batch, by the length of the longest row. A bound from experience, not a promise.
    """
    prepared = Prepared(task, course, tell)
    with training.quietly(prepared.model, course):
        model = training.adapted(prepared.model, course)
        parameters, trained = training.count(model)
        seconds = training.timed(model, prepared.train, course)
    steps = training.steps_of(len(prepared.train), course)
    config = prepared.model.config
    longest = max(len(row.ids) for row in prepared.train)
    layers, width = getattr(config, "num_hidden_layers", 12), getattr(config, "hidden_size", 768)
    activations = course.batch * longest * (layers * width * 16 + 3 * config.vocab_size) * 4
    return Plan(
        parameters=parameters,
        trained=trained,
        rows=len(prepared.train),
        held_out=len(prepared.judged),
        tokens=sum(len(row.ids) for row in prepared.train),
        steps=steps,
        seconds_a_step=seconds,
        seconds=seconds * steps,
        memory=parameters * 4 + trained * 12 + activations,
        left_out=prepared.left_out,
    )


# --------------------------------------------------------------------------- the run


def instruct(
    task: Task,
    course: Course = Course(),  # noqa: B008  # frozen
    *,
    progress: Progress | None = None,
    tell: Tell = lambda _: None,
) -> Mapping[str, Any]:
    """Tune, and return the manifest: ``artifact, baseline, tuned`` (perplexities), ``seconds, parity``, …

    A run that was stopped, by Ctrl-C or by a kill, goes on after its last checkpoint when it is called
    again with the same arguments; one that is done returns its manifest. Raises InputError for data that
    does not fit, Refused for licences, Diverged for a loss that is not a number, Locked where another
    process writes the same folder.
    """
    started = time.perf_counter()
    prepared = Prepared(task, course, tell)
    key = prepared.key()
    done = _begin(task.out, key)
    if done is not None:
        tell(f"{task.out} holds this very run already: nothing to do.")
        return done
    with WriterLock(task.out / WORK), training.quietly(prepared.model, course):
        manifest = _run(prepared, key, started, progress, tell)
        _publish(task.out / WORK / "made", task.out, manifest)
    return manifest


def _run(
    prepared: Prepared, key: str, started: float, progress: Progress | None, tell: Tell
) -> Mapping[str, Any]:
    task, course = prepared.task, prepared.course
    work = task.out / WORK
    base = judging.judge(prepared.model, prepared.judged, progress)
    judging.numbers(base, "The base", prepared.name)
    base_ends = _ends_of_base(prepared)
    cache = bool(getattr(prepared.model.config, "use_cache", True))
    parameters = training.count(prepared.model)[0]
    model = training.adapted(prepared.model, course)
    trained, rate = training.count(model)[1], training.rate_of(model, course)
    pristine = training.load_tokenizer(task.base)  # TRL changes the one that it is given
    Formatter(pristine, name=prepared.name, ends=training.ends_of(task.base))
    losses, begun = training.train(model, prepared.tokenizer, prepared.train, course, work, progress)
    if begun:
        tell(f"Went on after the checkpoint of step {begun}.")
    few = prepared.judged[:COMPARED]
    before = judging.logits(model, few)
    texts_before = judging.write(model, few, most=32)
    staging = work / "made"
    shutil.rmtree(staging, ignore_errors=True)
    training.save(model, pristine, staging, base=prepared.name, end=prepared.formatter.end, cache=cache)
    del model, prepared.model
    saved = training.load_model(staging)
    parity, largest = judging.parity(before, judging.logits(saved, few))
    same = sum(a == b for a, b in zip(texts_before, judging.write(saved, few, most=32), strict=True))
    tuned = judging.judge(saved, prepared.judged, progress)
    judging.numbers(tuned, "The tuned model", prepared.name)
    del saved
    answers = _answer(staging, prepared, progress)
    return {
        "kind": "headrace instruction-tuned model",
        "format": FORMAT,
        "key": key,
        "artifact": str(task.out),
        "metric": "perplexity of held-out answers, end left out",
        **judging.figures(base, tuned, prepared.groups),
        "stops": answers["stops"],
        "stops_base": base_ends,
        "exact": answers["exact"],
        "parity": parity,
        "parity_of": {"largest_logit_difference": largest, "same_text": same, "compared": len(few)},
        "seconds": time.perf_counter() - started,
        "resumed_from": begun,
        "base": {"name": prepared.name, "sha256": prepared.base_hash(), "parameters": parameters},
        "data": {
            "name": task.data.name,
            "sha256": data.hash_of([*prepared.split.train, *prepared.split.held_out]),
            "train": len(prepared.train),
            "held_out": len(prepared.judged),
            "held_out_groups": len(set(prepared.groups)),
            "left_out": prepared.left_out,
            "kept_together": prepared.split.near,
        },
        "licences": prepared.licences,
        "formatter": prepared.formatter.describe() | {"max_length": prepared.longest},
        "labels": dict(task.labels.words) if task.labels else None,
        "settings": asdict(course) | {"trained": trained, "rate": rate},
        "loss": {"first": losses[0]["loss"], "last": losses[-1]["loss"], "steps": len(losses)},
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _begin(out: Path, key: str) -> Mapping[str, Any] | None:
    """The manifest of a finished run; a folder of another run is refused; a new one is marked."""
    if (out / MANIFEST).is_file():
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        if manifest.get("key") == key:
            return dict(manifest)
        raise InputError(
            f"{str(out)!r} holds a model that was made from something else.",
            hint="Name another folder (--out), or remove this one first.",
        )
    mark = out / WORK / "run.json"
    if mark.is_file():
        if json.loads(mark.read_text(encoding="utf-8")).get("key") != key:
            raise InputError(
                f"{str(out)!r} holds an unfinished run with other data or settings.",
                hint="Repeat that command to go on with it, name another folder (--out), or remove this one.",
            )
    elif out.is_dir() and any(out.iterdir()):
        raise InputError(f"{str(out)!r} is not empty.", hint="Name a new folder for the model (--out).")
    else:
        mark.parent.mkdir(parents=True, exist_ok=True)
        write_json(mark, {"key": key})
    return None


def reached(out: Path) -> int:
    """The step of the last whole checkpoint of an unfinished run; 0 where there is none."""
    last = training.last_checkpoint(out / WORK) if (out / WORK).is_dir() else None
    return int(last.name.rpartition("-")[2]) if last else 0


def _publish(staging: Path, out: Path, manifest: Mapping[str, Any]) -> None:
    """Move what was saved into place, the manifest last: a folder without it is not finished."""
    for path in sorted(staging.iterdir()):
        target = out / path.name
        if target.is_dir():
            shutil.rmtree(target)
        path.replace(target)
    staging.rmdir()
    shutil.copyfile(out / WORK / training.LOSSES, out / training.LOSSES)
    shutil.copytree(out / WORK / "logs", out / "logs", dirs_exist_ok=True)
    write_json(out / MANIFEST, manifest)
    shutil.rmtree(out / WORK)  # checkpoints: not needed any more


# --------------------------------------------------------------------------- figures


def _room(prepared: Prepared) -> int:
    """Tokens that an answer may take before it counts as one that does not end: twice the longest."""
    return 2 * max(len(row.response) for row in [*prepared.train, *prepared.judged]) + 8


def _ends_of_base(prepared: Prepared) -> dict[str, Any]:
    """How often the base itself ends an answer with the marker: on a few prompts, written together."""
    few = prepared.judged[: min(prepared.task.prompts, BASE_PROMPTS)]
    if not few:
        return judging.rate(0, 0)
    room = min(_room(prepared), prepared.longest - max(len(row.prompt) for row in few))
    texts = judging.write(prepared.model, few, most=room) if room > 0 else []
    return judging.rate(sum(text[-1:] == [prepared.formatter.end] for text in texts), len(texts))


def _answer(folder: Path, prepared: Prepared, progress: Progress | None) -> dict[str, Any]:
    """Held-out prompts answered by the folder as ``hr.model`` opens it: who ends, whose text is right."""
    model = LocalModel(folder, name=prepared.name)
    most = _room(prepared)
    rows = prepared.rows[: prepared.task.prompts]
    lengths = [len(tokens.prompt) for tokens in prepared.judged]

    def one(number: int) -> Completion:
        room = most if model.window is None else min(most, model.window - lengths[number])
        return model.complete(list(rows[number].messages), Decoding(max_new_tokens=room))

    made: list[Completion] = []
    with ThreadPoolExecutor(16) as pool:  # the model writes together what arrives together
        for found in pool.map(one, range(len(rows))):
            made.append(found)
            if progress is not None:
                progress(len(made), len(rows), "answering")
    right = sum(found.text.strip() == row.response for found, row in zip(made, rows, strict=True))
    stopped = sum(found.finish == "stop" for found in made)
    return {"stops": judging.rate(stopped, len(rows)), "exact": judging.rate(right, len(rows))}
