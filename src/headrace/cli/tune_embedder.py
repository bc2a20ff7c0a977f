"""tune embedder: pairs and a corpus in, a folder for [embedder] model out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.console import counted, json_option, print_json, say, table

if TYPE_CHECKING:
    from headrace.measure.verdict import Verdict
    from headrace.protocols import Progress
    from headrace.tuning.embedder import EmbedderTuning, Plan, Tuned


@click.command(
    epilog="""\b
Examples:
  headrace tune embedder pairs.jsonl --kb kb --dry-run
  headrace tune embedder pairs.jsonl --corpus passages.jsonl --test test.jsonl
  headrace tune embedder pairs.jsonl --kb kb --out ./tuned --json

\b
A line of pairs: {"question": "…", "documents": ["leave.md"]}
            or:  {"question": "…", "passage": "…"}"""
)
@click.argument("pairs", type=click.Path(path_type=Path))
@click.option("--kb", "kb_name", default="", metavar="KB", help="The knowledge base that is searched.")
@click.option(
    "--corpus", type=click.Path(path_type=Path), multiple=True, help="Or files of passages: id, title, text."
)
@click.option(
    "--test", type=click.Path(path_type=Path), help="Pairs to measure on.  [default: a fifth of PAIRS]"
)
@click.option("--drop-shared", is_flag=True, help="Take out of PAIRS what is in the test too, or nearly.")
@click.option("--base", default="", metavar="MODEL", help="Embedder to start from.  [default: the project's]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("tuned-embedder"),
    show_default=True,
    help="Folder for the artifact. A run that was stopped goes on from there.",
)
@click.option("--precision", default="", help="int8, bf16 or f32, to measure in.  [default: the project's]")
@click.option("--epochs", type=int, help="Times over all pairs.")
@click.option("--batch", type=int, help="Pairs a step.")
@click.option("--rate", type=float, help="Highest learning rate.")
@click.option("--tokens", type=int, help="Where texts are cut in training.")
@click.option("--frozen", type=int, help="Lowest layers left as they are; -1: none.")
@click.option("--negatives", type=int, help="Mined negatives a pair and step.")
@click.option("--seed", type=int, help="Of splits, order and choice of negatives.")
@click.option("--licence", default="", help="Of the pairs and the corpus, for the manifest.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and what it would take.")
@json_option
def embedder(
    pairs: Path,
    kb_name: str,
    corpus: tuple[Path, ...],
    test: Path | None,
    drop_shared: bool,
    base: str,
    out: Path,
    precision: str,
    licence: str,
    dry_run: bool,
    as_json: bool,
    **recipe: Any,
) -> None:
    """Tune the embedder on questions and the passages that answer them.

    Hard negatives are mined with the embedder in use, checkpoints are compared on questions split
    off from PAIRS, and base and tuned are measured on the test questions once, by the runtime that
    searches. Set [embedder] model to the folder and ingest again to use it.
    """
    from headrace.settings import home, load
    from headrace.tuning.embedder import EmbedderTuning, Recipe

    found, where = _read(pairs, kb_name, corpus)
    settings = load()
    tuning = EmbedderTuning(
        found,
        where,
        test=_read_test(test, where),
        out=out,
        home=home(),
        base=base or settings.embedder.model,
        precision=precision or settings.embedder.precision,
        recipe=Recipe(**{name: value for name, value in recipe.items() if value is not None}),
        drop_shared=drop_shared,
        licence=licence,
        threads=settings.embedder.threads,
        policy=settings.network,
    )
    plan = tuning.plan()
    if dry_run:
        if as_json:
            print_json({"plan": plan, "settings": tuning.recipe, "out": str(tuning.out)})
        else:
            _show_plan(plan, tuning)
        return
    if not as_json:
        _show_plan(plan, tuning)
    try:
        result = tuning.run(lambda title: _phase(title, as_json))
    except KeyboardInterrupt:
        say(f"\nThe best so far is in {str(tuning.out)!r}; the same command goes on from where it stopped.")
        raise
    if as_json:
        print_json(as_contract(result))
    else:
        _show(result)


@click.command(
    epilog="""\b
