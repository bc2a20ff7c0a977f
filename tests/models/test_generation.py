"""Writing equals transformers' own ``generate`` token by token, for causal and sequence-to-sequence
models; beam search and nucleus sampling equal a second, small implementation in this file."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import PROMPTS, save_bart, save_gpt2, save_t5, save_words

from contracts.model import ModelContract
from headrace.errors import InputError, ModelError, ModelRefused
from headrace.models.local import LocalModel, open_local
from headrace.settings import ModelSettings
from headrace.types import Decoding, Message

torch = pytest.importorskip("torch", reason="the extra 'local' is not installed")
transformers = pytest.importorskip("transformers", reason="the extra 'local' is not installed")

KINDS: dict[str, Callable[[Path], Path]] = {"gpt2": save_gpt2, "t5": save_t5, "bart": save_bart}
DECODINGS = {
    "greedy": {"max_new_tokens": 14},
    "beam": {"num_beams": 4, "max_new_tokens": 14},
    "sampling": {"temperature": 1.0, "seed": 3, "max_new_tokens": 14},
    "top-k": {"temperature": 0.7, "top_k": 5, "seed": 1, "max_new_tokens": 14},
    "top-p": {"temperature": 1.5, "top_p": 0.8, "seed": 2, "max_new_tokens": 14},
    "all of them": {
        "temperature": 0.7,
        "top_k": 20,
        "top_p": 0.5,
        "num_beams": 2,
        "seed": 4,
        "max_new_tokens": 12,
    },
    "beam with sampling": {"temperature": 1.0, "num_beams": 3, "seed": 5, "max_new_tokens": 10},
    "lengths": {"min_new_tokens": 12, "max_new_tokens": 15},
    "lengths of beams": {"min_new_tokens": 5, "max_new_tokens": 8, "num_beams": 10},
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """These models are so small that threads of torch only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return opened(KINDS[request.param](tmp_path_factory.mktemp("models") / request.param))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return opened(save_gpt2(tmp_path_factory.mktemp("models") / "gpt2", seed=1))


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return opened(save_t5(tmp_path_factory.mktemp("models") / "t5", seed=1))


def opened(folder: Path, **options: Any) -> LocalModel:
    return open_local(str(folder), ModelSettings(options=options), policy="off", root=Path("/"))


def say(text: str) -> list[Message]:
    return [Message("user", text)]


def theirs(model: LocalModel, prompt: str, *, seed: int | None = None, **settings: Any) -> list[int]:
    """The tokens that transformers' own generate writes for one prompt, alone."""
    encoded = model._tokenizer(prompt, return_tensors="pt")
    sampled = settings.get("temperature", 0) > 0
    settings.setdefault("max_new_tokens", 512)
    if not model._model.config.is_encoder_decoder:
        room = model.window - encoded["input_ids"].shape[1]
        settings["max_new_tokens"] = min(settings["max_new_tokens"], room)
    else:
        settings["max_new_tokens"] = min(settings["max_new_tokens"], model.window)
    settings = {"num_beams": 1, "min_length": 0, **settings, "do_sample": sampled, "pad_token_id": 0}
    with torch.random.fork_rng():
        if seed is not None:
            torch.manual_seed(seed)
        out = model._model.generate(
            input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"], **settings
        )[0].tolist()
    return out[1:] if model._model.config.is_encoder_decoder else out[encoded["input_ids"].shape[1] :]


class TestGpt2Contract(ModelContract):
    @pytest.fixture
    def model(self, gpt2: LocalModel) -> LocalModel:
        return gpt2


class TestT5Contract(ModelContract):
    @pytest.fixture
    def model(self, t5: LocalModel) -> LocalModel:
        return t5


# ---------------------------------------------------------------------- equal to transformers


@pytest.mark.parametrize("name", DECODINGS)
def test_every_decoding_is_transformers_own_token_by_token(model: LocalModel, name: str) -> None:
    settings = DECODINGS[name]
    for prompt in PROMPTS[:3]:
        expected = theirs(model, prompt, **settings)
        found = model.stages(say(prompt), Decoding(**settings))
        assert list(found.written.ids) == expected, prompt
        assert found.written.finish == ("stop" if expected[-1] == 2 else "length")
        assert found.text == model._tokenizer.decode(expected, skip_special_tokens=True)


