"""The web door: the page, the application's endpoint, the OpenAI-style one, feedback and health.

Needs the extra ``serve``. No logic lives here: requests become calls of ``ops.serve.Desk`` and the
ledger, results become pages, JSON and events.
"""
