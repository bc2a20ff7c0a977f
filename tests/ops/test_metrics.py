"""What a server counts by release: labels that stay few, classes of errors, votes."""

from __future__ import annotations

from headrace.errors import ModelTimeout
from headrace.ops.metrics import RELEASES, Metrics
from headrace.types import Answer, Usage


def lines(metrics: Metrics) -> list[str]:
    return [line for line in metrics.text().decode().splitlines() if not line.startswith("#")]


def test_runs_are_counted_by_release_and_outcome() -> None:
    metrics = Metrics()
    answer = Answer(text="", usage=Usage(input_tokens=7, output_tokens=2))
    metrics.ran("a" * 64, answer, None, 0.2)
    metrics.ran("a" * 64, Answer(text="", abstained=True), None, 0.2)
    metrics.ran("a" * 64, None, ModelTimeout("late"), 3.0)
    metrics.ran(None, None, ValueError("secret"), 0.1)
    metrics.ran(None, None, None, 0.1)  # an output that is no answer
    found = lines(metrics)
    name = "a" * 12
    for outcome in ("ok", "abstained", "model-timeout"):
        assert f'headrace_runs_total{{outcome="{outcome}",release="{name}"}} 1.0' in found
    for outcome in ("internal", "ok"):
        assert f'headrace_runs_total{{outcome="{outcome}",release="none"}} 1.0' in found
    assert f'headrace_run_seconds_count{{release="{name}"}} 3.0' in found
    assert f'headrace_run_tokens_total{{direction="input",release="{name}"}} 7.0' in found
    assert "secret" not in metrics.text().decode()


def test_labels_stay_few_however_often_somebody_releases() -> None:
    metrics = Metrics()
    for number in range(50):
        metrics.ran(f"{number:064x}"[::-1], None, None, 0.1)
        metrics.voted(f"{number:064x}"[::-1], "up")
    counted = [line for line in lines(metrics) if line.startswith("headrace_runs_total{")]
    assert len(counted) == RELEASES
    assert len([line for line in lines(metrics) if line.startswith("headrace_votes_total{")]) == RELEASES


def test_a_vote_on_what_runs_no_more_counts_as_other() -> None:
    metrics = Metrics()
    metrics.voted("gone", "down")
    assert 'headrace_votes_total{release="other",value="down"} 1.0' in lines(metrics)