def test_what_a_model_brings_along_is_overruled(tmp_path: Path) -> None:
    """The folder's own generation settings ask for 4 beams and 9 tokens at least."""
    bart = opened(save_bart(tmp_path / "bart"))
    assert bart._model.generation_config.num_beams == 4
    assert bart.complete(say("the mill"), Decoding(max_new_tokens=5)).usage.output_tokens <= 5


def test_the_class_of_the_architecture_writes_the_same(t5: LocalModel) -> None:
    own = transformers.T5ForConditionalGeneration.from_pretrained(t5.folder).eval()
    for prompt in PROMPTS:
        encoded = t5._tokenizer(prompt, return_tensors="pt")
        out = own.generate(**encoded, max_new_tokens=10, do_sample=False)[0].tolist()
        assert list(t5.stages(say(prompt), Decoding(max_new_tokens=10)).written.ids) == out[1:]


def test_a_batch_writes_what_each_would_alone(model: LocalModel) -> None:
    decoding = Decoding(max_new_tokens=12)
    alone = [list(model.stages(say(prompt), decoding).written.ids) for prompt in PROMPTS]
    jobs = [model._job(say(prompt), decoding, streaming=False) for prompt in PROMPTS]
    model._generation.write(jobs)
    assert [job.ids for job in jobs] == alone


# ---------------------------------------------------------------------- equal to a second implementation


def probabilities(model: LocalModel, read: list[int], written: list[int]) -> Any:
    """Natural logarithms of the next token's probabilities, without any cache. (vocabulary,)"""
    with torch.no_grad():
        if model._model.config.is_encoder_decoder:
            start = model._model.config.decoder_start_token_id
            out = model._model(
                input_ids=torch.tensor([read]), decoder_input_ids=torch.tensor([[start, *written]])
            )
        else:
            out = model._model(input_ids=torch.tensor([[*read, *written]]))
    return torch.log_softmax(out.logits[0, -1].float(), -1)


def beam_search(model: LocalModel, prompt: str, *, beams: int, most: int, least: int = 0) -> list[int]:
    """Beam search as it is told: the best texts so far, each lengthened by every token. A text that
    ends is put aside with the mean of its logarithms; the search ends where no running text is
    better than the worst of ``beams`` ended ones."""
    read = model._tokenizer(prompt)["input_ids"]
    running: list[tuple[float, list[int]]] = [(0.0, [])]
    ended: list[tuple[float, list[int]]] = []
    for step in range(1, most + 1):
        lengthened = []
        for score, tokens in running:
            logs = probabilities(model, read, tokens)
            if step <= least:
                logs[2] = -math.inf
            lengthened += [(score + float(log), [*tokens, i]) for i, log in enumerate(logs)]
        lengthened.sort(key=lambda pair: -pair[0])
        running = []
        for rank, (score, tokens) in enumerate(lengthened[: 2 * beams]):
            if tokens[-1] == 2:
                if rank < beams:
                    ended.append((score / len(tokens), tokens))
            elif len(running) < beams:
                running.append((score, tokens))
        ended = sorted(ended, key=lambda pair: -pair[0])[:beams]
        if len(ended) == beams and running[0][0] / step <= ended[-1][0]:
            break
    else:
        ended += [(score / most, tokens) for score, tokens in running]
    return max(ended, key=lambda pair: pair[0])[1]


def nucleus(logs: Any, *, temperature: float, top_k: int, top_p: float) -> Any:
    """Probabilities after temperature, then of the ``top_k`` likeliest tokens, then of the fewest of
    these that hold ``top_p`` of what is left."""
    order = sorted(range(len(logs)), key=lambda i: -float(logs[i]))[:top_k]
    weights = torch.exp(logs[order].double() / temperature)
    weights = weights / weights.sum()
    kept, held = [], 0.0
    for i, weight in zip(order, weights.tolist(), strict=True):
        if held >= top_p:
            break
        kept.append((i, weight))
        held += weight
    found = torch.zeros(len(logs))
    for i, weight in kept:
        found[i] = weight / held
    return found


