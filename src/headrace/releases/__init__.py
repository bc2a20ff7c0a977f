"""What a release is: the registry of names and aliases, the bundle, the one-file archive.

Not here: making a release from an application, judging it by gates, serving it (``headrace.ops``).
"""
