"""Recipes by name: the embedded tasks, published trainings, and small ones for a laptop."""

import difflib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .. import hub
from ..families import bert, gpt2, llama, t5, vanilla
from ..families.recurrent import Config as Recurrent
from .optimizers import Optimizer
from .recipes import Batching, Data, Evaluation, Recipe, Saving, Tokens
from .schedules import Schedule


def stdlib() -> Recipe:
    """A small decoder learns Python from the standard library's own source, in under five minutes on two cores."""
    return Recipe(
        model_type="llama",
        model=llama.Config(width=192, depth=4, heads=3, hidden=512, length=256, tied=True),
        data=Data(("stdlib",)),
        tokens=Tokens("bpe", 2048),
        batch=Batching("windows", length=256, rows=8),
        steps=1000,
        minutes=4.4,
        optimizer=Optimizer("muon", lr=0.01),
        schedule=Schedule("wsd", warmup=20, decay=0.5),
        evaluate=Evaluation(every=150, batches=8, sample="def "),
        save=Saving(every=250),
        yardsticks=True,
    )


def dates() -> Recipe:
    """The 2017 encoder-decoder learns to read dates in twenty languages and to write them as ISO 8601."""
    return Recipe(
        model_type="marian",
        model=vanilla.Config(
            width=128, depth=2, decoder_depth=2, heads=4, decoder_heads=4, hidden=512, decoder_hidden=512, dropout=0.0,
            attention_dropout=0.0, activation_dropout=0.0, length=128,
        ),
        objective="seq2seq",
        data=Data(("dates",)),
        tokens=Tokens("characters", 1024),
        batch=Batching("bucketed", tokens=2048),
        steps=2500,
        minutes=4.4,
        optimizer=Optimizer("adamw", lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01),
        schedule=Schedule("wsd", warmup=100, decay=0.5),
        evaluate=Evaluation(every=250, batches=10, exact=1000),
        save=Saving(every=500),
        generation={"num_beams": 1, "max_new_tokens": 16},
    )  # fmt: skip


def recurrent(cell: str, attention: str) -> Callable[[], Recipe]:
    """The same dates with a recurrent network and attention in place of the Transformer."""
    score = "concat" if attention == "bahdanau" else "general"

    def recipe() -> Recipe:
        config = Recurrent(embedding=128, width=192, cell=cell, attention=attention, score=score)
        return replace(dates(), model_type="recurrent", model=config)

    recipe.__doc__ = f"The dates with an {cell.upper()} and {attention.title()}'s attention, to compare with."
    return recipe


def transformer(size: dict[str, Any], dropout: float, steps: int, average: int) -> Recipe:
    """Vaswani et al. (2017), section 5, on parallel text that you name: --data.train TRAIN.en TRAIN.de"""
    return Recipe(
        model_type="marian",
        model=vanilla.Config(**size, dropout=dropout),
        objective="seq2seq",
        data=Data(("train.en", "train.de"), ("valid.en", "valid.de"), parallel=True, longest=256),
        tokens=Tokens("bpe", 37_000),
        batch=Batching("bucketed", tokens=25_000),
        steps=steps,
        # lr · warmup^½ is width^-½: the paper's rate, written as a peak and a factor
        optimizer=Optimizer("adamw", lr=(size["width"] * 4000) ** -0.5, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0),
        schedule=Schedule("inverse-sqrt", warmup=4000),
        clip=0.0,
        smoothing=0.1,
        evaluate=Evaluation(every=1000),
        save=Saving(every=1000, average=average),
        generation={"num_beams": 4, "length_penalty": 0.6},
    )


def transformer_base() -> Recipe:
    """Transformer (base) of the 2017 paper: give it --data.train SOURCE TARGET and --data.validation SOURCE TARGET."""
    return transformer(
        dict(width=512, depth=6, decoder_depth=6, heads=8, decoder_heads=8, hidden=2048, decoder_hidden=2048),
        dropout=0.1, steps=100_000, average=5,
    )  # fmt: skip


def transformer_big() -> Recipe:
    """Transformer (big) of the 2017 paper."""
    return transformer(
        dict(width=1024, depth=6, decoder_depth=6, heads=16, decoder_heads=16, hidden=4096, decoder_hidden=4096),
        dropout=0.3, steps=300_000, average=20,
    )  # fmt: skip


