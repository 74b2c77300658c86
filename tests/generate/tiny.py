"""Tiny random models of transformers and ours of the same weights, and what both generate."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers as T
from torch import Tensor

import cutaway
from cutaway.model import Model

VOCAB, BOS, EOS, PAD = 61, 1, 2, 0
SPECIAL = {"vocab_size": VOCAB, "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
LLAMA = {
    **SPECIAL, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 64,
}  # fmt: skip
SEQ2SEQ = {
    **SPECIAL, "d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "max_position_embeddings": 64,
}  # fmt: skip
DECODERS = {
    "bloom": ("BloomForCausalLM", T.BloomConfig(**SPECIAL, hidden_size=32, n_layer=3, n_head=4)),
    "falcon": (
        "FalconForCausalLM",
        T.FalconConfig(**SPECIAL, hidden_size=32, num_hidden_layers=3, num_attention_heads=4),
    ),
    "gemma2": ("Gemma2ForCausalLM", T.Gemma2Config(**LLAMA, head_dim=8, sliding_window=6, query_pre_attn_scalar=8)),
    "gpt2": ("GPT2LMHeadModel", T.GPT2Config(**SPECIAL, n_embd=32, n_layer=3, n_head=4, n_positions=64)),
    "gpt_neo": (
        "GPTNeoForCausalLM",
        T.GPTNeoConfig(
            **SPECIAL, hidden_size=32, num_layers=4, attention_types=[[["global", "local"], 2]], num_heads=4,
            window_size=6, max_position_embeddings=64,
        ),
    ),
    "gpt_neox": (
        "GPTNeoXForCausalLM",
        T.GPTNeoXConfig(
            **SPECIAL, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
            max_position_embeddings=64, rotary_pct=0.5,
        ),
    ),
    "gptj": ("GPTJForCausalLM", T.GPTJConfig(**SPECIAL, n_embd=32, n_layer=3, n_head=4, n_positions=64, rotary_dim=4)),
    "llama": ("LlamaForCausalLM", T.LlamaConfig(**LLAMA)),
    "mistral": ("MistralForCausalLM", T.MistralConfig(**LLAMA, sliding_window=6)),
    "mpt": ("MptForCausalLM", T.MptConfig(**SPECIAL, d_model=32, n_layers=3, n_heads=4, max_seq_len=64)),
}  # fmt: skip
ENCODER_DECODERS = {
    "bart": ("BartForConditionalGeneration", T.BartConfig(**SEQ2SEQ, decoder_start_token_id=EOS)),
    "m2m_100": ("M2M100ForConditionalGeneration", T.M2M100Config(**SEQ2SEQ, decoder_start_token_id=EOS)),
    "marian": ("MarianMTModel", T.MarianConfig(**SEQ2SEQ, decoder_start_token_id=PAD)),
    "t5": (
        "T5ForConditionalGeneration",
        T.T5Config(
            **SPECIAL, d_model=32, d_kv=8, d_ff=48, num_layers=3, num_heads=4, decoder_start_token_id=PAD,
            tie_word_embeddings=False,
        ),
    ),
}  # fmt: skip


@dataclass
class Pair:
    """A model of theirs, and ours loaded from what it saved."""

    theirs: Any
    ours: Model

    def generate(self, rows: list[Tensor], **settings: Any) -> list[list[int]]:
        """What theirs makes of each row alone: new tokens only, of all sequences that are returned."""
        ends, found = settings.get("eos_token_id", [EOS]), []
        for row in rows:
            mask = torch.ones_like(row)[None]
            ids = self.theirs.generate(row[None], attention_mask=mask, **settings)
            found += [new_tokens(out, self.begins(row), ends) for out in ids.tolist()]
        return found

    def begins(self, row: Tensor) -> int:
        """How many ids stand before the new ones."""
        return 1 if self.theirs.config.is_encoder_decoder else len(row)


def new_tokens(row: list[int], start: int, ends: Collection[int] = (EOS,)) -> list[int]:
    """A row from ``start`` to its first end token."""
    new = row[start:]
    return new[: next((i for i, token in enumerate(new, 1) if token in ends), len(new))]


def pair(name: str, folder: Path, std: float = 0.35, **generation: Any) -> Pair:
    """Both models of a model type, with random weights; ``generation`` is written to generation_config.json."""
    reference, config = {**DECODERS, **ENCODER_DECODERS}[name]
    torch.manual_seed(0)
    model = getattr(T, reference)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=std)
    for key, value in generation.items():
        setattr(model.generation_config, key, value)
    model.save_pretrained(folder)
    return Pair(getattr(T, reference).from_pretrained(folder).eval(), cutaway.load(folder))


def rows(*lengths: int, seed: int = 1) -> list[Tensor]:
    """Random prompts of these lengths, without special tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(5, VOCAB, (n,), generator=generator) for n in lengths]
