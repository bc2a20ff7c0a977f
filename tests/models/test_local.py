"""Local models: equal to transformers' own ``generate``, token by token. No shared folder needed for
the essentials: a small random Llama with a tokenizer of whole words is built here."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.model import ASK, SHORT, ModelContract
from headrace import request, tracing
from headrace.errors import Cancelled, InputError, ModelRefused, NotFound, SettingsError
from headrace.models.local import LocalModel, open_local
from headrace.settings import ModelSettings
from headrace.types import Decoding, Message

torch = pytest.importorskip("torch", reason="the extra 'local' is not installed")
transformers = pytest.importorskip("transformers", reason="the extra 'local' is not installed")

WORDS = """once upon a time how many days of leave do you get the mill stands by river and wheel turns all
day when water is high miller opens gate he asks his daughter what she saw an owl two boats three loaves
be brief . , ?""".split()
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('system comes first') }}{% endif %}{{ m.role }} {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}assistant {% endif %}"
)


def build(folder: Path, *, seed: int = 0, window: int = 64, template: str = "") -> Path:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["<unk>", "<s>", "</s>"]
    vocabulary = {word: i for i, word in enumerate([*special, "user", "assistant", "system", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    if template:
        tokenizer.chat_template = template
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=window,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.4,  # spread the logits, so that rounding decides nothing
    )
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """These models are so small that threads of torch only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> LocalModel:
    return opened(folder)


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return opened(build(tmp_path_factory.mktemp("models") / "chatty", template=TEMPLATE))


def opened(folder: Path | str, root: Path = Path("/"), **options: Any) -> LocalModel:
    return open_local(str(folder), ModelSettings(options=options), policy="off", root=root)


