"""Models: what turns text into vectors and prompts into text, and the wrappers round them.

Nothing is imported here: every file of this room is loaded when it is used.
"""
