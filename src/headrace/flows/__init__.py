"""Flows: applications, how rows run through them, and how an answer comes about.

Floor 3. What composes rooms: searching, prompting, asking a model, quoting, checking. No storage
and no doors here.
"""
