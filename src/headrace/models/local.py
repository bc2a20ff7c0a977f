"""A language model on this machine, through transformers. The only file of the room that names torch.

Weights are safetensors, never pickles; code that comes with a model is never run. Calls that
arrive together are written together (``batching.py``); the text of each is what transformers'
own ``generate`` gives for it.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.errors import InputError, ModelError, ModelRefused, SettingsError
from headrace.extras import need
from headrace.models.batching import Dispatcher, Job
from headrace.models.cost import Prices
from headrace.models.folders import FOR_WHAT, check_folder, find_folder
from headrace.models.pieces import Detokenizer
from headrace.models.stream import Pieces, TextStream, called
from headrace.models.weights import sha256_of
from headrace.settings import ModelSettings, Policy, home
from headrace.types import Completion, Decoding, Message, digest

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
)
# torch draws from one generator per process: whoever samples has it alone meanwhile
_RANDOM = threading.Lock()


class LocalModel:
    """A causal language model and its tokenizer, from a folder. Safe to share between threads.

    ``rows`` is how many calls at most are written at once. ``window`` is in tokens, prompt and
    answer together.
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
        self._torch = torch
        self._prices = prices or Prices()
        where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        torn = need("safetensors", extra="local", for_what=FOR_WHAT).SafetensorError
        options = {"local_files_only": True, "trust_remote_code": False}
        transformers.utils.logging.disable_progress_bar()
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, dtype=dtype, **options
            )
            self._model = model.to(where).eval()
        except (torn, OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelRefused(
                f"{str(folder)!r} could not be loaded as a language model: {error}",
                hint="It needs config.json, safetensors weights and a tokenizer of a kind that transformers "
                "knows without code of the model's own.",
            ) from error
        self._defaults = self._model.generation_config
        self._ends = _ids(self._defaults.eos_token_id) or _ids(self._tokenizer.eos_token_id)
        self.window = _window(self._model.config, window)
        self._dispatcher = Dispatcher(self._write, key=self._key, rows=rows, name=self.name)
        self._criterion = _criterion(transformers, torch)

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
        """Write the answer piece by piece. With ``num_beams`` it comes in one piece, at the end."""
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
        if not self._tokenizer.chat_template:
            turns = [m for m in messages if m.role != "system"]
            if len(turns) <= 1:
                return "\n\n".join(message.content for message in messages)
            lines = [m.content if m.role == "system" else f"{m.role.title()}: {m.content}" for m in messages]
            return "\n\n".join([*lines, "Assistant:"])
        refused = need("jinja2", extra="local", for_what="A chat template").TemplateError
        turns_of = [{"role": m.role, "content": m.content} for m in messages]
        try:
            text = self._tokenizer.apply_chat_template(turns_of, tokenize=False, add_generation_prompt=True)
        except refused as error:
            raise InputError(
                f"The chat template of {self.name!r} refuses these messages: {error}",
                hint="Roles must alternate between user and assistant; some templates take no system "
                "message: put it into the first user message.",
            ) from error
        return str(text)

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        templated = bool(self._tokenizer.chat_template)  # a template writes its own special tokens
        encoded = self._tokenizer(self.prompt(messages), add_special_tokens=not templated)
        return [int(token) for token in encoded["input_ids"]]

    def _job(self, messages: Sequence[Message], decoding: Decoding, *, streaming: bool) -> Job:
        prompt = self._encode(messages)
        room = decoding.max_new_tokens
        if self.window is not None:
            room = min(room, self.window - len(prompt))
            if room < max(1, decoding.min_new_tokens):
                raise InputError(
                    f"The prompt has {len(prompt)} tokens and {self.name!r} reads and writes at most "
                    f"{self.window} together.",
                    hint="Give fewer or shorter passages, or use a model with a longer window.",
                )
        tokens = Detokenizer(self._decode)
        return Job(prompt, decoding, room=room, tokens=tokens, streaming=streaming)

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(
            self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    # ------------------------------------------------------------------ in the dispatcher's thread

    def _key(self, job: Job) -> Any:
        """What jobs must have in common to share a batch; None: runs alone."""
        decoding = job.decoding
        if decoding.num_beams > 1 or (decoding.temperature > 0 and decoding.seed is not None):
            return None
        settings = (decoding.min_new_tokens, decoding.temperature, decoding.top_k, decoding.top_p)
        return (job.room, *settings)

    def _write(self, batch: list[Job]) -> None:
        torch, first = self._torch, batch[0]
        longest = max(len(job.prompt) for job in batch)
        pad = self._pad()
        ids = [[pad] * (longest - len(job.prompt)) + job.prompt for job in batch]
        mask = [[0] * (longest - len(job.prompt)) + [1] * len(job.prompt) for job in batch]
        beams = first.decoding.num_beams > 1
        watch = self._criterion(batch, self._ends, feeding=not beams)
        try:
            with torch.inference_mode(), self._randomness(first):
                device = self._model.device
                out = self._model.generate(
                    input_ids=torch.tensor(ids, device=device),
                    attention_mask=torch.tensor(mask, device=device),
                    generation_config=self._config(first),
                    stopping_criteria=[watch],
                )
        except RuntimeError as error:  # out of memory, and what else a device can run into
            raise ModelError(
                f"{self.name!r} could not write: {error}",
                hint="Give it shorter prompts or fewer at once (options.rows), or another device.",
            ) from error
        if beams:
            for token in out[0, longest:].tolist():
                if token in self._ends:
                    first.end("stop")
                elif first.feed(token):
                    break
        for job in batch:
            job.end("length")

    def _config(self, job: Job) -> Any:
        """The model's own generation settings, with what the Decoding decides."""
        decoding, config = job.decoding, copy.deepcopy(self._defaults)
        sampled = decoding.temperature > 0
        config.update(
            max_new_tokens=job.room,
            max_length=None,
            min_new_tokens=decoding.min_new_tokens or None,
            do_sample=sampled,
            num_beams=decoding.num_beams,
            temperature=decoding.temperature if sampled else None,
            eos_token_id=sorted(self._ends) or None,
            pad_token_id=self._pad(),
        )
        if not sampled:
            config.update(top_k=None, top_p=None)
        else:
            given = {"top_k": decoding.top_k, "top_p": decoding.top_p}
            config.update(**{key: value for key, value in given.items() if value is not None})
        return config

    def _pad(self) -> int:
        for token in (self._tokenizer.pad_token_id, self._defaults.pad_token_id, *sorted(self._ends)):
            if isinstance(token, int):
                return token
        return 0  # masked out, so any id will do

    @contextmanager
    def _randomness(self, first: Job) -> Iterator[None]:
        """torch's generator for this batch alone, seeded where a seed is given, and put back after."""
        torch, decoding = self._torch, first.decoding
        if decoding.temperature <= 0:
            yield
        elif decoding.seed is None:
            with _RANDOM:
                yield
        else:
            devices = [self._model.device] if self._model.device.type == "cuda" else []
            with first.held(), _RANDOM, torch.random.fork_rng(devices=devices):
                torch.manual_seed(decoding.seed)
                yield

    # ------------------------------------------------------------------ judging

    def logprobs(self, prompt: str, continuation: str) -> NDArray[np.float64]:
        """Natural logarithms of the probability of each token of ``continuation`` after ``prompt``.

        (tokens,), float64. The two are tokenized as one text where the prompt's tokens stay what
        they are, else apart. A prompt without any token needs a tokenizer that begins texts.
        """
        torch = self._torch
        before = self._tokenizer(prompt)["input_ids"]
        whole = self._tokenizer(prompt + continuation)["input_ids"]
        if whole[: len(before)] != before:
            whole = before + self._tokenizer(continuation, add_special_tokens=False)["input_ids"]
        if not before or len(whole) == len(before):
            raise InputError(
                f"prompt={prompt!r} and continuation={continuation!r} leave nothing to judge.",
                hint="Both need at least one token.",
            )
        if self.window is not None and len(whole) > self.window:
            raise InputError(
                f"The text has {len(whole)} tokens and {self.name!r} reads at most {self.window}.",
                hint="Judge it in shorter parts.",
            )
        with torch.inference_mode():
            ids = torch.tensor([whole], device=self._model.device)
            logits = self._model(input_ids=ids).logits[0, len(before) - 1 : -1].float()
            wanted = ids[0, len(before) :, None]
            found = torch.log_softmax(logits, dim=-1).gather(1, wanted)[:, 0]
        return np.asarray(found.double().cpu().numpy(), dtype=np.float64)


def _criterion(transformers: Any, torch: Any) -> Any:
    """The class that looks at every decoding step: hands tokens to their jobs, says who is done."""

    class Watch(transformers.StoppingCriteria):  # type: ignore[misc]
        def __init__(self, batch: list[Job], ends: frozenset[int], *, feeding: bool) -> None:
            self._batch, self._ends, self._feeding = batch, ends, feeding

        def __call__(self, input_ids: Any, scores: Any, **_: Any) -> Any:
            if not self._feeding:  # beams: rows are candidates of one job
                done = [not self._batch[0].wanted] * len(input_ids)
            else:
                done = [
                    self._step(job, token)
                    for job, token in zip(self._batch, input_ids[:, -1].tolist(), strict=True)
                ]
            return torch.tensor(done, device=input_ids.device, dtype=torch.bool)

        def _step(self, job: Job, token: int) -> bool:
            if token in self._ends:
                job.end("stop")
            return job.feed(token)

    return Watch


def _ids(value: Any) -> frozenset[int]:
    if value is None:
        return frozenset()
    return frozenset(int(token) for token in (value if isinstance(value, (list, tuple)) else [value]))


def _window(config: Any, given: int | None) -> int | None:
    for key in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        found = getattr(config, key, None)
        if isinstance(found, int) and found > 0:
            return found if given is None else min(found, given)
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
