"""monitor: how an application fares, release by release."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from headrace.cli.console import json_option, print_json, table, wrapped

if TYPE_CHECKING:
    from headrace.measure.statistics import Interval
    from headrace.ops.monitor import Watched


@click.command(
    epilog="""\b
Examples:
  headrace monitor
  headrace monitor handbook --since 24h
  headrace monitor handbook --since 30d --json"""
)
@click.argument("name", required=False)
@click.option("--since", default="7d", show_default=True, help="How far back: 30m, 12h, 7d, 4w.")
@json_option
def monitor(name: str | None, since: str, as_json: bool) -> None:
    """Traffic, errors, speed, tokens, cost, abstention, relevance and thumbs of an application.

    Its releases stand side by side, every rate with its 95 % interval; an alarm says when thumbs
    have fallen.
    """
    from headrace.ops.monitor import application, observe, seconds_of
    from headrace.settings import find_root

    root = find_root()
    found = observe(root, application(root, name), seconds_of(since))
    if as_json:
        print_json(found)
        return
    _show(found)


def _show(found: Watched) -> None:
    from headrace.ops.monitor import told

    def moment(at: float) -> str:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))

    click.echo(f"{found.app}, {moment(found.since)} to {moment(found.until)}\n")
    if not found.whole.runs and not (found.whole.up or found.whole.down):
        click.echo("Nothing was asked in this time.")
    for part in (found.whole, *found.releases) if len(found.releases) > 1 else (found.whole,):
        title = "all" if part.release == "all" else part.release[:12] or "working copy"
        if len(found.releases) == 1 and found.releases[0].release:
            title = found.releases[0].release[:12]
        click.echo(f"{title}{f' ({part.role})' if part.role else ''}")
        rows = [
            ("runs", f"{part.runs:,}" + (f"  {part.share:.0%} of all" if part.release != "all" else "")),
            ("errors", rate_text(part.errors) + _classes(part.problems)),
            ("abstained", rate_text(part.abstained)),
            ("median", seconds_text(part.p50)),
            ("p95", seconds_text(part.p95)),
            ("relevance", number_text(part.relevance)),
            ("tokens", f"{part.input_tokens:,} in, {part.output_tokens:,} out"),
            ("cost", "not known" if part.cost is None else f"${part.cost:.4f} of {part.priced:,} runs"),
            ("thumbs up", rate_text(part.thumbs) + f"  ({part.up} up, {part.down} down)"),
        ]
        for key, value in rows:
            click.echo(wrapped(f"{key:10} {value}", "  "))
        click.echo()
    if len(found.trend) > 1:
        stamp = "%m-%d %H:%M" if found.every < 86400 else "%m-%d"
        click.echo(
            table(
                ["from", "release", "runs", "errors", "abstained", "p95", "up", "down"],
                [
                    [
                        time.strftime(stamp, time.localtime(point.start)),
                        point.release[:12] or "–",
                        point.runs,
                        point.errors,
                        point.abstained,
                        "–" if point.p95 is None else f"{point.p95:.3f} s",
                        point.up,
                        point.down,
                    ]
                    for point in found.trend[-24:]
                ],
                right=(2, 3, 4, 5, 6, 7),
            )
        )
        click.echo()
    click.echo("Against the time before")
    for drift in found.drift:
        text = f"{drift.name}: {drift.change}"
        if drift.low is not None and drift.high is not None:
            text += f" ({drift.difference:+.3g}, between {drift.low:+.3g} and {drift.high:+.3g} {drift.unit})"
        click.echo(wrapped(text, "  "))
    click.echo(wrapped(f"\n{told(found.alarm)}"))
    if found.lost:
        click.echo(wrapped(f"! {found.lost:,} traces were lost and are not counted here."))


def rate_text(found: Interval) -> str:
    """``4.0 % (1.2 to 9.8)``."""
    if found.value is None or found.low is None or found.high is None:
        return "–"
    return f"{found.value:.1%} ({found.low * 100:.1f} to {found.high * 100:.1f})"


def seconds_text(found: Interval) -> str:
    """``0.120 s (0.100 to 0.150)``; an open side is ``?``: too few runs to bound it."""
    return _bounded(found, " s")


def number_text(found: Interval) -> str:
    """``0.71 (0.65 to 0.77)``."""
    return _bounded(found, "")


def _bounded(found: Interval, unit: str) -> str:
    if found.value is None:
        return "–"
    low, high = ("?" if side is None else f"{side:.3f}" for side in (found.low, found.high))
    return f"{found.value:.3f}{unit} ({low} to {high})"


def _classes(problems: Any) -> str:
    shown = ", ".join(f"{name} {runs}" for name, runs in list(problems.items())[:5])
    return f"  {shown}" if shown else ""