@pytest.mark.parametrize("beams", [1, 4])
def test_beam_search_is_what_a_second_implementation_finds(model: LocalModel, beams: int) -> None:
    if model._model.generation_config.forced_bos_token_id is not None:
        pytest.skip("a first token that is forced is not part of the search that is checked here")
    for prompt in PROMPTS[:3]:
        for least, most in ((0, 12), (8, 8)):
            decoding = Decoding(num_beams=beams, min_new_tokens=least, max_new_tokens=most)
            found = model.stages(say(prompt), decoding).written.ids
            assert list(found) == beam_search(model, prompt, beams=beams, most=most, least=least), prompt


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 1.0, "top_k": 48, "top_p": 0.8},
        {"temperature": 0.7, "top_k": 20, "top_p": 0.5},
        {"temperature": 2.0, "top_k": 10, "top_p": 0.95},
        {"temperature": 1.3, "top_k": 5, "top_p": 1.0},
    ],
)
def test_a_nucleus_is_what_a_second_implementation_keeps(model: LocalModel, settings: dict[str, Any]) -> None:
    if model._model.generation_config.forced_bos_token_id is not None:
        pytest.skip("a first token that is forced is not drawn")
    for seed, prompt in enumerate(PROMPTS[:3]):
        read, written = model._tokenizer(prompt)["input_ids"], []
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            while len(written) < 10 and 2 not in written:
                kept = nucleus(probabilities(model, read, written), **settings)
                written.append(int(torch.multinomial(kept, 1)))
        found = model.stages(say(prompt), Decoding(max_new_tokens=10, seed=seed, **settings))
        assert list(found.written.ids) == written


# ---------------------------------------------------------------------- what the settings promise


def test_more_beams_find_a_likelier_text(model: LocalModel) -> None:
    fixed = {"min_new_tokens": 10, "max_new_tokens": 10}
    found = {
        beams: [
            sum(model.stages(say(p), Decoding(num_beams=beams, **fixed)).written.logprobs) for p in PROMPTS
        ]
        for beams in (1, 10)
    }
    assert sum(found[10]) > sum(found[1])


def test_one_candidate_is_greedy_and_so_is_a_temperature_near_zero(model: LocalModel) -> None:
    for prompt in PROMPTS:
        greedy = model.complete(say(prompt), Decoding(max_new_tokens=10)).text
        for near in ({"temperature": 1.0, "top_k": 1}, {"temperature": 1e-4}):
            assert model.complete(say(prompt), Decoding(max_new_tokens=10, seed=7, **near)).text == greedy


def test_beams_that_sample_differ_from_beams_and_repeat_with_their_seed(gpt2: LocalModel) -> None:
    beams = Decoding(num_beams=2, max_new_tokens=12)
    sampled = {
        seed: [
            gpt2.complete(
                say("the mill"), Decoding(num_beams=2, temperature=1.5, seed=seed, max_new_tokens=12)
            ).text
            for _ in range(2)
        ]
        for seed in range(5)
    }
    assert all(one == again for one, again in sampled.values())
    assert len({one for one, _ in sampled.values()} - {gpt2.complete(say("the mill"), beams).text}) > 2


def test_lengths_are_kept_in_tokens(model: LocalModel) -> None:
    for beams in (1, 3):
        for prompt in PROMPTS:
            decoding = Decoding(
                min_new_tokens=11, max_new_tokens=13, num_beams=beams, temperature=1.5, seed=beams
            )
            assert 11 <= model.complete(say(prompt), decoding).usage.output_tokens <= 13


