"""Supervised fine-tuning through TRL and PEFT: the one file that touches them, for ``instruct.py``.

Loads a base, trains it on token ids, writes weights. What is trained on is decided
elsewhere (``formatter.py``). Measured facts that the settings here answer to: TRL reports each run to its
makers and PEFT asks a hub about each checkpoint, unless both are kept from it; TRL switches gradient
checkpointing on and the cache off, computes in bf16 unless told otherwise, and changes the end token of
model and tokenizer; transformers' trainer hides a loss that is not a number; and a checkpoint that was cut
off by a kill looks like any other.
LoRA: Hu et al. 2021 (arXiv:2106.09685).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.errors import Diverged, InputError, ModelRefused, StateError
from headrace.extras import need
from headrace.models.folders import check_folder
from headrace.models.weights import read_json, write_json
from headrace.protocols import Progress
from headrace.tuning.formatter import IGNORED, Tokens

FOR_WHAT = "Tuning a language model"
COMPLETE = "complete.json"  # written last into a checkpoint: without it, it was cut off
LOSSES = "losses.jsonl"
SMALL = 10_000_000  # parameters: below, a higher rate and one thread


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """Low-rank matrices beside every linear layer; ``alpha / rank`` scales what they add."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Course:
    """How it is trained. ``adapter`` None trains every weight. ``checkpoint`` is in steps.

    ``rate`` is the highest learning rate; it is warmed up over the first tenth and falls to nothing by
    half a cosine.
    """

    epochs: int = 3
    steps: int = 0  # 0: as many as the epochs make
    batch: int = 8
    rate: float = 0.0  # 0: 2e-3 for an adapter on a small base, 2e-4 on a large one, 5e-5 for all weights
    adapter: Adapter | None = Adapter()
    seed: int = 0
    checkpoint: int = 0  # 0: ten a run
    threads: int = 0  # 0: one for a small model, which several only slow down; else torch's own number


def _lib(name: str) -> Any:
    return need(name, extra="tune", for_what=FOR_WHAT)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder, by transformers; no code of it is run."""
    check_folder(folder)
    tokenizer = _lib("transformers").AutoTokenizer
    try:
        return tokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelRefused(
            f"The tokenizer in {str(folder)!r} could not be loaded: {error}", hint="Copy the folder again."
        ) from error


def load_model(folder: Path) -> Any:
    """The model of a folder, in float32, for judging and training."""
    transformers, torch = _lib("transformers"), _lib("torch")
    transformers.utils.logging.disable_progress_bar()
    options = {"local_files_only": True, "trust_remote_code": False}
    torn = need("safetensors", extra="tune", for_what=FOR_WHAT).SafetensorError
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **options)
        if config.is_encoder_decoder:
            raise InputError(
                f"{folder.name!r} is a sequence-to-sequence model; tune instruct trains causal ones.",
                hint="Name a causal model, such as a Llama, GPT-NeoX or GPT-2 folder.",
            )
        model, found = transformers.AutoModelForCausalLM.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **options
        )
    except (torn, OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelRefused(
            f"{str(folder)!r} could not be loaded as a causal language model: {error}",
            hint="It needs config.json and all safetensors files. Copy it again if a file is missing.",
        ) from error
    if missing := sorted(found["missing_keys"]):
        raise ModelRefused(
            f"{str(folder)!r} lacks weights: {missing[0]!r} ({len(missing)} in all) would be random numbers.",
            hint="Name a model that was trained to write, or copy the folder again.",
        )
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def ends_of(folder: Path) -> list[int]:
    """The tokens with which the model of a folder ends a text, by its own settings."""
    for name in ("generation_config.json", "config.json"):
        found = read_json(folder / name).get("eos_token_id")
        ends = found if isinstance(found, list) else [found]
        if ids := [token for token in ends if isinstance(token, int)]:
            return ids
    return []


def window_of(model: Any) -> int | None:
    """Tokens that the model reads at most, where its configuration says."""
    for key in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        found = getattr(model.config, key, None)
        if isinstance(found, int) and found > 0:
            return found
    return None


# --------------------------------------------------------------------------- training


def adapted(model: Any, course: Course) -> Any:
    """The model with an adapter to train, or itself where every weight is trained."""
    if course.adapter is None:
        return model
    peft = _lib("peft")
    _lib("torch").manual_seed(course.seed)
    settings = peft.LoraConfig(
        r=course.adapter.rank,
        lora_alpha=course.adapter.alpha,
        lora_dropout=course.adapter.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(model, settings)


def count(model: Any) -> tuple[int, int]:
    """(parameters, those that are trained)."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained)


