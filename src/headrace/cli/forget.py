"""forget: erasing a user or a document from everything that this project keeps."""

from __future__ import annotations

import sys

import click

from headrace.cli.console import json_option, print_json, wrapped


@click.command(
    epilog="""\b
Examples:
  headrace forget --user ana@example.com
  headrace forget --document docs/leave.md
  headrace forget --document docs/leave.md --kb kb --yes --json

\b
Exit codes: 0 erased · 1 a live release still holds it · 2 bad use."""
)
@click.option("--user", metavar="U", help="Whose questions, answers and votes to erase.")
@click.option("--document", metavar="ID", help="The document to erase, named as citations name it.")
@click.option("--kb", metavar="KB", help="Only this knowledge base; all of the project without it.")
@click.option("--yes", is_flag=True, help="Do not ask; needed where nobody sits at a terminal.")
@json_option
def forget(user: str | None, document: str | None, kb: str | None, yes: bool, as_json: bool) -> int:
    """Erase a user or a document everywhere it is kept. This cannot be undone.

    Knowledge bases (every version), traces, reports, caches and releases; a tombstone hash stays.
    """
    if (user is None) == (document is None):
        raise click.UsageError("Name either --user U or --document ID.")
    if kb is not None and document is None:
        raise click.UsageError("--kb goes with --document.")
    from headrace.ops.forget import forget_document, forget_user
    from headrace.settings import find_root

    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("Erasing cannot be undone: confirm with --yes.")
        what = f"user {user!r}" if user is not None else f"document {document!r}"
        click.confirm(f"Erase {what} from everything in {find_root()}?", abort=True, err=True)
    done = (
        forget_user(find_root(), user)
        if user is not None
        else forget_document(find_root(), document or "", kb)
    )
    code = 1 if done.live else 0
    if as_json:
        print_json(done)
        return code
    gone = "removed" if done.kind == "user" else "without texts now"
    click.echo(f"traces     {done.traces} {gone}")
    click.echo(f"feedback   {done.feedback}")
    for base in done.knowledge:
        versions = ", ".join(str(v) for v in base.versions) or "none"
        click.echo(wrapped(f"knowledge  {base.name}: {base.chunks} chunks; versions changed: {versions}"))
    if done.kind == "document":
        click.echo(f"reports    {len(done.reports)} with emptied rows")
        click.echo(f"caches     {done.caches} files")
        click.echo(f"releases   {len(done.releases)} removed, they can no longer be loaded")
    click.echo(f"tombstone  {done.tombstone or 'none: there was nothing'}")
    for release in done.live:
        click.echo(
            wrapped(
                f"! Release {release[:12]} is live and still holds it: release again, promote, and run "
                "this once more."
            )
        )
    for path in done.files:
        click.echo(wrapped(f"! {path} is still on the disk: the next ingest would read it again."))
    return code
