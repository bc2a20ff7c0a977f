"""A masked model: which words could stand in a gap, judged from both sides of it.

Fills gaps, one at a time, and writes no text; models that write are in ``local.py``. Weights are
safetensors, never pickles; code that comes with a model is never run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import InputError, ModelError, ModelRefused
from headrace.extras import need
from headrace.models.decoding import Next
from headrace.models.folders import FOR_WHAT, check_folder
from headrace.models.weights import read_json
from headrace.text import shorten

_GAP = re.compile(r"\[MASK\]|<mask>", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A gap of a text: where its mark stood, in code points, and what could stand there, best first.

    The probabilities are of this gap alone, the others left as gaps; they sum to at most 1.
    """

    start: int
    end: int
    candidates: tuple[Next, ...]


def fills_gaps(folder: Path) -> bool:
    """Whether the model in a folder was saved as one that fills gaps. Loads nothing."""
    saved = read_json(folder / "config.json").get("architectures") or ()
    return any(str(name).endswith("ForMaskedLM") for name in saved)


class MaskedModel:
    """A model and its tokenizer, from a folder. Safe to share between threads."""

    def __init__(self, folder: Path, *, name: str = "") -> None:
        self._torch = need("torch", extra="local", for_what=FOR_WHAT)
        transformers = need("transformers", extra="local", for_what=FOR_WHAT)
        torn = need("safetensors", extra="local", for_what=FOR_WHAT).SafetensorError
        check_folder(folder)
        saved = [str(name) for name in read_json(folder / "config.json").get("architectures") or ()]
        if saved and not fills_gaps(folder):
            raise ModelRefused(
                f"{str(folder)!r} fills no gaps: it was saved as {saved[0]}.",
                hint="Name a masked model such as BERT. A model that writes shows its next tokens instead: "
                "headrace decode MODEL TEXT --next 5.",
            )
        self.name = f"local:{name or folder.name}"
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        transformers.utils.logging.disable_progress_bar()
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
            model, found = transformers.AutoModelForMaskedLM.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **options
            )
        except (torn, OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelRefused(
                f"{str(folder)!r} could not be loaded as a model that fills gaps: {shorten(str(error), 300)}",
                hint="It needs config.json, safetensors weights and a tokenizer, of a masked model such as "
                "BERT.",
            ) from error
        if (missing := sorted(found["missing_keys"])) or self._tokenizer.mask_token_id is None:
            why = f"{missing[0]!r} is missing" if missing else "its tokenizer has no mask"
            raise ModelRefused(
                f"{str(folder)!r} cannot fill gaps: {why}.", hint="Name a model that was trained to."
            )
        self._model = model.eval()
        longest = getattr(self._model.config, "max_position_embeddings", None)
        self.window = min(int(longest or 512), int(min(self._tokenizer.model_max_length, 100_000)))

    def __repr__(self) -> str:
        return f"MaskedModel({self.name!r})"

    def fill(self, text: str, top: int = 5) -> list[Gap]:
        """The ``top`` likeliest tokens of each gap. A gap is written ``[MASK]`` or ``<mask>``."""
        if top < 1:
            raise InputError(f"top={top!r} leaves nothing to show.", hint="Give 1 or more.")
        places = [match.span() for match in _GAP.finditer(text)]
        if not places:
            raise InputError(
                f"The text has no gap: {text!r:.60}.", hint="Write [MASK] where a word is to be guessed."
            )
        torch, mask = self._torch, int(self._tokenizer.mask_token_id)
        ids = self._tokenizer(_GAP.sub(str(self._tokenizer.mask_token), text))["input_ids"]
        if len(ids) > self.window:
            raise InputError(
                f"The text has {len(ids)} tokens and {self.name!r} reads at most {self.window}.",
                hint="Give a shorter text.",
            )
        with torch.inference_mode():
            logits = self._model(input_ids=torch.tensor([ids])).logits[0]
            where = [at for at, id in enumerate(ids) if id == mask]
            shares = torch.softmax(logits[where].double(), dim=-1)
            best = shares.topk(min(top, shares.shape[-1]), dim=-1)
        if not torch.isfinite(best.values).all():
            raise ModelError(
                f"{self.name!r} computed values that are not numbers (NaN or infinity).",
                hint="Its weights are damaged: fetch them again.",
            )
        found = []
        for (start, end), chosen, values in zip(
            places, best.indices.tolist(), best.values.tolist(), strict=True
        ):
            tokens = self._tokenizer.convert_ids_to_tokens(chosen)
            listed = zip(tokens, chosen, values, strict=True)
            candidates = tuple(Next(token=token, id=id, probability=p) for token, id, p in listed)
            found.append(Gap(start=start, end=end, candidates=candidates))
        return found
