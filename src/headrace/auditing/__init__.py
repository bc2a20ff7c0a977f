"""Auditing: what can go wrong with an application, looked for on purpose. Lines with thresholds.

Suites of attacks, the attacker that runs them, and one report in three layers. Nothing here is in the
way of a request: what defends an application is in ``guards`` and ``flows``.
"""
