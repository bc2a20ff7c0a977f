"""A mini Dolly: a base model learns to answer instructions, and is judged on rows it never saw.

    python examples/mini_dolly.py [--base FOLDER] [--data FILE.jsonl] [--epochs N]      # no network

Without --base a random model of a few thousand numbers is built on the spot, so that every part runs in
under a minute; it learns a form and nothing of use. --data takes rows of instruction, context and response.
"""

import json
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import headrace as hr
from headrace.tuning import data
from headrace.tuning.instruct import Task, instruct
from headrace.tuning.training import Course
from shown import command, run, say, title

NOUNS = "mill river boat wheel gate owl loaf water bridge miller".split()
FORM = "where is the by . : ? ### Instruction Response Input".split()


def rows(path: Path) -> Path:
    """Made-up rows: where things are, with the answer in the context."""
    lines = []
    for a, b in permutations(NOUNS, 2):
        row = {"instruction": f"where is the {a} ?", "context": f"the {a} is by the {b} ."}
        lines.append(json.dumps({**row, "response": f"by the {b} ."}) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def random_base(folder: Path) -> Path:
    """A Llama of one layer that was never trained, and a tokenizer that knows the words of the rows."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<s>", "</s>", *NOUNS, *FORM]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    settings = LlamaConfig(vocab_size=len(words), max_position_embeddings=64, eos_token_id=2, **sizes)
    LlamaForCausalLM(settings).save_pretrained(folder)
    return folder


def main(words: Sequence[str] | None = None) -> None:
    about = {"base": "a causal model's folder", "data": "rows as JSON lines", "epochs": "over the rows"}
    options = command(__doc__, None, words, **about)
    work = Path(".headrace") / "mini-dolly"
    work.mkdir(parents=True, exist_ok=True)
    if not options.base:
        say("Base: a random model, built here. Its figures show that the parts work, nothing more.")
    base = Path(options.base) if options.base else random_base(work / "base")
    file = Path(options.data) if options.data else rows(work / "rows.jsonl")
    course = Course(epochs=int(options.epochs or 20), adapter=None)
    task = Task(data=file, base=base, out=work / f"{base.name}-{data.hash_of(data.read(file))[:8]}")
    made = instruct(task, course, tell=say)
    title(f"{made['data']['held_out']} rows that it never saw")
    for name, key in (("perplexity, base", "baseline"), ("perplexity, tuned", "tuned"), ("ends", "stops")):
        found = made[key]
        print(f"{name:18} {found['value']:7.2f}   95 %: {found['low']:.2f} to {found['high']:.2f}")
    title("One of them asked")
    row = data.split(data.read(file), share=0.1, seed=course.seed).held_out[0]
    say(f"{row.messages[-1].content!r} → {hr.model(f'local:{task.out}').complete(list(row.messages)).text!r}")


if __name__ == "__main__":
    run(main)
