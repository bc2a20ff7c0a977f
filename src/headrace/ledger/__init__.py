"""What every run did, written down: traces, feedback, retention, export.

Not here: collecting a trace while it runs (``headrace.tracing``) and judging runs (``ops``).
"""
