"""Tests of the knowledge base and the searches over it."""
