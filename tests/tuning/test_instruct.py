"""``tune instruct`` on a tiny random model: TRL and PEFT for real, a few steps."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.cli.main import run
from headrace.errors import Diverged, InputError, Locked, ModelRefused, Refused
from headrace.search.lock import WriterLock
from headrace.types import Decoding, Message

pytest.importorskip("trl", reason="the extra 'tune' is not installed")

from headrace.tuning import instruct as tuning
from headrace.tuning import judging, training
from headrace.tuning.formatter import IGNORED, Formatter
from headrace.tuning.instruct import Course, Task
from headrace.tuning.training import Adapter

WORDS = "mill river boat wheel gate owl loaf water bread miller".split()
ROWS = [
    {"instruction": f"tell of the {a} and the {b}", "response": f"the {a} saw the {b} by the water ."}
    for a in WORDS
    for b in WORDS
    if a != b
][:48]
COURSE = Course(steps=12, batch=8, checkpoint=4, rate=1e-2, adapter=Adapter(rank=4, alpha=8, dropout=0.1))


def base_of(folder: Path) -> Path:
    """A random Llama with a tokenizer of whole words; its model ends with <s>, its tokenizer with </s>."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    names = ["<pad>", "<s>", "</s>", "<unk>", *WORDS]
    names += "tell of the and saw by . : ### instruction response Instruction Response".split()
    words = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(dict.fromkeys(names))}, unk_token="<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(names),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        bos_token_id=1,
        eos_token_id=1,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Made:
    """One base, one file of rows, one finished run."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.base = base_of(place / "base")
        self.rows = lines(place / "rows.jsonl", ROWS)
        self.told: list[str] = []
        self.seen: list[tuple[int, int | None, str]] = []
        self.called: list[str] = []
        watching = [True]

        def hook(event: str, arguments: Any) -> None:
            if watching[0] and event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
                where = "".join(traceback.format_stack(limit=12))
                self.called.append(f"{event} {arguments!r} {where}")

        sys.addaudithook(hook)
        self.manifest = tuning.instruct(
            self.task("whole"), COURSE, tell=self.told.append, progress=lambda *told: self.seen.append(told)
        )
        watching[0] = False
        self.folder = place / "whole"

    def task(self, out: str, **settings: Any) -> Task:
        return Task(data=self.rows, base=self.base, out=self.place / out, prompts=4, **settings)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("tuning"))


# --------------------------------------------------------------------------- what comes out


def test_figures_of_rows_that_were_not_seen(made: Made) -> None:
    found = made.manifest
    for side in ("baseline", "tuned"):
        assert found[side]["low"] < found[side]["value"] < found[side]["high"]
    assert found["tuned"]["high"] < found["baseline"]["low"]
    assert found["ratio"]["high"] < 1
    assert found["ratio"]["verdict"] == "better" or found["data"]["held_out"] < 20
    assert found["data"]["train"] + found["data"]["held_out"] == len(ROWS)
    assert found["seconds"] > 0
    assert found["stops"]["n"] == 4
    assert 0 <= found["stops"]["low"] <= found["stops"]["value"] <= found["stops"]["high"] <= 1
    assert found["loss"]["last"] < found["loss"]["first"]
    assert found["loss"]["steps"] == 12


def test_perplexity_is_exp_of_the_mean_and_shuffled_text_scores_higher(made: Made) -> None:
    from headrace.models.local import LocalModel

    tokenizer = training.load_tokenizer(made.folder)
    form = Formatter(tokenizer, name="tuned")
    rows = [form.tokens(row) for row in tuning.data.read(made.rows)]
    found = judging.judge(training.load_model(made.folder), rows)
    other = LocalModel(made.folder)
    for row, values in list(zip(rows, found, strict=True))[:3]:
        second = other._generation.judge(row.prompt, row.response)
        np.testing.assert_allclose(values, -second, atol=1e-4)
    judged = tuning.data.split(tuning.data.read(made.rows), share=0.1, seed=0).held_out
    where = {row.where for row in judged}
    chosen = [v for row, v in zip(tuning.data.read(made.rows), found, strict=True) if row.where in where]
    assert made.manifest["tuned"]["value"] == pytest.approx(math.exp(np.concatenate(chosen).mean()))
    backwards = [replace(row, response=row.response[::-1]) for row in rows]
    worse = judging.judge(training.load_model(made.folder), backwards)
    assert np.concatenate(worse).mean() > np.concatenate(found).mean()


def test_saved_and_loaded_is_what_was_trained(made: Made) -> None:
    assert made.manifest["parity"] > 0.999999
    assert made.manifest["parity_of"]["largest_logit_difference"] < 1e-3
    assert made.manifest["parity_of"]["same_text"] == made.manifest["parity_of"]["compared"]


def test_the_folder_is_a_model_that_ends_at_the_marker(made: Made) -> None:
    import headrace as hr

    settings = json.loads((made.folder / "generation_config.json").read_text())
    assert settings["eos_token_id"] == 1
    assert json.loads((made.folder / "config.json").read_text())["use_cache"] is True
    model = hr.model(f"local:{made.folder}")
    answer = model.complete(ROWS[0]["instruction"], decoding=Decoding(max_new_tokens=30))
    assert answer.finish in ("stop", "length")
    assert "<s>" not in answer.text
    assert (made.folder / "adapter" / "adapter_model.safetensors").is_file()
    assert str(made.place) not in (made.folder / "adapter" / "adapter_config.json").read_text()
    assert any((made.folder / "logs").glob("events.out.tfevents.*"))
    assert not (made.folder / tuning.WORK).exists()


def test_event_files_hold_the_curve(made: Made) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(made.folder / "logs"))
    events.Reload()
    curve = [point.value for point in events.Scalars("train/loss")]
    kept = [entry["loss"] for entry in training.read_losses(made.folder)]
    assert curve[:12] == pytest.approx(kept)


def test_one_formatter_for_training_and_asking(made: Made) -> None:
    from headrace.models.local import LocalModel

    model = LocalModel(made.folder)
    row = tuning.data.read(made.rows)[0]
    ends = training.ends_of(made.base)
    trained = Formatter(training.load_tokenizer(made.base), name="base", ends=ends).tokens(row)
    asked = model._encode([Message("user", ROWS[0]["instruction"])])
    assert asked == list(trained.prompt)
    assert trained.end == 1  # the model's own, not the </s> of its tokenizer
    assert trained.ids[-1] == trained.end
    first = len(trained.prompt)
    assert trained.labels[:first] == [IGNORED] * first
    assert trained.labels[first:] == [*trained.response, trained.end]
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert manifest["formatter"]["chat_template"] == training.load_tokenizer(made.folder).chat_template
    assert manifest["formatter"]["end"] == "<s>"


def test_a_template_of_the_base_is_kept(made: Made) -> None:
    tokenizer = training.load_tokenizer(made.base)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} "
        "{% if m['role'] == 'assistant' %}<pad> {% endif %}{% endfor %}"
        "{% if add_generation_prompt %}response : {% endif %}"
    )
    form = Formatter(tokenizer, name="chat")
    assert form.marker == "<pad>"  # what its own template ends an answer with, not the tokenizer's </s>
    assert form.describe()["template_of"] == "base"


def test_nothing_leaves_the_machine(made: Made) -> None:
    assert made.called == []


def test_progress_and_messages(made: Made) -> None:
    assert [done for done, total, what in made.seen if what == "training"] == list(range(1, 13))
    assert {what for _, _, what in made.seen} == {"judging", "training", "answering"}


def test_the_same_run_again_does_nothing(made: Made) -> None:
    told: list[str] = []
    again = tuning.instruct(made.task("whole"), COURSE, tell=told.append)
    assert again == json.loads((made.folder / "manifest.json").read_text())
    assert "nothing to do" in told[-1]
    with pytest.raises(InputError, match="made from something else"):
        tuning.instruct(made.task("whole"), replace(COURSE, seed=1))


# --------------------------------------------------------------------------- stopped and gone on


class Stop(BaseException):
    """What a test stops a run with."""


def test_a_stopped_run_goes_on_with_the_same_losses(made: Made) -> None:
    def stop(done: int, total: int | None, what: str) -> None:
        if what == "training" and done == 10:
            raise KeyboardInterrupt

    task = made.task("stopped")
    with pytest.raises(KeyboardInterrupt):
        tuning.instruct(task, COURSE, progress=stop)
    assert tuning.reached(task.out) == 8
    with pytest.raises(InputError, match="unfinished run with other data or settings"):
        tuning.instruct(task, replace(COURSE, rate=1e-3))
    with WriterLock(task.out / tuning.WORK), pytest.raises(Locked, match="being written by process"):
        tuning.instruct(task, COURSE)
    torn = task.out / tuning.WORK / "checkpoint-12"  # as a kill in the middle of writing one leaves it
    torn.mkdir()
    (torn / "adapter_model.safetensors").write_bytes(b"half")
    found = tuning.instruct(task, replace(COURSE, checkpoint=6))  # how often it is kept decides nothing
    assert found["resumed_from"] == 8
    whole, gone_on = training.read_losses(made.folder), training.read_losses(task.out)
    assert [entry["step"] for entry in gone_on] == list(range(1, 13))
    np.testing.assert_allclose([e["loss"] for e in gone_on], [e["loss"] for e in whole], atol=1e-4)
    assert found["tuned"]["value"] == pytest.approx(made.manifest["tuned"]["value"], abs=1e-3)


@pytest.mark.slow
def test_killed_and_gone_on(made: Made) -> None:
    out = made.place / "killed"
    words = [sys.executable, "-m", "headrace", "tune", "instruct", str(made.rows), "--model", str(made.base)]
    words += ["--out", str(out), "--steps", "60", "--checkpoint", "5", "--prompts", "4", "--rate", "0.01"]
    words += ["--json", "--batch", "4"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    losses = out / tuning.WORK / "losses.jsonl"
    deadline = time.monotonic() + 200
    while len(training.read_losses(losses.parent)) < 17:
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done = subprocess.run(words, capture_output=True, check=True)
    found = json.loads(done.stdout)
    assert found["resumed_from"] >= 10
    whole = tuning.instruct(
        replace(made.task("unkilled")), Course(steps=60, checkpoint=5, batch=4, rate=0.01)
    )
    one, other = training.read_losses(Path(whole["artifact"])), training.read_losses(out)
    np.testing.assert_allclose([e["loss"] for e in one], [e["loss"] for e in other], atol=1e-4)


# --------------------------------------------------------------------------- refused


def test_a_loss_that_is_no_number_stops_the_run(made: Made) -> None:
    with pytest.raises(Diverged, match="at step") as told:
        tuning.instruct(made.task("diverged"), replace(COURSE, rate=1e30, adapter=None))
    assert "--rate" in told.value.hint
    assert not (made.place / "diverged" / "manifest.json").exists()


def test_what_is_refused_before_training(made: Made, tmp_path: Path) -> None:
    rows = [*ROWS, {"instruction": "tell", "response": "the mill </s> the river"}]
    marked = lines(tmp_path / "marked.jsonl", rows)
    with pytest.raises(InputError, match="Special tokens"):
        tuning.plan(replace(made.task("no"), data=marked), COURSE)
    with pytest.raises(InputError, match="has at most 5 tokens"):
        tuning.plan(made.task("no", max_length=5), COURSE)
    with pytest.raises(InputError, match="held-out rows are among those"):
        tuning.plan(made.task("no", held_out=lines(tmp_path / "test.jsonl", ROWS[:3])), COURSE)
    with pytest.raises(Refused, match="cc-by-nc"):
        tuning.plan(made.task("no", licence="cc-by-nc-4.0", demand="commercial"), COURSE)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="is not empty"):
        tuning.instruct(replace(made.task("no"), out=tmp_path / "full"), COURSE)
    assert (tmp_path / "full" / "letter.txt").read_text() == "dear"
    (tmp_path / "broken").mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "broken" / name).write_bytes((made.base / name).read_bytes())
    with pytest.raises(ModelRefused, match="no weights"):
        tuning.plan(replace(made.task("no"), base=tmp_path / "broken"), COURSE)


def test_a_plan_is_made_of_real_steps(made: Made) -> None:
    found = tuning.plan(made.task("planned"), COURSE)
    assert found.steps == 12
    assert found.seconds == pytest.approx(found.seconds_a_step * 12)
    assert 0 < found.trained < found.parameters
    assert found.memory > 4 * found.parameters
    assert not (made.place / "planned").exists()
    assert tuning.plan(made.task("planned"), Course(adapter=None, epochs=2)).steps == 12


# --------------------------------------------------------------------------- the command


def command(made: Made, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Mapping[str, Any]:
    base = ["tune", "instruct", str(made.rows), "--model", str(made.base), "--json"]
    assert run([*base, *words]) == code
    return dict(json.loads(capsys.readouterr().out))


def test_json_of_the_command(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--out", str(made.place / "told"), "--steps", "4", "--prompts", "2", "--full"]
    found = command(made, capsys, *words)
    assert {"artifact", "baseline", "tuned", "seconds", "parity"} <= set(found)
    assert set(found["baseline"]) == set(found["tuned"]) == {"value", "low", "high"}
    assert found["artifact"] == str(made.place / "told")
    assert not (made.place / "told" / "adapter").exists()
    planned = command(made, capsys, "--dry-run", "--out", str(made.place / "other"))
    assert planned["steps"] == 18
    assert not (made.place / "other").exists()


def test_the_command_refuses_in_words(made: Made, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    bad = lines(tmp_path / "bad.jsonl", [*ROWS[:3], {"instruction": "tell", "answer": "the mill"}])
    assert run(["tune", "instruct", str(bad), "--model", str(made.base), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["message"].startswith("bad.jsonl:4: there is no column 'response'")
    assert run(["tune", "instruct", str(made.rows), "--model", str(made.base), "--label", "one"]) == 2
    assert "VALUE=WORD" in capsys.readouterr().err
    assert run(["tune", "instruct", str(made.rows), "--model", str(tmp_path / "none")]) == 2
    assert "There is no folder" in capsys.readouterr().err
