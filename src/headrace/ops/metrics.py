"""What a server counts, for Prometheus. Labels come from short fixed lists, never from strangers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from headrace.errors import HeadraceError
from headrace.types import Answer

CONTENT_TYPE = CONTENT_TYPE_LATEST

# Seconds. Quotes answer within tens of milliseconds, language models within minutes.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


RELEASES = 4  # a main one, its predecessor, a canary, and one on its way


def short(release: str | None) -> str:
    """A release as a label: the beginning of its id; "none" for the working copy."""
    return release[:12] if release else "none"


class Metrics:
    """One registry per server, so that two servers in one process keep apart."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "headrace_requests_total",
            "Requests by route and status.",
            ("route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "headrace_request_seconds",
            "Seconds from the request to the end of its response.",
            ("route",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._in_flight = Gauge("headrace_in_flight", "Runs in progress.", registry=self.registry)
        self._queue = Gauge("headrace_queue", "Requests that wait for a place.", registry=self.registry)
        self._abstained = Counter(
            "headrace_abstained_total", "Answers that abstained.", registry=self.registry
        )
        self._feedback = Counter(
            "headrace_feedback_total", "Feedback by value.", ("value",), registry=self.registry
        )
        self._tokens = Counter(
            "headrace_tokens_total", "Tokens of language models.", ("direction",), registry=self.registry
        )
        self._runs = Counter(
            "headrace_runs_total",
            "Runs that ended, by release and outcome: ok, abstained, or the class of the error.",
            ("release", "outcome"),
            registry=self.registry,
        )
        self._run_seconds = Histogram(
            "headrace_run_seconds",
            "Seconds from taking a place to the end of a run.",
            ("release",),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._run_tokens = Counter(
            "headrace_run_tokens_total",
            "Tokens of language models by release.",
            ("release", "direction"),
            registry=self.registry,
        )
        self._votes = Counter(
            "headrace_votes_total",
            "Votes by the release that answered, and value.",
            ("release", "value"),
            registry=self.registry,
        )
        self._releases: OrderedDict[str, None] = OrderedDict()  # those with lines, last run last
        self._lines: dict[str, dict[tuple[Any, tuple[str, ...]], None]] = {}
        for value in ("up", "down"):
            self._feedback.labels(value)
        for direction in ("input", "output"):
            self._tokens.labels(direction)

    def watch(self, in_flight: Callable[[], int], queue: Callable[[], int]) -> None:
        """Read the two gauges from their source when they are asked for."""
        self._in_flight.set_function(lambda: float(in_flight()))
        self._queue.set_function(lambda: float(queue()))

    def request(self, route: str, status: int, seconds: float) -> None:
        """``route`` is a route's pattern, never a path."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def answered(self, answer: Answer) -> None:
        if answer.abstained:
            self._abstained.inc()
        self._tokens.labels("input").inc(answer.usage.input_tokens)
        self._tokens.labels("output").inc(answer.usage.output_tokens)

    def feedback(self, value: str) -> None:
        """``value`` is ``up`` or ``down``; it was checked before."""
        self._feedback.labels(value).inc()

    # ------------------------------------------------------------------ by release

    def ran(
        self, release: str | None, counted: Answer | None, error: BaseException | None, seconds: float
    ) -> None:
        """A run has ended: how, on which release (None: the working copy), after how many seconds.

        ``counted`` is its answer, where the output is one. Of releases, the last ``RELEASES`` that ran
        have lines of their own, so that labels stay few however often somebody releases.
        """
        name = self._known(release)
        if error is not None:
            outcome = error.code if isinstance(error, HeadraceError) else "internal"
        else:
            outcome = "abstained" if counted is not None and counted.abstained else "ok"
        self._labelled(self._runs, name, outcome).inc()
        self._labelled(self._run_seconds, name).observe(seconds)
        if counted is not None:
            self._labelled(self._run_tokens, name, "input").inc(counted.usage.input_tokens)
            self._labelled(self._run_tokens, name, "output").inc(counted.usage.output_tokens)

    def voted(self, release: str | None, value: str) -> None:
        """A vote on an answer of ``release``; of one that does not run any more it counts as "other"."""
        name = short(release)
        self._labelled(self._votes, name if name in self._releases else "other", value).inc()

    def _labelled(self, family: Any, *labels: str) -> Any:
        """The line of these labels, the release first; it leaves with its release."""
        self._lines.setdefault(labels[0], {})[family, labels] = None
        return family.labels(*labels)

    def _known(self, release: str | None) -> str:
        name = short(release)
        self._releases[name] = None
        self._releases.move_to_end(name)
        if len(self._releases) > RELEASES:
            oldest, _ = self._releases.popitem(last=False)
            for family, labels in self._lines.pop(oldest, ()):
                family.remove(*labels)
        return name

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
