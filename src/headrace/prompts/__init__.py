"""Prompts: templates with declared variables, fences round foreign text, passages within a budget.

Nothing is imported here: every file of this room is loaded when it is used.
"""