def steps_of(rows: int, course: Course) -> int:
    """Optimizer steps of a course over so many rows."""
    return course.steps or math.ceil(rows / course.batch) * course.epochs


@contextmanager
def quietly(model: Any, course: Course) -> Iterator[None]:
    """Threads that suit the model, no notes of the libraries to each other, and none of their questions
    to a hub; put back afterwards."""
    torch, notes = _lib("torch"), _lib("transformers").utils.logging
    hub = _lib("huggingface_hub").constants
    before, level = torch.get_num_threads(), notes.get_verbosity()
    online = (hub.HF_HUB_OFFLINE, hub.HF_HUB_DISABLE_TELEMETRY)
    hub.HF_HUB_OFFLINE = hub.HF_HUB_DISABLE_TELEMETRY = True
    torch.set_num_threads(course.threads or (1 if count(model)[0] < SMALL else before))
    notes.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        hub.HF_HUB_OFFLINE, hub.HF_HUB_DISABLE_TELEMETRY = online
        torch.set_num_threads(before)
        notes.set_verbosity(level)


def rate_of(model: Any, course: Course) -> float:
    """The learning rate: as given, or what suits the size."""
    if course.rate:
        return course.rate
    if course.adapter is None:
        return 1e-3 if count(model)[0] < SMALL else 5e-5
    return 2e-3 if count(model)[0] < SMALL else 2e-4


