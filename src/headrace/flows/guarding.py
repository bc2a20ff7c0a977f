"""What defends an application: the guards and marks that are in force, and what they do to texts.

``[guards]`` of the project says what is on; :func:`use` puts another set in force for a block, which is
how an audit measures the same application with and without. Flows ask here at four places: the
question, text from elsewhere (passages, tool results), tools, and what is said in the end. The
checks themselves are in ``guards``; they are given texts and callables and load nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headrace import tracing
from headrace.errors import Refused, TooLarge, ToolError
from headrace.resources import bindings, build
from headrace.settings import GuardSettings, Settings, environment, load
from headrace.types import Answer, Finding, Passage

if TYPE_CHECKING:
    from headrace.flows.signature import Signature
    from headrace.guards.policy import Policy, Similar

WITHHELD = "The answer was withheld: it repeated or asked for what is private, or was offensive."
REFUSED = "This was not answered: it asks to set the instructions aside."
UNLIMITED = 100_000  # tokens and steps where budgets are off


@dataclass(frozen=True, kw_only=True)
class Defences:
    """What is in force. ``root`` is where the policy's file is looked for; ``budgets`` False lifts the
    usual limits on steps and lengths, which only an audit does."""

    settings: GuardSettings
    root: Path
    budgets: bool = True
    secrets: tuple[str, ...] = ()

    @property
    def policy(self) -> Policy | None:
        """The rules of the house, read again when their file changes."""
        if not self.settings.policy:
            return None
        return _policy(self.root / self.settings.policy)


_SENTENCE_END = re.compile(r"[.!?:][\"'”’)\]]*\s+|[。！？]|\n")
NOTHING = GuardSettings(fences=False, injection="off", questions="off", leakage="off", personal="off")
_forced: ContextVar[Defences | None] = ContextVar("headrace_defences", default=None)
_policies: dict[Path, tuple[tuple[int, int], Policy]] = {}
_known: dict[int, tuple[Settings, Defences]] = {}


def defences() -> Defences:
    """The defences in force: those of a block, else what the running application's project says."""
    forced = _forced.get()
    if forced is not None:
        return forced
    settings = load(bindings.settings_root())
    known = _known.get(id(settings))
    if known is None or known[0] is not settings:
        _known.clear()
        known = _known[id(settings)] = (settings, of(settings))
    return known[1]


def of(settings: Settings) -> Defences:
    """The defences of a project."""
    names = (*(model.key for model in settings.models.values()), settings.serve.key)
    secrets = tuple(dict.fromkeys(value for name in names if name and (value := environment(name))))
    return Defences(settings=settings.guards, root=settings.root, secrets=secrets)


def off(root: Path) -> Defences:
    """None at all, and no budgets."""
    return Defences(settings=NOTHING, root=root, budgets=False)


@contextmanager
def use(changed: Defences) -> Iterator[None]:
    """Put defences in force within the block."""
    token = _forced.set(changed)
    try:
        yield
    finally:
        _forced.reset(token)


def fenced() -> bool:
    """Whether text from elsewhere stands between marks."""
    return defences().settings.fences


def limited() -> bool:
    """Whether the usual budgets hold."""
    return defences().budgets


# --------------------------------------------------------------------------- the question


def question(text: str, where: str = "question") -> list[Finding]:
    """What makes a question an attack; a finding of severity ``block`` means: do not answer."""
    choice = defences().settings.questions
    if choice == "off":
        return []
    from headrace.guards import injection

    with tracing.span("injection", kind="guard", where=where) as span:
        found = injection.find(text, where=where)
        span.set(findings=len(found))
    return [replace(finding, severity="block" if choice == "refuse" else "warning") for finding in found]


# --------------------------------------------------------------------------- text from elsewhere


def foreign(text: str, where: str) -> tuple[str, list[Finding]]:
    """Text from elsewhere, its orders to the model blanked out where they are to be stripped."""
    choice = defences().settings.injection
    if choice == "off":
        return text, []
    from headrace.guards import injection

    if choice == "flag":
        return text, injection.find(text, where=where)
    return injection.strip(text, where=where)


def passages(items: Sequence[Passage]) -> tuple[list[Passage], list[Finding]]:
    """Passages with such orders blanked out (places stay where they are), and what was found."""
    if defences().settings.injection == "off":
        return list(items), []
    kept, findings = [], []
    with tracing.span("injection", kind="guard", where="passages") as span:
        for number, item in enumerate(items, 1):
            text, found = foreign(item.text, f"passage {number}")
            kept.append(replace(item, text=text) if text != item.text else item)
            findings += found
        span.set(findings=len(findings))
    return kept, findings


# --------------------------------------------------------------------------- what is said


def said(text: str, *, canary: str = "", prompt: str = "") -> list[Finding]:
    """What an output gives away; a finding of severity ``block`` means: withhold it."""
    here = defences()
    found: list[Finding] = []
    if here.settings.leakage != "off":
        from headrace.guards import leakage

        found += _as_chosen(leakage.find(text, canary, here.secrets, prompt=prompt), here.settings.leakage)
    if here.settings.personal != "off":
        from headrace.guards import personal

        found += _as_chosen(personal.requests(text), here.settings.personal)
    if here.settings.toxicity != "off" and text.strip():
        found += _toxic(text, here.settings)
    return found


def _toxic(text: str, settings: GuardSettings) -> list[Finding]:
    from headrace.guards import toxicity
    from headrace.models.toxic import classifier

    with tracing.span("toxicity", kind="guard") as span:
        value = toxicity.score(text, classifier(build.default_embedder()))
        span.set(score=round(value, 4))
    severity: Literal["block", "warning"] = "block" if settings.toxicity == "withhold" else "warning"
    found = toxicity.findings(text, value, settings.toxicity_threshold)
    return [replace(one, severity=severity) for one in found]


