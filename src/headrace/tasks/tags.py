"""Tag: names and the like in a text, by a token-classification model on this machine.

Spans are exact places: ``text[start:end]`` is the ``word``. A word of several tokens has the label
of its first one; words that follow each other under one label are one span (``B-`` begins a new
one). Long texts are read in overlapping windows. The model runs through transformers; no model
ships.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from headrace import request
from headrace.errors import ModelRefused, NotFound, Unavailable
from headrace.extras import need
from headrace.tasks.given import each

FOR_WHAT = "Tagging"
OVERLAP = 32  # tokens that neighbouring windows share
OUTSIDE = "O"


def tag(given: str | Sequence[str], *, model: str | Path = "") -> Any:
    """``[{"entity_group", "score", "word", "start", "end"}]`` in the order of the text.

    ``model``: the folder of a token-classification model (``local:FOLDER`` or a path). Unavailable
    where none is named: there is no default.
    """
    place = str(model).removeprefix("local:")
    if not place:
        raise Unavailable(
            "tag needs a token-classification model, and none is named.",
            hint="Pull one (dslim/bert-base-NER, for example) and give its folder: model='./bert-base-NER'; "
            "on the command line: --model ./bert-base-NER.",
        )
    folder = Path(place).expanduser().absolute()
    if not (folder / "config.json").is_file():
        raise NotFound(
            f"{place!r} is not the folder of a model: there is no config.json in it.",
            hint="It needs config.json, safetensors weights and a tokenizer.json.",
        )
    return each(given, lambda texts: [_spans(text, _open(folder)) for text in texts])


class Tagger:
    """A token-classification model and its fast tokenizer, from a folder."""

    def __init__(self, folder: Path) -> None:
        self.torch = need("torch", extra="local", for_what=FOR_WHAT)
        transformers = need("transformers", extra="local", for_what=FOR_WHAT)
        torn = need("safetensors", extra="local", for_what=FOR_WHAT).SafetensorError
        options = {"local_files_only": True, "trust_remote_code": False}
        transformers.utils.logging.disable_progress_bar()
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
            model = transformers.AutoModelForTokenClassification.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **options
            )
        except (torn, OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelRefused(
                f"{str(folder)!r} could not be loaded as a token-classification model: {error}",
                hint="It needs config.json, safetensors weights and a tokenizer of a kind that transformers "
                "knows without code of the model's own.",
            ) from error
        self.model, found = model[0].eval(), model[1]
        missing = sorted(found.get("missing_keys", ()))
        if missing or not getattr(self.tokenizer, "is_fast", False):
            why = f"weights are missing ({missing[0]})" if missing else "its tokenizer gives no offsets"
            raise ModelRefused(
                f"{str(folder)!r} cannot tag: {why}.",
                hint="Use a model that was trained for token classification, with a tokenizer.json.",
            )
        self.labels: dict[int, str] = {int(k): str(v) for k, v in self.model.config.id2label.items()}
        longest = int(getattr(self.model.config, "max_position_embeddings", 512) or 512)
        self.window = min(longest, int(min(self.tokenizer.model_max_length, 100_000)))

    def words(self, text: str) -> list[tuple[int, int, str, float]]:
        """(start, end, label, probability) of each word, by its first token."""
        encoded = self.tokenizer(
            text,
            truncation=True,
            max_length=self.window,
            stride=min(OVERLAP, max(0, self.window // 4)),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        found: dict[tuple[int, int], tuple[str, float]] = {}
        for at, ids in enumerate(encoded["input_ids"]):
            request.checkpoint()
            with self.torch.inference_mode():
                logits = self.model(input_ids=self.torch.tensor([ids])).logits[0]
            shares = self.torch.softmax(logits.float(), dim=-1)
            best = shares.max(dim=-1)
            spans: dict[int, list[int]] = {}
            for token, word in enumerate(encoded.word_ids(at)):
                if word is not None:
                    spans.setdefault(word, []).append(token)
            offsets = encoded["offset_mapping"][at]
            for tokens in spans.values():
                place = (int(offsets[tokens[0]][0]), int(offsets[tokens[-1]][1]))
                first = tokens[0]
                if place[0] < place[1]:
                    label = self.labels[int(best.indices[first])]
                    found.setdefault(place, (label, float(best.values[first])))
        return [(start, end, *found[start, end]) for start, end in sorted(found)]


@lru_cache(maxsize=2)
def _open(folder: Path) -> Tagger:
    return Tagger(folder)


def _spans(text: str, tagger: Tagger) -> list[dict[str, Any]]:
    """Words joined into spans; the white space that some tokenizers count to a word left out."""
    found: list[dict[str, Any]] = []
    scores: list[list[float]] = []
    before = OUTSIDE
    for start, end, label, score in tagger.words(text):
        start += len(text[start:end]) - len(text[start:end].lstrip())
        kind = label[2:] if label[:2] in ("B-", "I-") else label
        if label == OUTSIDE or start >= end:
            before = OUTSIDE
            continue
        if found and before == kind and not label.startswith("B-") and start >= found[-1]["end"]:
            found[-1]["end"] = end
            scores[-1].append(score)
        elif not found or start >= found[-1]["end"]:
            found.append({"entity_group": kind, "score": 0.0, "word": "", "start": start, "end": end})
            scores.append([score])
        before = kind
    for span, each_score in zip(found, scores, strict=True):
        span["score"] = sum(each_score) / len(each_score)
        span["word"] = text[span["start"] : span["end"]]
    return found
