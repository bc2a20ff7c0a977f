"""JSON Schema (draft 2020-12): whether a value fits, whether any could, and one that does.

What asserts something and is not known here (``unevaluatedProperties``, ``$dynamicRef``, a reference to
another document) is refused, never passed over. Of the formats, dates, times, UUIDs and e-mail addresses
are checked; patterns are Python's regular expressions. Not here: asking a model for such a value
(``models/structured.py``), and types of Python (``flows/signature.py``).
"""