def test_seeds_of_calls_that_arrive_together_stay_apart(gpt2: LocalModel) -> None:
    def decoding(seed: int) -> Decoding:
        return Decoding(temperature=1.0, seed=seed, max_new_tokens=12)

    alone = [gpt2.complete(say("the mill"), decoding(seed)).text for seed in range(8)]
    texts: dict[int, str] = {}
    noise = Decoding(temperature=1.0, max_new_tokens=12)
    threads = [
        threading.Thread(
            target=lambda s=seed: texts.update({s: gpt2.complete(say("the mill"), decoding(s)).text})
        )
        for seed in range(8)
    ] + [threading.Thread(target=lambda: gpt2.complete(say("he asks"), noise)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [texts[seed] for seed in range(8)] == alone
    assert len(set(alone)) > 4


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"temperature": 1.0, "seed": 2}])
def test_a_stop_string_ends_the_text_exactly_before_it(model: LocalModel, settings: dict[str, Any]) -> None:
    fixed = {"min_new_tokens": 12, "max_new_tokens": 12, **settings}
    whole = model.complete(say("once upon"), Decoding(**fixed)).text
    words = [word for word in whole.split() if len(word) > 2]
    stop = words[len(words) // 2][1:]  # in the middle of a token
    done = model.complete(say("once upon"), Decoding(stop=("nowhere", stop), **fixed))
    assert done.text == whole[: whole.index(stop)]
    assert done.finish == "stop"


# ---------------------------------------------------------------------- log-probabilities


def test_logprobs_of_a_model_in_two_parts_are_its_loss(t5: LocalModel) -> None:
    found = t5.logprobs("the mill stands", "by the river")
    read = t5._tokenizer("the mill stands", return_tensors="pt")["input_ids"]
    wanted = t5._tokenizer("by the river", add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        loss = float(t5._model(input_ids=read, labels=wanted).loss)
    assert found.shape == (3,)
    assert -found.mean() == pytest.approx(loss, rel=1e-5)


def test_the_logprobs_of_what_was_written_are_those_of_the_model(model: LocalModel) -> None:
    shown = model.stages(say("the mill"), Decoding(max_new_tokens=10, temperature=1.0, seed=1))
    read, written = list(shown.read.ids), list(shown.written.ids)
    if model._model.generation_config.forced_bos_token_id is None:
        expected = [float(probabilities(model, read, written[:i])[t]) for i, t in enumerate(written)]
        np.testing.assert_allclose(shown.written.logprobs, expected, atol=1e-4)
    assert len(shown.written.logprobs) == len(written)
    assert max(shown.written.logprobs) <= 0


def test_the_likeliest_next_tokens_are_sorted_and_hold_at_most_all(model: LocalModel) -> None:
    for prompt in PROMPTS:
        found = model.next_tokens(say(prompt), 5)
        logs = probabilities(model, model._tokenizer(prompt)["input_ids"], [])
        assert [each.id for each in found] == logs.topk(5).indices.tolist()
        assert [each.probability for each in found] == pytest.approx(
            logs.topk(5).values.exp().tolist(), rel=1e-4
        )
        assert sum(each.probability for each in found) <= 1 + 1e-6
    whole = model.next_tokens(say("the mill"), 1000)
    assert sum(each.probability for each in whole) == pytest.approx(1, abs=1e-5)
    assert whole[0].token == model._tokenizer.convert_ids_to_tokens(whole[0].id)
    with pytest.raises(InputError, match="top=0"):
        model.next_tokens(say("the mill"), 0)


# ---------------------------------------------------------------------- what cannot be


def poisoned(folder: Path, kind: Callable[[Path], Path]) -> LocalModel:
    kind(folder)
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    name = next(key for key in weights if "norm" in key.lower() or "ln_f" in key)
    weights[name] = torch.full_like(weights[name], math.nan)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return opened(folder)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["greedy", "beam", "sampling", "beam with sampling"])
def test_numbers_that_are_none_are_an_error_and_not_a_text(kind: str, name: str, tmp_path: Path) -> None:
    model = poisoned(tmp_path / kind, KINDS[kind])
    with pytest.raises(ModelError, match="not numbers"):
        model.complete(say("the mill"), Decoding(**DECODINGS[name]))
    with pytest.raises(ModelError, match="not numbers"):
        model.logprobs("the mill", "stands by")


def test_an_empty_prompt_is_refused(model: LocalModel) -> None:
    for text in ("", "  \n"):
        with pytest.raises(InputError, match="empty"):
            model.complete(say(text), Decoding())


def test_a_prompt_beyond_the_window_is_refused(model: LocalModel) -> None:
    with pytest.raises(InputError, match=r"9\d tokens.*64"):
        model.complete(say("water " * 90), Decoding(max_new_tokens=4))


def test_a_prompt_may_fill_the_window_of_a_model_in_two_parts(t5: LocalModel) -> None:
    done = t5.complete(say("water " * 63), Decoding(max_new_tokens=4))
    assert done.usage.input_tokens == 64


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_with_a_missing_file_says_so(model: LocalModel, missing: str, tmp_path: Path) -> None:
    for path in model.folder.iterdir():
        if path.name != missing:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises((ModelRefused, InputError.__mro__[1])) as caught:
        opened(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.hint


def test_a_missing_part_of_the_weights_is_not_made_up(tmp_path: Path) -> None:
    folder = save_gpt2(tmp_path / "parts")
    model = transformers.GPT2LMHeadModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    parts = sorted(folder.glob("*.safetensors"))
    assert len(parts) > 1
    assert opened(folder).complete(say("the mill"), Decoding(max_new_tokens=3)).usage.output_tokens <= 3
    parts[-1].unlink()
    with pytest.raises(ModelRefused):
        opened(folder)


def test_weights_that_were_not_trained_to_write_are_refused(tmp_path: Path) -> None:
    size = save_words(tmp_path, begins=True, ends=True)
    config = transformers.BertConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        is_decoder=True,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(ModelRefused, match="random numbers"):
        opened(tmp_path)


# ---------------------------------------------------------------------- texts as tensors


def test_texts_become_tensors_filled_up_on_the_right_side(gpt2: LocalModel, t5: LocalModel) -> None:
    texts = ["the mill", "how many days of leave do you get ?"]
    left, right = gpt2.encode(texts), t5.encode(texts)
    assert [len(row) for row in left.ids] == [9, 9]
    assert left.mask[0] == [0] * 7 + [1] * 2
    assert right.mask[0] == [1] * 3 + [0] * 7  # the end of a text is a token
    for model, made in ((gpt2, left), (t5, right)):
        theirs = model._tokenizer(
            texts, padding=True, return_tensors="np", padding_side="left" if model is gpt2 else "right"
        )
        assert theirs["input_ids"].tolist() == made.ids
        assert theirs["attention_mask"].tolist() == made.mask
        assert made.dropped == [0, 0]


def test_what_is_cut_off_is_counted(gpt2: LocalModel, t5: LocalModel) -> None:
    texts = ["the mill", "how many days of leave do you get ?"]
    for model, dropped in ((gpt2, [0, 4]), (t5, [0, 5])):
        made = model.encode(texts, max_length=5, full=True)
        assert made.dropped == dropped
        assert [len(row) for row in made.ids] == [5, 5]
        assert model._tokenizer(texts[1], truncation=True, max_length=5)["input_ids"] == made.ids[1]
    assert gpt2.encode(["the mill"], max_length=4, full=True).mask == [[0, 0, 1, 1]]
    assert gpt2.encode([]).ids == []


def test_a_prompt_is_cut_at_its_end_and_says_by_how_much(gpt2: LocalModel, t5: LocalModel) -> None:
    for model in (gpt2, t5):
        cut, dropped = model.shorten(say("how many days of leave do you get ?"), 6)
        assert dropped == model.count("how many days of leave do you get ?") - model.count(cut[0].content)
        assert len(model._encode(cut)) == 6
        assert "how many days of leave".startswith(cut[0].content[:22])
    assert gpt2.shorten(say("the mill"), 6) == (say("the mill"), 0)
    with pytest.raises(InputError, match="max_length=1"):
        t5.shorten(say("the mill"), 1)


# ---------------------------------------------------------------------- a model that was trained


@pytest.mark.parametrize("name", DECODINGS)
def test_stories_are_transformers_own_for_every_decoding(shared: Path, name: str) -> None:
    stories = opened(shared / "models" / "stories260K")
    settings = {"max_new_tokens": 24, **DECODINGS[name]}
    for prompt in ("Once upon a time", "Lily", "The dog saw a big", "One day, Tom"):
        encoded = stories._tokenizer(prompt, return_tensors="pt")
        with torch.random.fork_rng():
            torch.manual_seed(settings.get("seed", 0))
            asked = {key: value for key, value in settings.items() if key != "seed"}
            asked["do_sample"] = "temperature" in settings
            out = stories._model.generate(
                input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"], **asked
            )[0, encoded["input_ids"].shape[1] :].tolist()
        assert list(stories.stages(say(prompt), Decoding(**settings)).written.ids) == out


def test_configuration_without_sense_is_refused(tmp_path: Path) -> None:
    folder = save_gpt2(tmp_path / "odd")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_head": "many"}))
    with pytest.raises(ModelRefused, match="could not be loaded"):
        opened(folder)
