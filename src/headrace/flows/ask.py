"""The application that is there without writing one: question → search → answer.

What ``headrace ask --kb KB`` and ``headrace demo`` run. A project's own application usually begins
as a copy of these few lines.
"""

from __future__ import annotations

from headrace.flows.answer import answer
from headrace.flows.app import App
from headrace.resources.handles import KnowledgeBase, ModelHandle
from headrace.settings import find_root, load
from headrace.types import Answer, Message


def question_app(kb_name: str | None = None, model_name: str | None = None) -> App:
    """Answer questions from one knowledge base, with a model where one is configured or named."""
    root = find_root()
    kb = KnowledgeBase(kb_name or load(root).kb.default, root=root)
    llm = ModelHandle(model_name or "auto", root=root)

    def ask(question: str, history: list[Message] | None = None) -> Answer:
        """Answer a question from the documents of a knowledge base."""
        passages = kb.search(question, top_k=4)
        return answer(question, passages, model=llm, history=history or ())

    return App(ask, name="ask", root=root, handles=(kb, llm))
