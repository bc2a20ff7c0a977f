"""What a server counts, for Prometheus. Labels come from short fixed lists, never from strangers."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from headrace.types import Answer

CONTENT_TYPE = CONTENT_TYPE_LATEST

# Seconds. Quotes answer within tens of milliseconds, language models within minutes.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


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

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
