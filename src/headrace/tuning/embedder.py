"""An embedder tuned on question-passage pairs, as a folder that the torch-free runtime opens.

The order: split off what checks and what tests · embed the corpus with the current embedder · mine
hard negatives · train · compare the checkpoints, and mixtures of the best one with the base
(Wortsman et al. 2022, arXiv:2109.01903), on the validation questions · write the folder · measure
base and tuned on the test questions, once, by the runtime that will search.

Whatever is chosen is chosen on questions split off from the pairs. Not here: reading (``pairs``),
the loss and the loop (``contrastive``), the model (``encoder``).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Conflict, InputError
from headrace.measure.statistics import Interval, mean
from headrace.measure.verdict import Verdict, paired
from headrace.models.embedder import SentenceEmbedder, check_precision, open_embedder
from headrace.models.weights import find_weights
from headrace.protocols import Progress
from headrace.settings import Policy
from headrace.tuning import artifact
from headrace.tuning.contrastive import Recipe, Training
from headrace.tuning.encoder import Encoder, check_frozen
from headrace.tuning.mining import Pair, mine, ndcg, pool
from headrace.tuning.pairs import Corpus, Question, hash_of, leaks, refuse_leaks, split
from headrace.types import digest

Floats = NDArray[np.float32]
Phase = Callable[[str], AbstractContextManager[Progress | None]]

METRIC = "ndcg@10"
VALIDATION = 0.12  # of the questions that are trained on
TESTED = 0.2  # of the questions, where no test file is given
MARGIN = 0.01  # of nDCG@10: what is less is no difference that matters
NEIGHBOURS = 10  # passages per validation question on which checkpoints are compared
MIXTURES = (0.6,)  # shares of the tuned weights that are tried besides 1
PARITY_TEXTS = 400
LEAST = 8  # questions
WORK = ".work"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run would do: counts, and what it would take on this machine, roughly."""

    pairs: int
    questions: int
    validation: int
    test: int
    passages: int
    steps: int
    trained_parameters: int
    minutes: float
    memory_mb: int
    dropped: int


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What came of it. ``baseline`` and ``tuned`` are nDCG@10 on the test questions, searched by
    meaning alone; ``difference`` is tuned - baseline, paired by question. ``parity`` is the lowest
    cosine between torch and the runtime in f32 over ``PARITY_TEXTS`` passages. ``seconds`` covers
    everything, mining and measuring too, and earlier runs up to the checkpoint that this one went on
    from; ``cpu_seconds`` what all cores together worked.
    """

    artifact: Path
    metric: str
    baseline: Interval
    tuned: Interval
    difference: Verdict
    parity: float
    seconds: float
    cpu_seconds: float
    plan: Plan
    chosen: dict[str, Any]
    tried: list[dict[str, Any]]
    losses: list[float]
    resumed: int
    rows: list[dict[str, Any]]


class EmbedderTuning:
    """One tuning, made ready: ``plan()`` says what it would do, ``run()`` does it.

    ``test``: questions that are only measured on; without them a fifth of the questions is set
    aside. ``drop_shared`` takes out of the pairs what a test question gives away, the same and
    near-duplicates; without it the same question in both is refused. ``licence`` is that of the
    pairs and the corpus, in the user's words; it is written into the manifest.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        corpus: Corpus,
        *,
        test: Sequence[Question] = (),
        out: Path,
        home: Path,
        base: str = "",
        precision: str = "int8",
        recipe: Recipe | None = None,
        drop_shared: bool = False,
        licence: str = "",
        threads: int = 0,
        policy: Policy | str = "named",
    ) -> None:
        self.recipe, self.corpus, self.licence = recipe or Recipe(), corpus, licence
        self.home, self.precision, self.threads, self.policy = home, precision, threads, policy
        self.out, self.work = out.absolute(), out.absolute() / WORK
        # after run(): (test questions, passages) as vectors of the base and of the tuned embedder
        self.ranked: dict[str, tuple[Floats, Floats]] = {}
        train, self.near = list(questions), 0
        if len(train) < LEAST:
            raise InputError(
                f"{len(train)} questions to tune on.", hint=f"Give {LEAST} or more; hundreds help."
            )
        if test:
            given = list(test)
            if drop_shared:
                away = {a.text for a, _, _ in leaks(train, given)}
                train = [q for q in train if q.text not in away]
            refuse_leaks(train, given)
            self.near = len(leaks(train, given))
        else:
            train, given = split(train, TESTED, self.recipe.seed)
        self.dropped = len(questions) - len(train) if test else 0
        self.test = given
        self.train, self.validation = split(train, VALIDATION, self.recipe.seed)
        if not (self.train and self.validation and self.test):
            raise InputError(
                f"{len(questions)} questions cannot be split into three parts that share no document "
                f"({len(self.train)} to train on, {len(self.validation)} to choose by, {len(self.test)} "
                "to test).",
                hint="Give questions about more documents, or a --test file.",
            )
        if (self.out / artifact.MANIFEST).exists() and not self.work.exists():
            raise Conflict(f"{str(self.out)!r} holds a tuned embedder.", hint="Name another --out.")
        check_precision(precision)
        self.base = find_weights(base, home=home, policy=policy, originals=True)
        check_frozen(self.recipe.frozen, self.base.shape.layers)
        self.key = digest(
            [asdict(self.recipe), self.base.sha256, corpus.hash, precision]
            + [hash_of(part) for part in (self.train, self.validation, self.test)]
        )

    def plan(self) -> Plan:
        """Counts are exact but for the steps (a pair without a passage drops out), times are rough."""
        recipe, shape = self.recipe, self.base.shape
        pairs = sum(len(q.documents) for q in self.train)
        steps = max(1, round(pairs / recipe.batch)) * recipe.epochs
        trained = shape.layers - max(recipe.frozen, 0)
        layer = 12 * shape.width**2  # multiplications per token
        tokens = recipe.batch * (1 + recipe.negatives) * recipe.tokens + recipe.batch * 30
        whole = shape.layers * layer * shape.window * len(self.corpus)
        pooled = shape.layers * layer * shape.window * NEIGHBOURS * len(self.validation)
        work = 2 * (
            steps * tokens * layer * trained * 3 + (recipe.epochs + len(MIXTURES)) * pooled + 2 * whole
        )
        return Plan(
            pairs=pairs,
            questions=len(self.train),
            validation=len(self.validation),
            test=len(self.test),
            passages=len(self.corpus),
            steps=steps,
            trained_parameters=trained * (layer + 13 * shape.width),
            minutes=round(work / _SPEED / 60, 1),
            memory_mb=round(900 + tokens * trained * 24 * shape.width * 4 / 2**20),
            dropped=self.dropped,
        )

    def run(self, phase: Phase = lambda title: nullcontext()) -> Tuned:
        """Everything, from the checkpoint where there is one. Ctrl-C keeps the best so far: the
        artifact is written with what validation said of it, and the same call goes on later."""
        began, worked = time.monotonic(), time.process_time()

        def clock() -> tuple[float, float]:
            return time.monotonic() - began, time.process_time() - worked

        plan = self.plan()
        encoder = Encoder(
            self.base, frozen=self.recipe.frozen, window=self.recipe.tokens, threads=self.threads
        )
        start = encoder.state()
        current = self._open(self.base.model)
        vectors = self._vectors(current, phase)
        asked = {
            name: current.embed([q.text for q in part])
            for name, part in (("train", self.train), ("validation", self.validation), ("test", self.test))
        }
        pairs = mine(self.train, self.corpus, asked["train"], vectors)
        choice = _Choice(self, encoder, start, vectors, asked["validation"])
        training = Training(encoder, pairs, self.corpus, self.recipe, self.work, self.key)
        training.clock = clock
        choice.restore(training.notes)
        try:
            with phase("training") as progress:
                training.run(choice.epoch_ended, progress)
            with phase("mixing with the base"):
                choice.mix()
        except KeyboardInterrupt:
            if choice.best:
                self._write(encoder, choice, training, {"stopped": True, "steps": training.done})
            raise
        self._write(encoder, choice, training, {})
        parity = self._parity(encoder)
        before = ndcg(self.test, self.corpus.documents, asked["test"], vectors)
        tuned = self._open(str(self.out))
        with phase("embedding with the tuned") as progress:
            found = tuned.embed(self.corpus.texts, progress)
        asked["tuned"] = tuned.embed([q.text for q in self.test])
        after = ndcg(self.test, self.corpus.documents, asked["tuned"], found)
        self.ranked = {"base": (asked["test"], vectors), "tuned": (asked["tuned"], found)}
        same = [min(q.documents) for q in self.test]  # questions about one document go together
        result = Tuned(
            artifact=self.out,
            metric=METRIC,
            baseline=mean(before, bounds=(0, 1), clusters=same),
            tuned=mean(after, bounds=(0, 1), clusters=same),
            difference=paired(after, before, direction="higher", margin=MARGIN, bounds=(0, 1), clusters=same),
            parity=parity,
            seconds=round(training.spent[0] + clock()[0], 1),
            cpu_seconds=round(training.spent[1] + clock()[1], 1),
            plan=plan,
            chosen=choice.best,
            tried=choice.tried,
            losses=training.losses,
            resumed=training.resumed,
            rows=[
                {"question": q.text, "baseline": round(b, 4), "tuned": round(a, 4)}
                for q, b, a in zip(self.test, before, after, strict=True)
            ],
        )
        self._write(encoder, choice, training, artifact.figures(result))
        shutil.rmtree(self.work, ignore_errors=True)
        return result

    # ----------------------------------------------------------------- parts

    def _open(self, model: str, precision: str = "") -> SentenceEmbedder:
        home = self.home if model == self.base.model else self.work / "home"
        return open_embedder(
            model, precision or self.precision, home=home, threads=self.threads, policy=self.policy
        )

    def _vectors(self, current: SentenceEmbedder, phase: Phase) -> Floats:
        """The corpus by the base, kept while the run lasts: a run that goes on has them."""
        mark = digest([dict(current.identity), self.corpus.hash])[:16]
        path = self.work / f"base-{mark}.npy"
        if path.is_file():
            kept: Floats = np.load(path)
            return kept
        with phase("embedding with the base") as progress:
            found = current.embed(self.corpus.texts, progress)
        self.work.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part.npy")
        np.save(beside, found)
        beside.replace(path)
        return found

    def embed_with(self, encoder: Encoder, state: dict[str, Any], texts: Sequence[str]) -> Floats:
        """Vectors by the runtime of a state of training."""
        folder = self.work / "candidate"
        encoder.save(folder, state)
        try:
            return self._open(str(folder)).embed(texts)
        finally:
            shutil.rmtree(folder)
            shutil.rmtree(self.work / "home", ignore_errors=True)

    def _write(self, encoder: Encoder, choice: _Choice, training: Training, more: dict[str, Any]) -> None:
        encoder.save(self.out, choice.state)
        artifact.write(
            self.out,
            base=self.base,
            recipe=asdict(self.recipe),
            data={
                "train": hash_of(self.train),
                "validation": hash_of(self.validation),
                "test": hash_of(self.test),
                "corpus": self.corpus.hash,
                "corpus_source": self.corpus.source,
                "near_duplicates_of_test_in_train": self.near,
            },
            licence=self.licence,
            more={"chosen": choice.best, "tried": choice.tried, "steps": training.done, **more},
        )

    def _parity(self, encoder: Encoder) -> float:
        """Lowest cosine between the tuned weights in torch and the artifact in the runtime, in f32."""
        texts = [*self.corpus.texts[: PARITY_TEXTS - PARITY_TEXTS // 4], *(q.text for q in self.test)]
        texts = texts[:PARITY_TEXTS]
        fresh = find_weights(str(self.out), home=self.work / "home", policy="off", originals=True)
        exact = Encoder(fresh, frozen=0, window=fresh.shape.window, threads=self.threads).vectors(texts)
        served = self._open(str(self.out), "f32").embed(texts)
        return float((exact * served).sum(1).min())


_SPEED = 110e9  # operations a second of two cores, training and embedding together: for the plan


class _Choice:
    """Which state is best on the validation questions: the base, an epoch's, or a mixture."""

    def __init__(
        self, tuning: EmbedderTuning, encoder: Encoder, start: dict[str, Any], vectors: Floats, asked: Floats
    ) -> None:
        self.tuning, self.encoder, self.start = tuning, encoder, start
        questions, corpus = tuning.validation, tuning.corpus
        self.rows = pool(questions, corpus, asked, vectors, NEIGHBOURS)
        self.documents = [corpus.documents[row] for row in self.rows]
        self.tried: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}
        self.state: dict[str, Any] = start
        base = float(np.mean(ndcg(questions, self.documents, asked, vectors[self.rows])))
        self._offer({"epoch": 0, "share": 0.0, METRIC: round(base, 4)}, start)

    def restore(self, notes: Sequence[dict[str, Any]]) -> None:
        """What an earlier run of the same work had measured, and the best state that it kept."""
        for note in notes:
            path = self._path(note["epoch"])
            self._offer(dict(note), dict(np.load(path)))

    def epoch_ended(self, epoch: int, loss: float) -> dict[str, Any]:
        state = self.encoder.state()
        path = self._path(epoch)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, allow_pickle=False, **state)
        note = {"epoch": epoch, "share": 1.0, "loss": round(loss, 4), METRIC: self._score(state)}
        self._offer(note, state)
        return note

    def mix(self) -> None:
        """Mixtures of the base with the best epoch, which often beat both."""
        if not self.best["epoch"]:
            return
        epoch, tuned = self.best["epoch"], self.state
        for share in MIXTURES:
            mixed = {name: (1 - share) * self.start[name] + share * tuned[name] for name in tuned}
            self._offer({"epoch": epoch, "share": share, METRIC: self._score(mixed)}, mixed)

    def _path(self, epoch: int) -> Path:
        return self.tuning.work / f"epoch-{epoch}.npz"

    def _score(self, state: dict[str, Any]) -> float:
        tuning = self.tuning
        asked = [q.text for q in tuning.validation]
        found = tuning.embed_with(
            self.encoder, state, [*asked, *(tuning.corpus.texts[row] for row in self.rows)]
        )
        scores = ndcg(tuning.validation, self.documents, found[: len(asked)], found[len(asked) :])
        return round(float(np.mean(scores)), 4)

    def _offer(self, note: dict[str, Any], state: dict[str, Any]) -> None:
        self.tried.append(note)
        if not self.best or note[METRIC] > self.best[METRIC]:
            self.best, self.state = note, state


__all__ = ["METRIC", "EmbedderTuning", "Pair", "Plan", "Recipe", "Tuned"]
