"""Cards: what a folder's own files say, and what is wrong with a folder that is not whole."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest

from headrace.errors import Corrupt, InputError, NotFound
from headrace.models.card import card, whole
from headrace.models.headers import tensors_of
from headrace.models.places import named
from headrace.types import to_json
from models.written import model, tensors

README = """license: cc-by-sa-4.0
base_model: acme/base-7b
datasets:
- acme/letters
- acme/notes
language: [en, de]
pipeline_tag: text-generation"""


def test_a_card_says_what_the_files_say(tmp_path: Path) -> None:
    folder = model(tmp_path / "letters-instruct", readme=README, config={"torch_dtype": "float32"})
    tensors(folder / "model.safetensors", {"a": ("F32", (10, 20)), "b": ("BF16", (7,)), "c": ("I8", (3, 1))})
    found = to_json(card(folder))
    assert found["parameters"] == 210
    assert (found["bytes"], found["dtype"]) == (817, "F32")
    assert found["dtypes"] == {"BF16": 7, "F32": 200, "I8": 3}
    # 2 (keys and values) × 2 layers × 4 key heads × 8 numbers × 4 bytes × 1,000 tokens
    assert found["memory"]["per_1000_tokens"] == 2 * 2 * 4 * 8 * 4 * 1000
    assert found["memory"]["int8"] == 210
    assert (found["licence"]["id"], found["licence"]["kind"]) == ("cc-by-sa-4.0", "copyleft")
    assert found["base_model"] == ["acme/base-7b"]
    assert found["training_data"] == ["acme/letters", "acme/notes"]
    assert found["languages"] == ["en", "de"]
    assert (found["context"], found["release"], found["task"]) == (512, "instruct", "text-generation")
    assert found["tokenizer"] == {"scheme": "BPE", "vocabulary": 3}
    assert found["chat_template"] is False
    files = {file["name"]: file for file in found["files"]}
    data = (folder / "model.safetensors").read_bytes()
    assert files["model.safetensors"] == {
        "name": "model.safetensors",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    assert not found["missing"]


def test_a_folder_that_is_not_whole_names_what_is_missing(tmp_path: Path) -> None:
    folder = model(tmp_path / "sharded")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    (folder / "model.safetensors").rename(folder / shards["a"])
    (folder / "tokenizer.json").unlink()
    found = card(folder)
    assert found.missing == (shards["b"], "tokenizer.json")
    with pytest.raises(NotFound, match=r"'model-00002-of-00002.safetensors', 'tokenizer.json' are missing"):
        whole(found)
    (folder / "config.json").unlink()
    assert "config.json" in card(folder).missing
    with pytest.raises(NotFound, match=r"neither 'config.json' nor weights"):
        card(tmp_path)
    with pytest.raises(NotFound, match="no folder"):
        card(tmp_path / "gone")


@pytest.mark.parametrize("harm", ["short", "cut", "no json", "lying shape", "huge header"])
def test_damaged_weights_are_refused_without_reading_them(tmp_path: Path, harm: str) -> None:
    path = model(tmp_path / "m") / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(
        {
            "short": b"abc",
            "cut": data[:-1],
            "no json": struct.pack("<Q", 4) + b"{{{{",
            "lying shape": data.replace(b"[1000]", b"[1001]"),
            "huge header": struct.pack("<Q", 2**62) + data[8:],
        }[harm]
    )
    with pytest.raises(Corrupt, match=r"model\.safetensors"):
        tensors_of(path)


def test_stories_have_as_many_parameters_as_they_say(shared: Path) -> None:
    found = card(shared / "models" / "stories260K", hashed=False)
    assert found.tensors is not None
    assert found.tensors.parameters == 260_032
    assert (found.text.context, found.text.scheme, found.text.vocabulary) == (512, "BPE", 512)
    assert "licence and training data are not stated" in " ".join(found.notes)


def test_a_name_leads_to_its_folder(tmp_path: Path) -> None:
    folder = model(tmp_path / "a" / "letters")
    assert named(str(folder), places=[]) == folder
    assert named("letters", places=[tmp_path]) == folder
    with pytest.raises(NotFound, match="no model 'notes'"):
        named("notes", places=[tmp_path])
    with pytest.raises(NotFound, match="no folder"):
        named("./notes", places=[tmp_path])
    with pytest.raises(InputError, match="empty"):
        named(" ", places=[tmp_path])
