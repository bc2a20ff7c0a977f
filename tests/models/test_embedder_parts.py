"""Parts of the embedder: rounding on grids, loading the runtime lightly, batches, cancelling."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import request
from headrace.errors import Cancelled, Corrupt, StateError
from headrace.models.embedder import BATCH, STEP, TOKENS, SentenceEmbedder, _batches, open_embedder
from headrace.models.quantise import Grid, packaged_grids, round_on_grid, round_rows
from headrace.models.tokens import Tokenizer, clean
from headrace.models.weights import sha256_of
from headrace.request import CancelToken, RequestContext
from headrace.settings import home


def test_rows_are_rounded_within_half_a_step() -> None:
    weight = np.random.default_rng(0).normal(size=(8, 32))
    weight[3] = 0
    stored, scale = round_rows(weight)
    assert stored.dtype == np.int8
    assert np.all(np.abs(stored * scale - weight) <= scale / 2 + 1e-6)
    assert not stored[3].any()


def test_a_split_channel_adds_up_to_its_value() -> None:
    """One channel in two stretches, one in one: the layer comes out as without any rounding."""
    grid = Grid(
        channel=np.array([0, 0, 1], np.int32),
        step=np.array([0.01, 0.01, 0.01], np.float32),
        zero=np.array([-0.5, 2.05, -1.0], np.float32),
        mean=np.zeros(3, np.float32),
    )
    np.testing.assert_array_equal(grid.base, np.array([-0.5, 0, -1], np.float32))
    weight, bias = np.array([[1.0, -1.0], [0.25, 0.5]], np.float32), np.array([0.1, -0.2], np.float32)
    rows = np.array([[4.2, 0.3], [-0.45, 1.2], [2.05, -1.0]], np.float32)
    stored, scale, shift = round_on_grid(weight, bias, grid)
    values = np.clip(np.rint((rows[:, grid.channel] - grid.zero) / grid.step), 0, 255)
    found = values @ (stored * scale).T + shift
    # half a step in each input, and a 254th of a weight on values of at most 4.6
    np.testing.assert_allclose(found, rows @ weight.T + bias, atol=0.04)


def test_the_shipped_grids_cover_every_linear_layer() -> None:
    grids = packaged_grids()
    assert len(grids) == 6 * 4
    for name, grid in grids.items():
        channels = 1536 if name.endswith("output.dense") and "attention" not in name else 384
        assert set(grid.channel.tolist()) == set(range(channels)), name
        assert np.all(grid.step > 0), name
        assert len(grid.channel) % 64 == 0, name


@given(lengths=st.lists(st.integers(2, 256), max_size=200))
def test_every_text_is_in_one_batch_within_the_budget(lengths: list[int]) -> None:
    batches = _batches(lengths)
    assert sorted(row for rows in batches for row in rows) == list(range(len(lengths)))
    for rows in batches:
        longest = -(-max(lengths[row] for row in rows) // STEP) * STEP
        assert len(rows) == 1 or len(rows) * longest <= TOKENS
        assert len(rows) <= BATCH


@settings(max_examples=15, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_what_else_is_embedded_makes_no_difference(
    embedder: SentenceEmbedder, precision: str, data: Any
) -> None:
    """To a millionth: alone, in small batches, and among many that run on several streams."""
    chosen = embedder if embedder.precision == precision else open_embedder("", precision, home=home())
    words = st.sampled_from("tide harbour storm λιμάνι корабль 海 42 — lantern keeper of the".split())
    texts = data.draw(st.lists(st.lists(words, max_size=120).map(" ".join), min_size=2, max_size=40))
    pick = data.draw(st.integers(0, len(texts) - 1))
    together = chosen.embed(texts)
    np.testing.assert_allclose(chosen.embed([texts[pick]])[0], together[pick], atol=1e-6)
    np.testing.assert_allclose(chosen.embed(texts[::-1])[::-1], together, atol=1e-6)


def test_lone_surrogates_are_embedded_and_counted(embedder: SentenceEmbedder) -> None:
    text = "tide \ud800 storm"
    assert len(clean(text)) == len(text)
    assert [text[a:b] for a, b in embedder.offsets(text)] == ["tide", "storm"]
    assert embedder.embed([text]).shape == (1, embedder.dimension)


def test_progress_reaches_the_end(embedder: SentenceEmbedder) -> None:
    seen: list[tuple[int, int | None]] = []
    embedder.embed(["tide " * 60] * 20, lambda done, total, _what: seen.append((done, total)))
    assert len(seen) > 1
    assert seen == sorted(seen)
    assert seen[-1] == (20, 20)


def test_a_cancelled_run_stops_between_batches_and_leaves_it_usable(embedder: SentenceEmbedder) -> None:
    token = CancelToken()
    done: list[int] = []

    def progress(count: int, _total: int | None, _what: str) -> None:
        done.append(count)
        token.cancel("enough")

    with request.use(RequestContext(cancel=token)), pytest.raises(Cancelled, match="enough"):
        embedder.embed(["tide " * 200] * 200, progress)
    assert done
    assert done[-1] < 200
    assert embedder.embed(["tide"]).shape == (1, embedder.dimension)


def test_many_threads_and_many_batches_at_once(embedder: SentenceEmbedder) -> None:
    texts = [f"tide {number} " * (number % 40 + 1) for number in range(60)]
    expected = embedder.embed(texts)
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        found[number] = embedder.embed(texts if number % 2 else texts[:3])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(6))
    for vectors in found.values():
        np.testing.assert_allclose(vectors, expected[: len(vectors)], atol=1e-6)


def test_a_changed_tokenizer_is_refused(tmp_path: Path, embedder: SentenceEmbedder) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(Corrupt, match="has changed"):
        Tokenizer(path, 256, embedder.weights.tokenizer)


def test_a_digest_is_taken_again_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = sha256_of(path, tmp_path / "home")
    assert sha256_of(path, tmp_path / "home") == first
    path.write_bytes(b"three")
    assert sha256_of(path, tmp_path / "home") != first


@pytest.mark.parametrize("before", ["light", "full"])
def test_openvino_is_whole_for_whoever_imports_it_later(before: str) -> None:
    """Loaded lightly or without its converter, the package still works for others in the process."""
    code = (
        "import sys\n"
        "from headrace.models import runtime\n"
        f"runtime.{before}()\n"
        "assert not [m for m in sys.modules if m.startswith('openvino_telemetry')]\n"
        f"assert ('openvino' in sys.modules) is {before == 'full'}\n"
        "import openvino\n"
        "assert openvino.Core().available_devices\n"
        "assert callable(openvino.convert_model)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_home_that_cannot_be_written_is_named(embedder: SentenceEmbedder, tmp_path: Path) -> None:
    blocked = tmp_path / "home"
    blocked.write_text("a file where a folder should be")
    with pytest.raises(StateError, match="cannot be written") as caught:
        open_embedder("", "int8", home=blocked).embed(["one"])
    assert "HEADRACE_HOME" in caught.value.hint
