"""Guards: checks on what goes into a model and what comes out. Each is given what it needs.

Floor 1. A guard reports findings; it loads no model and looks nothing up.
"""