def gpt2_124m() -> Recipe:
    """GPT-2 small (Radford et al., 2019) as nanoGPT trains it: half a million tokens a step, 300 billion in all."""
    return Recipe(
        model_type="gpt2",
        model=gpt2.Config(dropout=0.0, attention_dropout=0.0, embed_dropout=0.0),
        data=Data(("train.txt",)),
        tokens=Tokens(folder="gpt2"),
        batch=Batching("windows", length=1024, rows=12, accumulate=40),
        steps=600_000,
        optimizer=Optimizer("adamw", lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1),
        schedule=Schedule("cosine", warmup=2000, floor=0.1),
        evaluate=Evaluation(every=1000, batches=200, sample="\n"),
        save=Saving(every=1000),
    )


def bert_base() -> Recipe:
    """BERT base (Devlin et al., 2018) on masked words alone, as RoBERTa (Liu et al., 2019) has it."""
    return Recipe(
        model_type="bert",
        model=bert.Config(head="masked_lm"),
        objective="masked-lm",
        data=Data(("train.txt",), unit="line", longest=512),
        tokens=Tokens("wordpiece", 30_522),
        batch=Batching("packed", length=512, rows=16, accumulate=16),
        steps=1_000_000,
        optimizer=Optimizer("adamw", lr=1e-4, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01),
        schedule=Schedule("linear", warmup=10_000),
        evaluate=Evaluation(every=1000, batches=100),
        save=Saving(every=1000),
    )


def t5_small() -> Recipe:
    """T5 small (Raffel et al., 2020) on corrupted spans, with Adafactor and 1/√step."""
    return Recipe(
        model_type="t5",
        model=t5.Config(),
        objective="span-corruption",
        data=Data(("train.txt",)),
        tokens=Tokens(folder="t5-small"),
        batch=Batching("windows", length=568, rows=16, accumulate=8),
        steps=524_288,
        optimizer=Optimizer("adafactor", lr=0.01, weight_decay=0.0),
        schedule=Schedule("inverse-sqrt", warmup=10_000),
        evaluate=Evaluation(every=1000, batches=100),
        save=Saving(every=1000),
    )


def characters() -> Recipe:
    """nanoGPT's CPU setting on one text file, by characters: --data.train input.txt"""
    return Recipe(
        model_type="llama",
        model=llama.Config(width=128, depth=4, heads=4, hidden=344, length=64, tied=True),
        data=Data(("input.txt",)),
        tokens=Tokens("characters", 256),
        batch=Batching("windows", length=64, rows=12),
        steps=2000,
        optimizer=Optimizer("muon", lr=0.01),
        schedule=Schedule("wsd", warmup=20, decay=0.5),
        evaluate=Evaluation(every=250, batches=20, sample="\n"),
        save=Saving(every=1000),
    )


def laptop_bert() -> Recipe:
    """A small BERT for a laptop, on your text: --data.train FILES"""
    return replace(
        bert_base(),
        model=bert.Config(width=256, depth=4, heads=4, hidden=1024, length=128, head="masked_lm"),
        data=Data(("train.txt",), unit="line", longest=128),
        tokens=Tokens("wordpiece", 8000),
        batch=Batching("packed", length=128, rows=32),
        steps=5000,
        optimizer=Optimizer("adamw", lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01),
        schedule=Schedule("linear", warmup=200),
        evaluate=Evaluation(every=250, batches=20),
        save=Saving(every=1000),
    )


KINDS = {"decoder": "causal-lm", "encoder": "masked-lm", "encoder-decoder": "seq2seq"}


def finetune(start: str) -> Recipe:
    """A gentle training of a finished model on your data: cutaway train --from MODEL --data.train FILES"""
    network = hub.outline(start)
    length = min(512, getattr(network.config, "length", 512))
    return Recipe(
        start=start,
        objective=KINDS[network.kind],
        data=Data(("train.txt",)),
        batch=Batching(
            "bucketed" if network.kind == "encoder-decoder" else "packed", length=length, rows=4, tokens=2048
        ),
        steps=500,
        optimizer=Optimizer("adamw", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.0),
        schedule=Schedule("linear", warmup=25),
        evaluate=Evaluation(every=50),
        save=Saving(every=250),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "stdlib": stdlib,
    "dates": dates,
    "dates-rnn": recurrent("rnn", "luong"),
    "dates-gru": recurrent("gru", "bahdanau"),
    "dates-lstm": recurrent("lstm", "luong"),
    "characters": characters,
    "laptop-bert": laptop_bert,
    "gpt2-124m": gpt2_124m,
    "bert-base": bert_base,
    "t5-small": t5_small,
    "transformer-base": transformer_base,
    "transformer-big": transformer_big,
}


def named(name: str) -> Recipe:
    """The recipe of this name. Raises ValueError for another, with the nearest."""
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(RECIPES)}"
        raise ValueError(f"no recipe {name!r}, and no such file; {hint}")
    return RECIPES[name]()