Examples:
  headrace tune rank-embedders questions.jsonl --kb kb --model ./tuned
  headrace tune rank-embedders q.jsonl --corpus p.jsonl --model A --model B --json"""
)
@click.argument("questions", type=click.Path(path_type=Path))
@click.option("--kb", "kb_name", default="", metavar="KB", help="The knowledge base that is searched.")
@click.option(
    "--corpus", type=click.Path(path_type=Path), multiple=True, help="Or files of passages: id, title, text."
)
@click.option(
    "--model", "models", multiple=True, metavar="MODEL", help="A folder or name; as many as you like."
)
@click.option("--precision", default="", help="int8, bf16 or f32.  [default: the project's]")
@json_option
def rank_embedders(
    questions: Path,
    kb_name: str,
    corpus: tuple[Path, ...],
    models: tuple[str, ...],
    precision: str,
    as_json: bool,
) -> None:
    """Rank embedders on your own questions: hit@k and nDCG@10, searched by meaning alone.

    The project's embedder comes first, and each other one is set against it on the same questions.
    """
    from headrace.settings import home, load
    from headrace.tuning.ranking import rank_embedders as rank

    found, where = _read(questions, kb_name, corpus)
    settings = load()
    places = rank(
        [settings.embedder.model, *(m for m in models if m != settings.embedder.model)],
        found,
        where,
        precision=precision or settings.embedder.precision,
        home=home(),
        threads=settings.embedder.threads,
        policy=settings.network,
        phase=lambda title: counted(title, quiet=as_json),
    )
    if as_json:
        print_json(places)
        return
    rows = [
        [
            place.name,
            f"{place.ndcg.value:.3f} [{place.ndcg.low:.3f}, {place.ndcg.high:.3f}]",
            *(f"{hit.value:.2f}" for hit in place.hits.values()),
            f"{place.passages_per_second:.0f}",
        ]
        for place in places
    ]
    click.echo(table(["embedder", "nDCG@10", *places[0].hits, "passages/s"], rows, right=(2, 3, 4, 5)))
    ours = next(place.name for place in places if place.against_first is None)
    for place in places:
        if (gap := place.against_first) is not None:
            click.echo(f"\n{place.name} against {ours}: {_said(gap)}")


def _said(gap: Verdict) -> str:
    """A difference as people read it: +0.031 (+0.008 to +0.054), 300 questions: better."""
    if gap.difference is None or gap.low is None or gap.high is None:
        return f"{gap.n} questions: {gap.verdict}"
    bounds = f"({gap.low:+.3f} to {gap.high:+.3f})"
    return f"{gap.difference:+.3f} {bounds}, {gap.n} questions: {gap.verdict}"


def as_contract(result: Tuned) -> dict[str, Any]:
    """What --json prints: the artifact and its figures, without the rows."""
    from headrace.types import to_json

    found: dict[str, Any] = to_json(result)
    del found["rows"]
    return {**found, "artifact": str(result.artifact)}


def _read(pairs: Path, kb_name: str, corpus: tuple[Path, ...]) -> tuple[Any, Any]:
    from headrace.cli.console import knowledge_base
    from headrace.tuning.pairs import corpus_of, read_corpus, read_questions

    if kb_name and corpus:
        raise click.UsageError("--kb and --corpus both say where the passages are: give one.")
    given = corpus_of(knowledge_base(kb_name)) if kb_name else read_corpus(corpus) if corpus else None
    return read_questions(pairs, given)


def _read_test(test: Path | None, where: Any) -> Any:
    from headrace.tuning.pairs import read_questions

    return read_questions(test, where)[0] if test else ()


@contextmanager
def _phase(title: str, quiet: bool) -> Iterator[Progress | None]:
    bar: AbstractContextManager[Progress | None] = counted(title, quiet=quiet)
    with bar as tell:
        yield tell


def _show_plan(plan: Plan, tuning: EmbedderTuning) -> None:
    say(f"{plan.questions:,} questions, {plan.pairs:,} pairs to train on; {plan.validation:,} to choose by;")
    say(f"{plan.test:,} to test; {plan.passages:,} passages.")
    if plan.dropped:
        say(f"Left out, because the test has them too, or nearly: {plan.dropped} questions.")
    if tuning.near:
        say(f"{tuning.near} are near-duplicates of test questions (--drop-shared leaves them out).")
    say(f"{plan.steps} steps, {plan.trained_parameters / 1e6:.1f} million parameters are trained.")
    time = f"About {plan.minutes:.0f} minutes" if plan.minutes >= 1 else "Less than a minute"
    say(f"{time} on two cores that do nothing else, {plan.memory_mb:,} MB.\n")


def _show(result: Tuned) -> None:
    def row(name: str, found: Any) -> list[str]:
        return [name, f"{found.value:.3f}", f"{found.low:.3f} to {found.high:.3f}"]

    click.echo(
        table([result.metric, "value", "95 %"], [row("base", result.baseline), row("tuned", result.tuned)])
    )
    click.echo(f"\nDifference {_said(result.difference)}")
    chosen = result.chosen
    if not chosen["epoch"]:
        click.echo("No checkpoint was better than the base on the validation questions: this is the base.")
    else:
        click.echo(f"Chosen: epoch {chosen['epoch']}, {chosen['share']:.0%} tuned weights.")
    click.echo(f"Parity with the runtime {result.parity:.6f} · {result.seconds:.0f} s")
    click.echo(f'\n{result.artifact}\nTo use it, in headrace.toml:  [embedder]  model = "{result.artifact}"')
    click.echo("and ingest again: vectors of two embedders never meet in one knowledge base.")
