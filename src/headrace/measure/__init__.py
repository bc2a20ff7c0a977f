"""Metrics, intervals, verdicts: pure functions from answers to numbers and from numbers to words.

Knows no application, no file and no report store: ``evaluation`` runs examples and brings what was
observed.
"""