def _as_chosen(found: list[Finding], choice: str) -> list[Finding]:
    """``flag``: nothing is withheld."""
    return [replace(one, severity="warning") for one in found] if choice == "flag" else found


def _withholds(settings: GuardSettings) -> bool:
    return "withhold" in (settings.leakage, settings.personal, settings.toxicity)


class Gate:
    """Lets text through in whole sentences, as long as what was said so far gives nothing away."""

    def __init__(self, *, canary: str = "", prompt: str = "") -> None:
        self._canary, self._prompt = canary, prompt
        self._open = not _withholds(defences().settings)
        self._shut = False
        self._said = self._held = ""

    def take(self, piece: str) -> str:
        """What may leave now that this piece has come."""
        if self._open:
            return piece
        self._held += piece
        ends = [match.end() for match in _SENTENCE_END.finditer(self._held)]
        return self._pass(ends[-1]) if ends else ""

    def rest(self) -> str:
        """What is left at the end."""
        return "" if self._open else self._pass(len(self._held))

    def _pass(self, end: int) -> str:
        text, self._held = self._held[:end], self._held[end:]
        self._said += text
        self._shut = self._shut or blocked(said(self._said, canary=self._canary, prompt=self._prompt))
        return "" if self._shut else text


def blocked(findings: Sequence[Finding]) -> bool:
    """Whether one of them says stop."""
    return any(finding.severity == "block" for finding in findings)


# --------------------------------------------------------------------------- tools


StandIn = Callable[[str, Mapping[str, Any]], Any]
_stand_in: ContextVar[StandIn | None] = ContextVar("headrace_stand_in", default=None)


@contextmanager
def tools_played_by(stand_in: StandIn) -> Iterator[None]:
    """Within the block an agent's tools do nothing: ``stand_in(name, arguments)`` gives their results.

    For audits: an attack that succeeds must not send a real message.
    """
    token = _stand_in.set(stand_in)
    try:
        yield
    finally:
        _stand_in.reset(token)


def stand_in() -> StandIn | None:
    """What plays the tools, where they are played."""
    return _stand_in.get()


def tool(name: str, arguments: Mapping[str, Any]) -> None:
    """Raise ToolError where the policy denies this tool, or what it is given."""
    policy = defences().policy
    if policy is None:
        return
    if not policy.allows_tool(name):
        raise ToolError(f"The policy of this project denies the tool {name!r}.", hint="Go on without it.")
    for value in arguments.values():
        if isinstance(value, str) and blocked(found := policy.check(value, "tool", similar=_similar())):
            raise ToolError(f"The policy refuses what {name!r} was given: {found[0].message}")


# --------------------------------------------------------------------------- a whole application


def around(signature: Signature, arguments: Mapping[str, Any], call: Callable[[], Any]) -> Any:
    """Run an application within the policy and the limit on inputs.

    An input that is too long raises TooLarge with its length. What a rule refuses gives the policy's
    sentence, as an Answer that abstains or as text, by what the application returns by its signature;
    any other application raises Refused.
    """
    here = defences()
    policy = here.policy
    if policy is None and not here.settings.max_input:
        return call()
    texts = [value for value in arguments.values() if isinstance(value, str)]
    for text in texts:
        if 0 < here.settings.max_input < len(text):
            raise TooLarge(
                f"The input has {len(text):,} characters; at most {here.settings.max_input:,} are taken.",
                hint="Shorten it, or raise max_input under [guards].",
            )
    if policy is None:
        return call()
    for text in texts:
        found = _noted(policy.check(text, "input", similar=_similar()))
        if blocked(found):
            if policy.max_input and len(text) > policy.max_input:
                raise TooLarge(found[0].message, hint="Shorten it, or raise max_input in the rule file.")
            return _refusal(signature.hints.get("return"), policy, found)
    output = call()
    written = output.text if isinstance(output, Answer) else output if isinstance(output, str) else None
    if written is None:
        return output
    found = _noted(policy.check(written, "output", similar=_similar()))
    if blocked(found):
        return _refusal(type(output), policy, found)
    return replace(output, findings=(*output.findings, *found)) if isinstance(output, Answer) else output


def _noted(findings: list[Finding]) -> list[Finding]:
    for finding in findings:
        tracing.note("findings", finding)
    return findings


def _refusal(returns: Any, policy: Policy, findings: Sequence[Finding]) -> Any:
    if returns is Answer:
        return Answer(text=policy.refusal, abstained=True, answered_by="policy", findings=tuple(findings))
    if returns is str:
        return policy.refusal
    raise Refused(findings[0].message, hint=policy.refusal)


def _policy(path: Path) -> Policy:
    from headrace.guards import policy

    try:
        stat = path.stat()
        stamp = (stat.st_mtime_ns, stat.st_size)
    except OSError:
        stamp = (0, 0)
    known = _policies.get(path)
    if known is None or known[0] != stamp:
        known = _policies[path] = (stamp, policy.read(path))
    return known[1]


def _similar() -> Similar | None:
    """How near a text is to examples, by the project's embedder; None where there is none."""
    embedder = build.default_embedder()
    if embedder is None:
        return None

    def near(text: str, examples: Sequence[str]) -> Sequence[float]:
        vectors = embedder.embed([text, *examples])
        found: list[float] = (vectors[1:] @ vectors[0]).tolist()
        return found

    return near
