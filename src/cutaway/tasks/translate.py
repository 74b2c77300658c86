"""Translation with an encoder-decoder (Vaswani et al., 2017), between languages where the model knows several."""

from typing import Any

from ..model import Model


def translate(
    model: Model, text: str, *, src_lang: str | None = None, tgt_lang: str | None = None, **settings: Any
) -> str:
    """``text`` in the other language; ``settings`` are those of ``model.generate``.

    A model of many languages (M2M-100, mBART) is told which: ``src_lang="en", tgt_lang="de"``, written as its
    tokenizer writes them. Raises ValueError for a model that does not translate, and for an unknown language with
    the known ones."""
    if model.kind != "encoder-decoder" or model.config.head != "lm":
        raise ValueError(f"a {model.origin.model_type} does not translate: an encoder-decoder language model does")
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise ValueError("the model has no tokenizer, so it cannot read texts")
    if src_lang or tgt_lang:
        tokenizer = tokenizer.between(src_lang=src_lang, tgt_lang=tgt_lang)
    if tokenizer.languages and tokenizer.tgt_lang is not None:
        known = [tokenizer.language_id(code) for code in tokenizer.languages]
        settings = into(model, tokenizer.language_id(tokenizer.tgt_lang), known) | settings
    ids = model.generate([tokenizer.encode(text).ids], **settings)
    return tokenizer.decode(ids[0].tolist()).strip()


def into(model: Model, language: int, languages: list[int]) -> dict[str, int]:
    """How a decoder is told its language: it starts with it (mBART), or says it first (M2M-100, mBART-50)."""
    start = model.origin.get("decoder_start_token_id")
    return {"decoder_start_token_id" if start is None or start in languages else "forced_bos_token_id": language}
