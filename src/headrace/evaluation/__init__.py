"""Measuring an application on examples, and comparing two of them.

``dataset`` (examples from files), ``evaluate`` (→ Report), ``compare`` (two Reports → verdicts),
``diagnosis`` (what went wrong with a row, in words), ``curate`` (traces → examples). Metrics and
statistics are in ``measure``; gates over Reports in ``ops``.
"""
