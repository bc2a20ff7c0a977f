"""A language model on this machine, through transformers. The only file of the room that names torch.

Causal models and sequence-to-sequence ones. Weights are safetensors, never pickles; code that comes
with a model is never run. Calls that arrive together are written together (``batching.py``); the
text of each is what transformers' own ``generate`` gives for it (``generation.py``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import InputError, ModelRefused, SettingsError
from headrace.extras import need
from headrace.models import chat
from headrace.models.batching import Dispatcher, Job
from headrace.models.cost import Prices
from headrace.models.decoding import Encoded, Next, Read, Stages, Written
from headrace.models.folders import FOR_WHAT, check_folder, find_folder
from headrace.models.generation import Generation
from headrace.models.pieces import Detokenizer
from headrace.models.stream import Pieces, TextStream, called, refuse_beams
from headrace.models.weights import sha256_of
from headrace.settings import ModelSettings, Policy, home
from headrace.types import Completion, Decoding, Message, digest

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
)


class LocalModel:
    """A language model and its tokenizer, from a folder. Safe to share between threads.

    ``rows`` is how many calls at most are written at once. ``window`` is in tokens: of a causal
    model, prompt and answer together; of a sequence-to-sequence model, each for itself.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "",
        dtype: str = "auto",
        device: str = "auto",
        revision: str = "",
        window: int | None = None,
        rows: int = 16,
        prices: Prices | None = None,
    ) -> None:
        torch = need("torch", extra="local", for_what=FOR_WHAT)
        transformers = need("transformers", extra="local", for_what=FOR_WHAT)
        check_folder(folder)
        self.name = f"local:{name or folder.name}"
        self.folder = folder
        self._revision = revision
        self._prices = prices or Prices()
        where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        torn = need("safetensors", extra="local", for_what=FOR_WHAT).SafetensorError
        senseless = need("huggingface_hub", extra="local", for_what=FOR_WHAT).errors.StrictDataclassError
        options = {"local_files_only": True, "trust_remote_code": False}
        transformers.utils.logging.disable_progress_bar()
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
            config = transformers.AutoConfig.from_pretrained(folder, **options)
            kind = (
                transformers.AutoModelForSeq2SeqLM
                if config.is_encoder_decoder
                else transformers.AutoModelForCausalLM
            )
            model, found = kind.from_pretrained(
                folder, use_safetensors=True, dtype=dtype, output_loading_info=True, **options
            )
            self._model = model.to(where).eval()
        except (torn, senseless, OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelRefused(
                f"{str(folder)!r} could not be loaded as a language model: {error}",
                hint="It needs config.json, all safetensors files and a tokenizer of a kind that "
                "transformers knows without code of the model's own. Copy it again if a file is missing.",
            ) from error
        if missing := sorted(found["missing_keys"]):
            raise ModelRefused(
                f"{str(folder)!r} does not hold all weights of {type(self._model).__name__}: {missing[0]!r} "
                f"({len(missing)} in all) would be random numbers.",
                hint="A model that was trained for something else (classifying, filling gaps) cannot write; "
                "name one that was trained to, or copy the folder again.",
            )
        defaults = self._model.generation_config
        ends = _ids(defaults.eos_token_id) or _ids(self._tokenizer.eos_token_id)
        pads = (self._tokenizer.pad_token_id, defaults.pad_token_id, *sorted(ends), 0)
        pad = next(token for token in pads if isinstance(token, int))  # masked out: any id will do
        self.window = _window(self._model.config, window, self._tokenizer.model_max_length)
        self._generation = Generation(torch, transformers, self._model, name=self.name, ends=ends, pad=pad)
        self._dispatcher = Dispatcher(
            self._generation.write, key=self._generation.key, rows=rows, name=self.name
        )

    def __repr__(self) -> str:
        return f"LocalModel({self.name!r})"

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """SHA-256 of weights, configuration and tokenizer, and the kind of number it computes in."""
        weights = {path.name: sha256_of(path, home()) for path in sorted(self.folder.glob("*.safetensors"))}
        configured = [
            p for n in ("config.json", "generation_config.json") if (p := self.folder / n).is_file()
        ]
        tokenizer = [p for n in _TOKENIZER_FILES if (p := self.folder / n).is_file()]
        return {
            "claimed": False,
            "provider": "local",
            "model": self.name.removeprefix("local:"),
            "revision": self._revision,
            "weights": digest(weights),
            "config": digest([[p.name, sha256_of(p, home())] for p in configured]),
            "tokenizer": digest([[p.name, sha256_of(p, home())] for p in tokenizer]),
            "dtype": str(self._model.dtype).removeprefix("torch."),
        }

    def count(self, text: str) -> int:
        """Tokens, without those that begin a text."""
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def close(self) -> None:
        """Nothing to close: the memory goes with the object."""

    # ------------------------------------------------------------------ writing

    def complete(self, messages: Sequence[Message], decoding: Decoding) -> Completion:
        """Write the whole answer."""
        exact = partial(self.prompt, messages)
        with called(self.name, messages, decoding, provider="local", text=exact) as call:
            job = self._dispatcher.submit(self._job(messages, decoding, streaming=False))
            with closing(job.pieces()) as pieces:
                text = "".join(pieces)
            return call.done(self._completion(job, text))

    def stream(self, messages: Sequence[Message], decoding: Decoding) -> TextStream:
        """Write the answer piece by piece. Refused with ``num_beams``: see ``complete``."""
        refuse_beams(self.name, decoding)
        jobs: list[Job] = []

        def cut(came: str) -> Completion:
            used, written = (len(jobs[0].prompt), jobs[0].written) if jobs else (0, 0)
            return Completion(
                text=came,
                model=self.name,
                finish="cancelled",
                usage=self._prices.usage(used, written),
                identity=self.identity,
            )

        return TextStream(lambda: self._pieces(messages, decoding, jobs), partial=cut)

    def _pieces(self, messages: Sequence[Message], decoding: Decoding, jobs: list[Job]) -> Pieces:
        exact = partial(self.prompt, messages)
        with called(self.name, messages, decoding, provider="local", text=exact, stream=True) as call:
            job = self._dispatcher.submit(self._job(messages, decoding, streaming=True))
            jobs.append(job)
            came: list[str] = []
            with closing(job.pieces()) as pieces:
                for piece in pieces:
                    call.piece()
                    came.append(piece)
                    yield piece
            return call.done(self._completion(job, "".join(came)))

    def _completion(self, job: Job, text: str) -> Completion:
        return Completion(
            text=text,
            model=self.name,
            finish=job.finish,
            usage=self._prices.usage(len(job.prompt), job.written),
            identity=self.identity,
        )

    def prompt(self, messages: Sequence[Message]) -> str:
        """The text that the model reads: by the tokenizer's chat template where it has one, else
        the messages one after the other."""
        return chat.text_of(self._tokenizer, messages, name=self.name)

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        ids = chat.ids_of(self._tokenizer, messages, name=self.name)
        if not ids or not any(message.content.strip() for message in messages):
            raise InputError(
                f"The prompt for {self.name!r} is empty.", hint="Give at least one word to go on from."
            )
        return ids

    def _job(self, messages: Sequence[Message], decoding: Decoding, *, streaming: bool) -> Job:
        prompt = self._encode(messages)
        room = decoding.max_new_tokens
        if self.window is not None:
            two = self._generation.two_parts
            room = min(room, self.window if two else self.window - len(prompt))
            if room < max(1, decoding.min_new_tokens) or len(prompt) > self.window:
                raise InputError(
                    f"The prompt has {len(prompt)} tokens and {self.name!r} reads "
                    + (f"at most {self.window}." if two else f"and writes at most {self.window} together."),
                    hint="Give fewer or shorter passages, cut the prompt (shorten), or use a model with a "
                    "longer window.",
                )
        tokens = Detokenizer(self._decode)
        return Job(prompt, decoding, room=room, tokens=tokens, streaming=streaming)

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(
            self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    # ------------------------------------------------------------------ opened up

    def encode(self, texts: Sequence[str], *, max_length: int | None = None, full: bool = False) -> Encoded:
        """Texts as tensors of token ids, special tokens included, and their attention mask.

        Rows are as long as the longest, or ``max_length`` long where ``full`` is set; what is beyond
        ``max_length`` is cut and counted in ``dropped``. Filled up on the side that this model needs.
        """
        whole = [len(ids) for ids in self._tokenizer(list(texts))["input_ids"]] if texts else []
        cut = {} if max_length is None else {"truncation": True, "max_length": max_length}
        rows = (
            [list(map(int, ids)) for ids in self._tokenizer(list(texts), **cut)["input_ids"]] if texts else []
        )
        ids, mask = self._generation.padded(rows, max_length if full else None)
        return Encoded(ids=ids, mask=mask, dropped=[n - len(row) for n, row in zip(whole, rows, strict=True)])

    def shorten(self, messages: Sequence[Message], max_length: int) -> tuple[list[Message], int]:
        """The messages with the end of the last one cut, so that the prompt has at most ``max_length``
        tokens; and how many tokens were dropped. A chat template stays whole round them."""
        cut = list(messages)
        whole = size = len(self._encode(cut))
        while size > max_length:
            last = cut[-1]
            places = self._tokenizer(last.content, add_special_tokens=False, return_offsets_mapping=True)
            keep = len(places["input_ids"]) - (size - max_length)
            if keep < 1:
                raise InputError(
                    f"max_length={max_length} leaves no token of the last message: the rest of the prompt "
                    f"has {size - len(places['input_ids'])}.",
                    hint="Give a larger max_length, or shorter messages before the last one.",
                )
            cut[-1] = replace(last, content=last.content[: places["offset_mapping"][keep - 1][1]])
            size = len(self._encode(cut))
        return cut, whole - size

    def stages(
        self, messages: Sequence[Message], decoding: Decoding, *, max_length: int | None = None
    ) -> Stages:
        """Write once, as ``complete`` does, and show prompt, ids and mask, what was written, and text.

        ``max_length`` cuts the prompt as :meth:`shorten` does.
        """
        dropped = 0
        if max_length is not None:
            messages, dropped = self.shorten(messages, max_length)
        exact = self.prompt(messages)
        with called(self.name, messages, decoding, provider="local", text=lambda: exact) as call:
            begun = time.perf_counter()
            job = self._dispatcher.submit(self._job(messages, decoding, streaming=False))
            with closing(job.pieces()) as pieces:
                text = "".join(pieces)
            seconds = time.perf_counter() - begun
            call.done(self._completion(job, text))
        ids = tuple(job.ids)
        return Stages(
            prompt=exact,
            read=Read(
                ids=tuple(job.prompt),
                tokens=self._tokens(job.prompt),
                mask=(1,) * len(job.prompt),
                dropped=dropped,
            ),
            written=Written(
                ids=ids,
                tokens=self._tokens(ids),
                logprobs=tuple(self._generation.judge(job.prompt, ids).tolist()) if ids else (),
                finish=job.finish,
                seconds=seconds,
            ),
            text=text,
        )

    def _tokens(self, ids: Sequence[int]) -> tuple[str, ...]:
        return tuple(self._tokenizer.convert_ids_to_tokens(list(ids)))

    def next_tokens(self, messages: Sequence[Message], top: int = 10) -> list[Next]:
        """The ``top`` likeliest tokens to begin the text with, best first, by the model itself: no
        temperature, nothing left out. Their probabilities sum to at most 1."""
        if top < 1:
            raise InputError(f"top={top!r} leaves nothing to show.", hint="Give 1 or more.")
        job = self._job(messages, Decoding(max_new_tokens=1), streaming=False)
        ids, found = self._generation.next(job.prompt, top)
        named = zip(self._tokens(ids), ids, found, strict=True)
        return [Next(token=token, id=id, probability=p) for token, id, p in named]

    def logprobs(self, prompt: str, continuation: str) -> NDArray[np.float64]:
        """Natural logarithms of the probability of each token of ``continuation`` after ``prompt``.

        (tokens,), float64. For a causal model the two are tokenized as one text where the prompt's
        tokens stay what they are, else apart; a prompt without any token needs a tokenizer that begins
        texts. A sequence-to-sequence model reads the prompt and is asked about the continuation.
        """
        before = self._tokenizer(prompt)["input_ids"]
        if self._generation.two_parts:
            after = self._tokenizer(text_target=continuation, add_special_tokens=False)["input_ids"]
            longest = max(len(before), len(after))
        else:
            whole = self._tokenizer(prompt + continuation)["input_ids"]
            if whole[: len(before)] != before:
                whole = before + self._tokenizer(continuation, add_special_tokens=False)["input_ids"]
            after, longest = whole[len(before) :], len(whole)
        if not before or not after:
            raise InputError(
                f"prompt={prompt!r} and continuation={continuation!r} leave nothing to judge.",
                hint="Both need at least one token.",
            )
        if self.window is not None and longest > self.window:
            raise InputError(
                f"The text has {longest} tokens and {self.name!r} reads at most {self.window}.",
                hint="Judge it in shorter parts.",
            )
        return self._generation.judge(before, after)


def _ids(value: Any) -> frozenset[int]:
    if value is None:
        return frozenset()
    return frozenset(int(token) for token in (value if isinstance(value, (list, tuple)) else [value]))


def _window(config: Any, given: int | None, read: Any) -> int | None:
    for key in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        found = getattr(config, key, None)
        if isinstance(found, int) and found > 0:
            return found if given is None else min(found, given)
    if given is None and isinstance(read, int) and 0 < read < 10**9:  # beyond: "no limit" in its files
        return read
    return given


def open_local(name: str, settings: ModelSettings, *, policy: Policy, root: Path) -> LocalModel:
    """The model in a folder or behind a hub id. ``options``: dtype, device, revision, rows."""
    kinds: Mapping[str, type] = {"dtype": str, "device": str, "revision": str, "rows": int}
    for key, value in settings.options.items():
        if key not in kinds or not isinstance(value, kinds[key]) or value == 0:
            raise SettingsError(
                f"The option {key!r} = {value!r} is not one of a local model.",
                hint="Known: dtype ('auto', 'float32', 'bfloat16'), device ('auto', 'cpu', 'cuda'), "
                "revision (of a hub id), rows (written at once, 1 or more).",
            )
    wanted = name or settings.model
    if not wanted:
        raise SettingsError("No model is named.", hint="Write local: and a folder or a hub id.")
    need("transformers", extra="local", for_what=FOR_WHAT)
    revision = settings.options.get("revision", "")
    folder = find_folder(wanted, revision=revision, policy=policy, root=root)
    if folder.parent.name == "snapshots":  # the cache of the Hub names folders by revision
        revision = folder.name
    options = {key: settings.options[key] for key in ("dtype", "device", "rows") if key in settings.options}
    return LocalModel(
        folder,
        name=wanted,
        revision=revision,
        window=settings.window,
        prices=Prices.of(settings),
        **options,
    )
