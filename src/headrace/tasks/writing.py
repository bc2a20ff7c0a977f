"""Generate, translate, chat: tasks that only a language model can do.

A translation is asked for by a prefix in words (``translate English to French: …``, what T5 was
trained on, and what instruction models understand); a Marian model of one pair is given the bare
text. Which pairs a model has is known of its family or declared by the caller; another pair is
refused with the list, before the model is asked. Languages may be named by code, English name or
FLORES-200 code. Models that take the language as a token of its own (NLLB, M2M) are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headrace.errors import InputError, ModelError, Unavailable
from headrace.tasks.given import check, each, opened, side_by_side
from headrace.types import Decoding, Message

if TYPE_CHECKING:
    from headrace.protocols import Model
    from headrace.resources.handles import ModelHandle

# ISO 639-1 → the name in English, and the code of FLORES-200.
LANGUAGES: dict[str, tuple[str, str]] = {
    "ar": ("Arabic", "arb_Arab"),
    "bg": ("Bulgarian", "bul_Cyrl"),
    "cs": ("Czech", "ces_Latn"),
    "da": ("Danish", "dan_Latn"),
    "de": ("German", "deu_Latn"),
    "el": ("Greek", "ell_Grek"),
    "en": ("English", "eng_Latn"),
    "es": ("Spanish", "spa_Latn"),
    "et": ("Estonian", "est_Latn"),
    "fa": ("Persian", "pes_Arab"),
    "fi": ("Finnish", "fin_Latn"),
    "fr": ("French", "fra_Latn"),
    "he": ("Hebrew", "heb_Hebr"),
    "hi": ("Hindi", "hin_Deva"),
    "hu": ("Hungarian", "hun_Latn"),
    "id": ("Indonesian", "ind_Latn"),
    "it": ("Italian", "ita_Latn"),
    "ja": ("Japanese", "jpn_Jpan"),
    "ko": ("Korean", "kor_Hang"),
    "nl": ("Dutch", "nld_Latn"),
    "no": ("Norwegian", "nob_Latn"),
    "pl": ("Polish", "pol_Latn"),
    "pt": ("Portuguese", "por_Latn"),
    "ro": ("Romanian", "ron_Latn"),
    "ru": ("Russian", "rus_Cyrl"),
    "sk": ("Slovak", "slk_Latn"),
    "sv": ("Swedish", "swe_Latn"),
    "th": ("Thai", "tha_Thai"),
    "tr": ("Turkish", "tur_Latn"),
    "uk": ("Ukrainian", "ukr_Cyrl"),
    "vi": ("Vietnamese", "vie_Latn"),
    "zh": ("Chinese", "zho_Hans"),
}
# Families that were trained on a few pairs only (their papers); other models may know any.
FAMILIES: dict[str, tuple[str, ...]] = {
    "t5-": ("en-de", "en-fr", "en-ro"),
}
_WHAT = "Pull a model into the models folder and name it (model='local:FOLDER'), or set default under "
_WHAT += "[models] in headrace.toml to a server's provider:model."


def writer(model: str | ModelHandle | Model | None, task: str) -> Model:
    """The model that writes; Unavailable says what to pull or configure for this task."""
    try:
        found = opened("auto" if model is None else model)
    except Unavailable as error:
        raise Unavailable(f"{task} needs a language model, and none is configured.", hint=_WHAT) from error
    assert found is not None
    return found


def generate(
    given: str | Sequence[str],
    *,
    model: str | ModelHandle | Model | None = "auto",
    decoding: Decoding | None = None,
) -> Any:
    """``[{"generated_text"}]``: how the model goes on after the text, without the text itself."""
    chosen = writer(model, "generate")

    def one(text: str) -> list[dict[str, Any]]:
        made = chosen.complete([Message("user", text)], decoding or _usual(chosen))
        return [{"generated_text": made.text, "finish": made.finish, "model": chosen.name}]

    return each(given, lambda texts: side_by_side(one, texts))


def chat(
    given: str | Sequence[str],
    *,
    history: Sequence[Message | Mapping[str, str]] = (),
    system: str = "",
    model: str | ModelHandle | Model | None = "auto",
    decoding: Decoding | None = None,
) -> Any:
    """``[{"generated_text"}]``: the reply to a message after the turns of ``history``: Messages, or
    mappings of ``role`` and ``content``.

    Many messages are alternatives after the same history, not turns of one conversation.
    """
    turns = [_turn(turn) for turn in history]
    chosen = writer(model, "chat")
    before = [*([Message("system", system)] if system else []), *turns]

    def one(text: str) -> list[dict[str, Any]]:
        made = chosen.complete([*before, Message("user", text)], decoding or _usual(chosen))
        return [{"generated_text": made.text, "finish": made.finish, "model": chosen.name}]

    return each(given, lambda texts: side_by_side(one, texts), "message")


def _turn(turn: Any) -> Message:
    if isinstance(turn, Message):
        return turn
    if isinstance(turn, Mapping) and turn.get("role") in ("system", "user", "assistant"):
        return Message(turn["role"], check(turn.get("content"), "content of a turn"))
    raise InputError(
        f"history holds {type(turn).__name__} ({turn!r:.60}).",
        hint="Give hr.Message('user', 'text') or {'role': 'user', 'content': 'text'}.",
    )


def translate(
    given: str | Sequence[str],
    to: str,
    *,
    source: str = "en",
    pairs: Sequence[str] | None = None,
    model: str | ModelHandle | Model | None = "auto",
    decoding: Decoding | None = None,
) -> Any:
    """``[{"translation_text"}]`` in the language ``to`` (``fr``, ``French`` or ``fra_Latn``).

    ``pairs`` declares what the model can (``["en-fr"]``); None takes what its family is known for.
    A pair that is not among them, or a language that is not known, is refused with the list.
    """
    there, here = language(to), language(source)
    if there == here:
        raise InputError(
            f"The text is to be translated from {LANGUAGES[here][0]} to the same language.",
            hint="Give another language with to=, or the text's own with source=.",
        )
    chosen = writer(model, "translate")
    known = tuple(pairs) if pairs is not None else pairs_of(chosen)
    if known is not None and f"{here}-{there}" not in known:
        raise InputError(
            f"{chosen.name} does not translate {here}-{there}.", hint=f"It translates: {', '.join(known)}."
        )

    family = _family(chosen)
    bare = family.startswith("opus-mt-")
    if family.startswith(("nllb", "m2m")):
        raise InputError(
            f"{chosen.name} takes the language as a token of its own, which is not supported here.",
            hint="Use a model that is asked in words (t5, an instruction model) or one pair's "
            "(opus-mt-en-fr).",
        )

    def one(text: str) -> list[dict[str, Any]]:
        prompt = text if bare else f"translate {LANGUAGES[here][0]} to {LANGUAGES[there][0]}: {text}"
        made = chosen.complete([Message("user", prompt)], decoding or _usual(chosen))
        if not made.text.strip():
            raise ModelError(f"{chosen.name} gave no translation.", hint="Try another model.")
        return [{"translation_text": made.text.strip(), "finish": made.finish, "model": chosen.name}]

    return each(given, lambda texts: side_by_side(one, texts))


def language(name: str) -> str:
    """The two-letter code of a language given as code, English name or FLORES code."""
    wanted = str(name).strip().lower()
    for code, (word, flores) in LANGUAGES.items():
        if wanted in (code, word.lower(), flores.lower()):
            return code
    raise InputError(
        f"The language {name!r} is not known here.", hint=f"Known: {', '.join(sorted(LANGUAGES))}."
    )


def pairs_of(model: Model) -> tuple[str, ...] | None:
    """The pairs that a model's family was trained on, None where it may be any.

    A Marian model's name ends in its one pair (``opus-mt-en-es``).
    """
    name = _family(model)
    if name.startswith("opus-mt-"):
        return (name.removeprefix("opus-mt-"),)
    return next((pairs for family, pairs in FAMILIES.items() if name.startswith(family)), None)


def _family(model: Model) -> str:
    """The last part of a model's name, in lower case: ``opus-mt-en-es``, ``t5-small``."""
    return model.name.rpartition(":")[2].rpartition("/")[2].lower()


def _usual(model: Model) -> Decoding:
    """Greedy; a small window keeps room for the prompt."""
    if model.window is None:
        return Decoding()
    return Decoding(max_new_tokens=max(1, min(512, model.window // 4)))
