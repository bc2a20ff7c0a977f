"""The command line: a door, no logic. ``main`` and one file per group of verbs."""
