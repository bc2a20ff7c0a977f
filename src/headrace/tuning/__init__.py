"""Tuning: base model + examples → a better model of one's own, as a folder with its figures.

Nothing is imported here: every file of this room is loaded when it is used.
"""
