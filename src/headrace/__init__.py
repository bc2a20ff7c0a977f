"""Headrace: from the first prompt to production with open models.

The public names, loaded when they are first touched. No logic here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    **dict.fromkeys(("app", "step", "App"), "headrace.flows.app"),
    **dict.fromkeys(("tool", "Tool"), "headrace.flows.tool"),
    **dict.fromkeys(("Agent", "AgentResult"), "headrace.flows.agent"),
    **dict.fromkeys(("condense",), "headrace.flows.condense"),
    **dict.fromkeys(("load",), "headrace.flows.load"),
    **dict.fromkeys(("gather", "map"), "headrace.flows.run"),
    **dict.fromkeys(("answer",), "headrace.flows.answer"),
    **dict.fromkeys(("context",), "headrace.request"),
    **dict.fromkeys(("fingerprint",), "headrace.flows.fingerprint"),
    **dict.fromkeys(("KnowledgeBase", "model"), "headrace.resources.handles"),
    **dict.fromkeys(("prompt",), "headrace.resources.prompt"),
    **dict.fromkeys(("structured",), "headrace.models.structured"),
    **dict.fromkeys(("Template",), "headrace.prompts.template"),
    **dict.fromkeys(("metric",), "headrace.measure.metrics"),
    **dict.fromkeys(("evaluate",), "headrace.evaluation.evaluate"),
    **dict.fromkeys(("compare",), "headrace.evaluation.compare"),
    **dict.fromkeys(("audit",), "headrace.auditing.audit"),
    **dict.fromkeys(("compare_prompts",), "headrace.evaluation.prompts"),
    **dict.fromkeys(("HeadraceError",), "headrace.errors"),
    **dict.fromkeys(("release",), "headrace.ops.release"),
    **dict.fromkeys(("promote", "rollback"), "headrace.ops.rollout"),
    **dict.fromkeys(
        (
            "Answer",
            "Chunk",
            "Citation",
            "Completion",
            "Decoding",
            "Document",
            "Event",
            "Example",
            "Feedback",
            "Finding",
            "Message",
            "Passage",
            "Passages",
            "Prompt",
            "Release",
            "Report",
            "Score",
            "Span",
            "Table",
            "Trace",
            "to_json",
        ),
        "headrace.types",
    ),
}

_ROOMS = ("errors", "tasks", "tools")  # modules whose own public names load when they are touched

__all__ = ["__version__", *sorted(_HOME)]

if TYPE_CHECKING:
    from headrace import errors as errors
    from headrace import tools as tools
    from headrace.auditing.audit import audit as audit
    from headrace.errors import HeadraceError as HeadraceError
    from headrace.evaluation.compare import compare as compare
    from headrace.evaluation.evaluate import evaluate as evaluate
    from headrace.evaluation.prompts import compare_prompts as compare_prompts
    from headrace.flows.agent import Agent as Agent
    from headrace.flows.agent import AgentResult as AgentResult
    from headrace.flows.answer import answer as answer
    from headrace.flows.app import App as App
    from headrace.flows.app import app as app
    from headrace.flows.app import step as step
    from headrace.flows.condense import condense as condense
    from headrace.flows.fingerprint import fingerprint as fingerprint
    from headrace.flows.load import load as load
    from headrace.flows.run import gather as gather
    from headrace.flows.run import map as map
    from headrace.flows.tool import Tool as Tool
    from headrace.flows.tool import tool as tool
    from headrace.measure.metrics import metric as metric
    from headrace.models.structured import structured as structured
    from headrace.ops.release import release as release
    from headrace.ops.rollout import promote as promote
    from headrace.ops.rollout import rollback as rollback
    from headrace.prompts.template import Template as Template
    from headrace.request import context as context
    from headrace.resources.handles import KnowledgeBase as KnowledgeBase
    from headrace.resources.handles import model as model
    from headrace.resources.prompt import prompt as prompt
    from headrace.types import Answer as Answer
    from headrace.types import Chunk as Chunk
    from headrace.types import Citation as Citation
    from headrace.types import Completion as Completion
    from headrace.types import Decoding as Decoding
    from headrace.types import Document as Document
    from headrace.types import Event as Event
    from headrace.types import Example as Example
    from headrace.types import Feedback as Feedback
    from headrace.types import Finding as Finding
    from headrace.types import Message as Message
    from headrace.types import Passage as Passage
    from headrace.types import Passages as Passages
    from headrace.types import Prompt as Prompt
    from headrace.types import Release as Release
    from headrace.types import Report as Report
    from headrace.types import Score as Score
    from headrace.types import Span as Span
    from headrace.types import Table as Table
    from headrace.types import Trace as Trace
    from headrace.types import to_json as to_json


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"headrace.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, *_ROOMS]