def train(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Tokens],
    course: Course,
    folder: Path,
    progress: Progress | None,
) -> tuple[list[dict[str, float]], int]:
    """Train ``model`` in place, going on after the last whole checkpoint in ``folder``.

    Gives (loss, rate and length of the gradient of every step, the step it went on from). Writes
    checkpoints, ``losses.jsonl`` and TensorBoard's event files into ``folder``. Raises Diverged at the
    first loss that is not a number.
    """
    trl, datasets, torch = _lib("trl"), _lib("datasets"), _lib("torch")
    datasets.disable_progress_bars()
    folder.mkdir(parents=True, exist_ok=True)
    last = last_checkpoint(folder)
    begun = int(last.name.rpartition("-")[2]) if last else 0
    total = steps_of(len(rows), course)
    watch, tensorboard = _watching(folder, begun, total, progress)
    arguments = trl.SFTConfig(
        output_dir=str(folder),
        per_device_train_batch_size=course.batch,
        num_train_epochs=course.epochs,
        max_steps=course.steps or -1,
        learning_rate=rate_of(model, course),
        lr_scheduler_type="cosine",
        warmup_steps=max(1, total // 10),
        seed=course.seed,
        data_seed=course.seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=False,
        fp16=False,
        gradient_checkpointing=False,
        max_length=None,
        pad_to_multiple_of=8,
        dataset_kwargs={"skip_prepare_dataset": True},
        logging_steps=1,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=course.checkpoint or max(1, total // 10),
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )
    data = datasets.Dataset.from_list([{"input_ids": row.ids, "labels": row.labels} for row in rows])

    class Trainer(trl.SFTTrainer):  # type: ignore[misc, name-defined]
        def _send_telemetry(self) -> None:
            """Nobody is told."""

        def create_model_card(self, *_: Any, **__: Any) -> None:
            """The artifact has a manifest of ours."""

    torch.manual_seed(course.seed)
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=data,
        processing_class=tokenizer,
        callbacks=[watch, tensorboard],
    )
    for name in ("PrinterCallback", "ProgressCallback"):
        with suppress(AttributeError):
            trainer.remove_callback(getattr(_lib("transformers.trainer_callback"), name))
    try:
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    except RuntimeError as error:
        if "memory" not in str(error).lower():
            raise
        raise StateError(
            f"There is not memory enough for a step of {course.batch} rows: {str(error).splitlines()[0]}",
            hint="Give a smaller --batch or --max-length, or train an adapter instead of all weights. "
            "--dry-run tells what is needed.",
        ) from error
    return read_losses(folder), begun


def _watching(folder: Path, begun: int, total: int, progress: Progress | None) -> tuple[Any, Any]:
    """What looks at every step: losses to disk, NaN stopped, checkpoints sealed, progress told."""
    callbacks = _lib("transformers.trainer_callback")
    integrations = _lib("transformers.integrations")
    writer = _lib("torch.utils.tensorboard").SummaryWriter(str(folder / "logs"), purge_step=begun + 1)
    kept = [entry for entry in read_losses(folder) if entry["step"] <= begun]
    _write_losses(folder, kept)

    class Watch(callbacks.TrainerCallback):  # type: ignore[misc, name-defined]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            loss = (logs or {}).get("loss")
            if loss is None:
                return
            length = float(logs.get("grad_norm", 0.0))
            if not (math.isfinite(float(loss)) and math.isfinite(length)):
                raise Diverged(
                    f"The loss is {float(loss)!r} at step {state.global_step} (gradient {length!r}): "
                    "training was stopped.",
                    hint=f"Give a lower learning rate than {args.learning_rate:g} (--rate), or look at the "
                    "rows of this step. Checkpoints before it are kept.",
                )
            entry = {"step": state.global_step, "loss": float(loss), "rate": float(logs["learning_rate"])}
            with (folder / LOSSES).open("a", encoding="utf-8") as file:
                file.write(json.dumps({**entry, "gradient": length}) + "\n")

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if progress is not None:
                progress(state.global_step, total, "training")

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            _seal(folder / f"checkpoint-{state.global_step}")

    return Watch(), integrations.TensorBoardCallback(tb_writer=writer)


def _seal(checkpoint: Path) -> None:
    sizes = {p.name: p.stat().st_size for p in sorted(checkpoint.iterdir()) if p.name != COMPLETE}
    part = checkpoint / f"{COMPLETE}.part"
    with part.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"files": sizes, "time": time.time()}))
        file.flush()
        os.fsync(file.fileno())
    part.replace(checkpoint / COMPLETE)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; those that were cut off are removed."""
    whole: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        try:
            sizes = json.loads((path / COMPLETE).read_text(encoding="utf-8"))["files"]
            good = all((path / name).stat().st_size == size for name, size in sizes.items())
        except (OSError, ValueError, KeyError):
            good = False
        if good:
            whole.append((int(path.name.rpartition("-")[2]), path))
        else:
            shutil.rmtree(path, ignore_errors=True)
    return max(whole)[1] if whole else None


def read_losses(folder: Path) -> list[dict[str, float]]:
    """Step, loss, rate and length of the gradient, a line each; a torn last line is left out."""
    found = []
    with suppress(FileNotFoundError):
        for line in (folder / LOSSES).read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
    return found


def _write_losses(folder: Path, entries: Sequence[dict[str, float]]) -> None:
    part = folder / f"{LOSSES}.part"
    part.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    part.replace(folder / LOSSES)


def timed(model: Any, rows: Sequence[Tokens], course: Course, *, steps: int = 3) -> float:
    """Seconds of one training step, by the clock: forward and backward of real batches, nothing kept."""
    torch = _lib("torch")
    model.train()
    took = []
    for step in range(steps):
        chosen = [rows[(step * course.batch + i) % len(rows)] for i in range(min(course.batch, len(rows)))]
        longest = max(len(row.ids) for row in chosen)
        fill = [longest - len(row.ids) for row in chosen]
        ids = torch.tensor([[*row.ids, *[0] * n] for row, n in zip(chosen, fill, strict=True)])
        labels = torch.tensor([[*row.labels, *[IGNORED] * n] for row, n in zip(chosen, fill, strict=True)])
        begun = time.perf_counter()
        model(input_ids=ids.to(model.device), labels=labels.to(model.device)).loss.backward()
        took.append(time.perf_counter() - begun)
        model.zero_grad(set_to_none=True)
    return min(took)


# --------------------------------------------------------------------------- saving


def save(model: Any, tokenizer: Any, folder: Path, *, base: str, end: int, cache: bool) -> None:
    """Write merged weights, the adapter alone (of a base of this name), tokenizer and generation settings
    into ``folder``.

    Merges the adapter into ``model``, which is not to be used afterwards.
    """
    if hasattr(model, "merge_and_unload"):
        model.save_pretrained(folder / "adapter", save_embedding_layers=False)
        with suppress(FileNotFoundError):
            (folder / "adapter" / "README.md").unlink()  # a form that nobody filled in
        settings = read_json(folder / "adapter" / "adapter_config.json")
        settings["base_model_name_or_path"] = base  # not where it lay on this machine
        write_json(folder / "adapter" / "adapter_config.json", settings)
        model = model.merge_and_unload()
    model.config.use_cache = cache
    model.config.eos_token_id = end
    model.generation_config.update(eos_token_id=end, use_cache=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