def theirs(model: LocalModel, prompt: str, **settings: Any) -> tuple[str, list[int]]:
    """What transformers' own generate writes, alone and with its own stopping."""
    encoded = model._tokenizer(prompt, return_tensors="pt")
    settings = {"do_sample": False, "pad_token_id": 0, **settings}
    out = model._model.generate(**encoded, **settings)[0, encoded["input_ids"].shape[1] :].tolist()
    text = model._tokenizer.decode(out, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text, out


def say(text: str) -> list[Message]:
    return [Message("user", text)]


class TestTinyContract(ModelContract):
    @pytest.fixture
    def model(self, tiny: LocalModel) -> LocalModel:
        return tiny


class TestChattyContract(ModelContract):
    @pytest.fixture
    def model(self, chatty: LocalModel) -> LocalModel:
        return chatty


PROMPTS = ["Once upon a time", "the mill", "how many days of leave do you get ?", "water", "he asks his"]


def test_greedy_is_transformers_own(tiny: LocalModel) -> None:
    for prompt in PROMPTS:
        text, tokens = theirs(tiny, prompt, max_new_tokens=20)
        done = tiny.complete(say(prompt), Decoding(max_new_tokens=20))
        assert done.text == text
        assert done.finish == ("stop" if tokens[-1] == 2 else "length")
        assert done.usage.output_tokens == len([t for t in tokens if t != 2])


@pytest.mark.parametrize(
    "decoding",
    [
        {"temperature": 1.0},
        {"temperature": 0.7, "top_k": 5},
        {"temperature": 1.5, "top_p": 0.8},
        {"temperature": 1.0, "min_new_tokens": 18},
    ],
)
def test_sampling_with_a_seed_is_transformers_own(tiny: LocalModel, decoding: dict[str, Any]) -> None:
    for seed in (1, 2):
        torch.manual_seed(seed)
        text, _ = theirs(tiny, "Once upon a time", do_sample=True, max_new_tokens=20, **decoding)
        torch.manual_seed(99)  # the process's own generator is left alone
        expected = torch.rand(1)
        torch.manual_seed(99)
        done = tiny.complete(say("Once upon a time"), Decoding(max_new_tokens=20, seed=seed, **decoding))
        assert done.text == text
        assert torch.equal(torch.rand(1), expected)


def test_seeds_differ(tiny: LocalModel) -> None:
    texts = {
        tiny.complete(say("the mill"), Decoding(temperature=1.0, max_new_tokens=12, seed=seed)).text
        for seed in range(8)
    }
    assert len(texts) > 4


def test_beams_are_transformers_own(tiny: LocalModel) -> None:
    text, _ = theirs(tiny, "Once upon a time", num_beams=3, max_new_tokens=12)
    beams = Decoding(num_beams=3, max_new_tokens=12)
    assert tiny.complete(say("Once upon a time"), beams).text == text
    with pytest.raises(InputError, match="num_beams=3"):
        tiny.stream(say("Once upon a time"), beams)


def test_a_batch_writes_what_each_would_alone(tiny: LocalModel) -> None:
    decoding = Decoding(max_new_tokens=16)
    alone = [tiny.complete(say(prompt), decoding).text for prompt in PROMPTS]
    sizes: list[int] = []
    write = tiny._dispatcher._run

    def noting(batch: list[Any]) -> None:
        sizes.append(len(batch))
        write(batch)

    tiny._dispatcher._run = noting
    try:
        jobs = [tiny._job(say(prompt), decoding, streaming=False) for prompt in PROMPTS]
        with tiny._dispatcher._lock:  # all are queued before the first is taken
            tiny._dispatcher._queue.extend(jobs)
            tiny._dispatcher._running = True
        tiny._dispatcher._work()
        together = ["".join(job.pieces()) for job in jobs]
    finally:
        tiny._dispatcher._run = write
    assert sizes == [len(PROMPTS)]
    assert together == alone


def test_stop_strings_end_the_text_before_them(tiny: LocalModel) -> None:
    whole = tiny.complete(say("Once upon a time"), Decoding(max_new_tokens=20)).text
    stop = whole.split()[3]
    done = tiny.complete(say("Once upon a time"), Decoding(max_new_tokens=20, stop=("zebra", stop)))
    assert done.text == whole[: whole.index(stop)]
    assert done.finish == "stop"
    assert done.usage.output_tokens < 20


def test_cancelling_stops_the_writing_itself(folder: Path, tmp_path: Path) -> None:
    model = opened(build(tmp_path / "long", window=4096))
    token = request.CancelToken()
    with request.use(request.RequestContext(cancel=token)):
        stream = model.stream(
            say("once"), Decoding(max_new_tokens=4000, min_new_tokens=4000, temperature=1.0, seed=1)
        )
        next(stream)
        token.cancel()
        with pytest.raises(Cancelled):
            list(stream)
    worker = next((t for t in threading.enumerate() if model.name in t.name), None)
    if worker is not None:
        worker.join(60)
        assert not worker.is_alive()
    assert stream.completion.usage.output_tokens < 4000


def test_a_prompt_beyond_the_window_names_both_numbers(tiny: LocalModel) -> None:
    with pytest.raises(InputError, match=r"101 tokens.*64"):
        tiny.complete(say("water " * 100), SHORT)
    with pytest.raises(InputError, match=r"64 tokens.*64"):
        tiny.complete(say("water " * 63), SHORT)


def test_an_answer_ends_where_the_window_does(tiny: LocalModel) -> None:
    done = tiny.complete(say("water " * 53), Decoding(max_new_tokens=40, temperature=1.0, seed=4))
    assert done.usage.input_tokens == 54
    assert done.usage.output_tokens <= 10
    assert tiny.window == 64
    assert open_local(str(tiny.folder), ModelSettings(window=32), policy="off", root=Path("/")).window == 32


def test_the_prompt_of_a_model_without_a_chat_template(tiny: LocalModel) -> None:
    assert tiny.prompt(say("once")) == "once"
    assert tiny.prompt([Message("system", "Be brief."), *say("once")]) == "Be brief.\n\nonce"
    turns = [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
    assert tiny.prompt(turns) == "User: a\n\nAssistant: b\n\nUser: c\n\nAssistant:"


def test_the_chat_template_is_used_and_begins_the_text_once(chatty: LocalModel) -> None:
    assert chatty.prompt(ASK).startswith("<s>system Be brief. user Once upon")
    assert chatty.prompt(ASK).endswith("assistant ")
    ids = chatty._job(ASK, SHORT, streaming=False).prompt
    assert ids.count(1) == 1


def test_the_record_holds_the_exact_text(chatty: LocalModel) -> None:
    with tracing.collect("test") as run:
        chatty.complete(ASK, SHORT)
    assert run.record["prompts"][0]["text"] == chatty.prompt(ASK)


def test_no_connection_is_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a socket was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert opened(folder).complete(ASK, SHORT).text


def test_a_template_that_refuses_says_so(chatty: LocalModel) -> None:
    with pytest.raises(InputError, match="system comes first"):
        chatty.complete([*say("once"), Message("system", "late")], SHORT)


def test_logprobs_are_those_of_the_model(tiny: LocalModel) -> None:
    found = tiny.logprobs("the mill stands", "by the river")
    ids = tiny._tokenizer("the mill stands by the river", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = tiny._model(ids).logits.double()
    expected = [
        float(torch.log_softmax(logits[0, at - 1], -1)[ids[0, at]])
        for at in range(ids.shape[1] - 3, ids.shape[1])
    ]
    assert found.shape == (3,)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # the mean is the loss that transformers computes
    labels = ids.clone()
    labels[:, :-3] = -100
    with torch.no_grad():
        loss = float(tiny._model(ids, labels=labels).loss)
    assert -found.mean() == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize(("prompt", "continuation"), [("the", ""), ("the", "mill " * 80)])
def test_logprobs_refuse_what_cannot_be_judged(tiny: LocalModel, prompt: str, continuation: str) -> None:
    with pytest.raises(InputError):
        tiny.logprobs(prompt, continuation)


def test_identity_is_the_content_not_the_place(folder: Path, tiny: LocalModel, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "copy")
    same, other = opened(copied), opened(build(tmp_path / "other", seed=1))
    assert len(tiny.identity["weights"]) == 64
    for key in ("weights", "config", "tokenizer", "dtype"):
        assert same.identity[key] == tiny.identity[key]
    assert other.identity["weights"] != tiny.identity["weights"]
    assert other.identity["tokenizer"] == tiny.identity["tokenizer"]
    assert tiny.identity["claimed"] is False


def test_pickles_are_refused_unopened(folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "pickled")
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(ModelRefused, match="safetensors"):
        opened(copied)


def test_code_that_comes_with_a_model_is_not_run(folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "coded")
    config = json.loads((copied / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoModelForCausalLM": "own.Own", "AutoConfig": "own.Config"},
    }
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "own.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: ...\nclass Config: ...\n"
    )
    with pytest.raises(ModelRefused):
        opened(copied)
    assert not (tmp_path / "ran").exists()


def test_folders_that_hold_no_model_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="no config.json"):
        opened("empty", tmp_path)
    with pytest.raises(NotFound, match="'./missing'"):
        opened("./missing", tmp_path)
    with pytest.raises(NotFound, match="policy 'off'"):
        opened("nobody/has-this-one", tmp_path)


def test_a_damaged_file_is_refused(folder: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(folder, tmp_path / "torn")
    weights = (copied / "model.safetensors").read_bytes()
    (copied / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelRefused, match="could not be loaded"):
        opened(copied)


@pytest.mark.parametrize("options", [{"rows": 0}, {"row": 1}, {"dtype": 16}])
def test_options_are_checked(folder: Path, options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        opened(folder, **options)


# ---------------------------------------------------------------------- a model that was trained


@pytest.fixture(scope="module")
def stories(shared: Path) -> LocalModel:
    return opened(shared / "models" / "stories260K")


class TestStoriesContract(ModelContract):
    @pytest.fixture
    def model(self, stories: LocalModel) -> LocalModel:
        return stories


def test_stories_are_transformers_own_and_are_stories(stories: LocalModel) -> None:
    for prompt in ("Once upon a time", "Lily", "The dog"):
        text, _ = theirs(stories, prompt, max_new_tokens=50)
        stream = stories.stream(say(prompt), Decoding(max_new_tokens=50))
        pieces = list(stream)
        assert "".join(pieces) == text
        assert len(pieces) > 25
    assert (
        "there was a little girl named Lily"
        in stories.complete(say("Once upon a time"), Decoding(max_new_tokens=40)).text
    )


def test_stories_end_with_the_token_that_begins_them(stories: LocalModel) -> None:
    done = stories.complete(say("Once upon a time"), Decoding(max_new_tokens=500))
    _, tokens = theirs(stories, "Once upon a time", max_new_tokens=500)
    assert tokens[-1] == 1
    assert done.finish == "stop"
    assert done.usage.output_tokens == len(tokens) - 1


def test_stories_written_together_are_those_written_alone(stories: LocalModel) -> None:
    prompts = ["Once upon a time", "Lily", "The dog saw a big", "One day", "Tom and Sue"]
    decoding = Decoding(max_new_tokens=30)
    alone = [stories.complete(say(prompt), decoding).text for prompt in prompts]
    texts: dict[str, str] = {}
    threads = [
        threading.Thread(target=lambda p=p: texts.update({p: stories.complete(say(p), decoding).text}))
        for p in prompts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [texts[prompt] for prompt in prompts] == alone


def test_stories_know_their_language(stories: LocalModel) -> None:
    likely = stories.logprobs("Once upon a", " time, there was a little girl").mean()
    unlikely = stories.logprobs("Once upon a", " zinc tariff, quorum of fiscal").mean()
    assert likely > unlikely + 2
