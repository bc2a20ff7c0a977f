"""ingest, search and kb: documents in, passages out, and the health of what lies between."""

from __future__ import annotations

import time

import click

from headrace.cli.console import (
    json_option,
    kb_option,
    knowledge_base,
    print_json,
    progress,
    say,
    table,
    wrapped,
)
from headrace.errors import Corrupt, ReadError
from headrace.text import shorten


@click.command(
    epilog="""\b
Examples:
  headrace ingest docs/
  headrace ingest handbook.pdf notes/ --kb ./kb
  headrace ingest docs/ --prune --json"""
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@kb_option()
@click.option("--prune", is_flag=True, help="Remove documents whose files are gone.")
@click.option("--drop-duplicates", is_flag=True, help="Keep one of documents with (nearly) the same text.")
@click.option("--wait", default=0.0, metavar="SECONDS", help="Wait for another ingest of this KB to end.")
@json_option
def ingest(
    paths: tuple[str, ...],
    kb_name: str | None,
    prune: bool,
    drop_duplicates: bool,
    wait: float,
    as_json: bool,
) -> int:
    """Read files and folders into a knowledge base.

    txt, md, rst, html, csv, jsonl, pdf, docx and source code. Unchanged files are skipped, changed
    ones replaced. A broken file is reported and stops nothing. Stop it with Ctrl-C whenever you
    like: what was read is kept, and the next run goes on from there.
    """
    kb = knowledge_base(kb_name)
    with progress("Reading", quiet=as_json) as bar:
        report = kb.add_files(paths, prune=prune, drop_duplicates=drop_duplicates, progress=bar, wait=wait)
    if as_json:
        print_json(
            {
                "documents": report.documents,
                "chunks": report.chunks,
                "skipped": report.skipped,
                "replaced": report.replaced,
                "removed": report.removed,
                "failed": [{"document": name, "reason": reason} for name, reason in report.failed],
                "seconds": round(report.seconds, 3),
                "duplicates": report.duplicates,
                "dropped": report.dropped,
                "stopped": report.stopped,
                "notes": report.notes,
            }
        )
    else:
        for name, reason in report.failed:
            say(f"! {name}: {reason}")
        for group in report.duplicates[:10]:
            say(wrapped(f"= same or nearly the same text: {', '.join(group)}"))
        if len(report.duplicates) > 10:
            say(f"= and {len(report.duplicates) - 10} more groups of duplicates (--json lists all)")
        for note in report.notes:
            say(wrapped(f"· {note}"))
        parts = [
            f"{report.documents:,} documents",
            f"{report.chunks:,} chunks",
            f"{report.skipped:,} skipped",
            *([f"{report.replaced:,} replaced"] if report.replaced else []),
            *([f"{report.removed:,} removed"] if report.removed else []),
            *([f"{report.dropped:,} duplicates dropped"] if report.dropped else []),
            *([f"{len(report.failed):,} failed"] if report.failed else []),
            f"{report.seconds:.1f} s",
        ]
        click.echo(", ".join(parts))
    if report.stopped:
        say("Stopped. What was read is kept; the same command goes on from here.")
        return 130
    everything_failed = bool(report.failed) and not (report.documents or report.skipped)
    return ReadError.exit_code if everything_failed else 0


@click.command(
    epilog="""\b
Examples:
  headrace search "parental leave"
  headrace search "leave" --filter "year >= 2020 and topic in ('hr', 'law')"
  headrace search "leave" --mode lexical --top-k 10 --json"""
)
@click.argument("question")
@kb_option()
@click.option("--top-k", "-k", default=4, show_default=True, help="How many passages.")
@click.option(
    "--mode",
    type=click.Choice(["hybrid", "dense", "lexical"]),
    default="hybrid",
    show_default=True,
    help="By meaning and words, by meaning, by words.",
)
@click.option("--filter", "filters", metavar="EXPR", help="An expression over metadata, e.g. year >= 2020.")
@click.option("--threshold", type=float, help="Least relevance, 0 to 1.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Time limit.")
@json_option
def search(
    question: str,
    kb_name: str | None,
    top_k: int,
    mode: str,
    filters: str | None,
    threshold: float | None,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Show the passages nearest to a question.

    Score orders the hits of one search; relevance (0 to 1) is absolute and can be compared.
    """
    began = time.perf_counter()
    kb = knowledge_base(kb_name)
    found = kb.search(
        question,
        top_k,
        mode=mode,  # type: ignore[arg-type]  # click.Choice
        filters=filters,
        score_threshold=threshold,
        timeout=timeout,
    )
    seconds = time.perf_counter() - began
    keys = ("document", "text", "score", "relevance", "start", "end", "heading", "metadata")
    if as_json:
        print_json(
            {
                "outcome": found.outcome,
                "hits": [{key: getattr(hit, key) for key in keys} for hit in found],
                "fallback": [{key: getattr(hit, key) for key in keys} for hit in found.fallback],
                "plan": found.plan,
                "version": found.kb_version,
                "seconds": round(seconds, 4),
            }
        )
        return
    shown = list(found) or list(found.fallback)
    if not found:
        click.echo(f"Nothing found ({found.outcome})." + (" The nearest:" if shown else ""))
    for number, hit in enumerate(shown, 1):
        place = hit.document + (f" › {hit.heading}" if hit.heading else "")
        click.echo(wrapped(f"{number}. {place}"))
        click.echo(f"   score {hit.score:.3f} · relevance {hit.relevance:.2f} · {hit.start:,}–{hit.end:,}")
        click.echo(wrapped(shorten(hit.text, 300), "   "))
    click.echo(f"\n{found.outcome} · {mode} · {seconds:.2f} s")


@click.group()
def kb() -> None:
    """Look after knowledge bases."""


@kb.command("list")
@json_option
def list_(as_json: bool) -> None:
    """The knowledge bases of this project."""
    from headrace.resources.build import known_knowledge_bases
    from headrace.settings import find_root

    names = known_knowledge_bases(find_root())
    if as_json:
        print_json(names)
    else:
        click.echo("\n".join(names) or "none yet; make one with: headrace ingest PATH")


@kb.command()
@click.argument("name", metavar="KB", required=False)
@json_option
def info(name: str | None, as_json: bool) -> None:
    """Documents, chunks, version, embedder and bytes of a knowledge base."""
    found = knowledge_base(name).engine().info()
    if as_json:
        print_json(found)
        return
    from headrace.types import to_json

    for key, value in to_json(found).items():
        shown = f"{value:,}" if isinstance(value, int) else value
        if isinstance(value, dict):
            shown = ", ".join(f"{k} {str(v)[:16]}" for k, v in value.items())
        click.echo(f"{key:12} {shown}")


@kb.command()
@click.argument("name", metavar="KB", required=False)
@click.option("--repair", is_flag=True, help="Mend derived data: segments, word index, missing vectors.")
@json_option
def check(name: str | None, repair: bool, as_json: bool) -> int:
    """Verify a knowledge base: exit code 0 when sound, 1 with a list of findings.

    SQLite holds the truth; segments and the word index are derived from it and can be rebuilt with
    --repair.
    """
    from headrace.types import to_json

    handle = knowledge_base(name)
    try:
        findings = handle.check(repair=repair)
        left = handle.check() if repair and findings else findings
    except Corrupt as error:  # too damaged to be opened: that is a finding too
        findings = left = [{"name": "database", "message": str(error), "repair": "", "repaired": False}]
    if as_json:
        print_json({"sound": not left, "findings": left, "repaired": findings if repair else []})
    else:
        for finding in findings:
            data = to_json(finding)
            click.echo(wrapped(f"! {data.get('message', data)}"))
        click.echo("sound" if not left else f"{len(left)} findings")
        if left and not repair:
            say("Mend what is derived with: headrace kb check --repair")
        elif repair and findings and not left:
            say(f"Mended: {len(findings)}.")
    return 1 if left else 0


@kb.command()
@click.argument("name", metavar="KB", required=False)
@click.option("--keep", default=1, show_default=True, help="How many published versions to keep.")
@json_option
def prune(name: str | None, keep: int, as_json: bool) -> None:
    """Free the room of deleted and replaced documents that no kept version needs."""
    found = knowledge_base(name).prune(keep_versions=keep)
    if as_json:
        print_json(found)
    else:
        from headrace.types import to_json

        click.echo(
            ", ".join(f"{k} {v:,}" if isinstance(v, int) else f"{k} {v}" for k, v in to_json(found).items())
        )


@kb.command()
@click.argument("name", metavar="KB", required=False)
@json_option
def versions(name: str | None, as_json: bool) -> None:
    """The published versions of a knowledge base."""
    rows = knowledge_base(name).versions()
    if as_json:
        print_json(rows)
        return
    click.echo(
        table(
            ["version", "published", "documents", "chunks", "corpus"],
            [
                [
                    row.version,
                    time.strftime("%Y-%m-%d %H:%M", time.localtime(row.created)),
                    f"{row.documents:,}",
                    f"{row.chunks:,}",
                    row.corpus[:12],
                ]
                for row in rows
            ],
            right=(0, 2, 3),
        )
    )


@kb.command()
@click.argument("document")
@kb_option()
@json_option
def show(document: str, kb_name: str | None, as_json: bool) -> None:
    """The stored text of one document."""
    from headrace.errors import NotFound

    handle = knowledge_base(kb_name)
    found = handle.get(document)
    if found is None:
        raise NotFound(
            f"{handle.name!r} has no document {document!r}.", hint="List hits with: headrace search QUESTION"
        )
    if as_json:
        print_json(found)
    else:
        click.echo(found.text)
