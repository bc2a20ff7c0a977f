"""Small random models with tokenizers of their own, built in a moment: for tests, no weights needed.

Random weights are spread wide, so that rounding decides nothing between two ways to the same text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = """once upon a time how many days of leave do you get the mill stands by river and wheel turns all
day when water is high miller opens gate he asks his daughter what she saw an owl two boats three loaves
be brief . , ?""".split()
PROMPTS = (
    "once upon a time",
    "the mill",
    "how many days of leave do you get ?",
    "water is high and the wheel turns",
    "he asks his",
)


def save_words(folder: Path, *, begins: bool, ends: bool) -> int:
    """A tokenizer of whole words; ``begins`` puts <s> before a text, ``ends`` </s> after it. Its size."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    single = " ".join(["<s>"] * begins + ["$A"] + ["</s>"] * ends)
    words.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(folder)
    return len(vocabulary)


def save_gpt2(folder: Path, *, seed: int = 0, begins: bool = False) -> Path:
    """A causal model in the manner of GPT-2: places are learned, the tokenizer begins no text."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    size = save_words(folder, begins=begins, ends=False)
    torch.manual_seed(seed)
    _save(
        GPT2LMHeadModel,
        GPT2Config(
            vocab_size=size,
            n_positions=64,
            n_embd=32,
            n_layer=2,
            n_head=4,
            bos_token_id=1,
            eos_token_id=2,
            initializer_range=0.4,
        ),
        folder,
    )
    return folder


def save_t5(folder: Path, *, seed: int = 0) -> Path:
    """A sequence-to-sequence model in the manner of T5: places are relative, a text ends with </s>."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    size = save_words(folder, begins=False, ends=True)
    torch.manual_seed(seed)
    _save(
        T5ForConditionalGeneration,
        T5Config(
            vocab_size=size,
            n_positions=64,
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            decoder_start_token_id=0,
            pad_token_id=0,
            eos_token_id=2,
            initializer_factor=4.0,
        ),
        folder,
    )
    return folder


def save_bart(folder: Path, *, seed: int = 2) -> Path:
    """A sequence-to-sequence model in the manner of BART: learned places, a forced first token, and
    generation settings of its own that a Decoding has to overrule."""
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    size = save_words(folder, begins=True, ends=True)
    torch.manual_seed(seed)
    model = BartForConditionalGeneration(
        BartConfig(
            vocab_size=size,
            max_position_embeddings=64,
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            decoder_start_token_id=2,
            forced_eos_token_id=None,
            init_std=0.4,
        )
    )
    model.generation_config.update(forced_bos_token_id=1, num_beams=4, min_length=9, max_length=30)
    model.save_pretrained(folder)
    return folder


def _save(kind: Any, config: Any, folder: Path) -> None:
    kind(config).save_pretrained(folder)
