"""What the configs of Marian, FSMT and M2M-100 say, and leave out: sizes, vocabularies, positions, initial weights."""

from typing import Any

from ..names import Group

SIZE = {"d_model": 1024, "max_position_embeddings": 1024}
IDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
MARIAN = {
    **SIZE, "vocab_size": 58_101, "activation_function": "gelu", "scale_embedding": False, "pad_token_id": 58_100,
    "decoder_start_token_id": 58_100, "eos_token_id": 0, "forced_eos_token_id": 0,
}  # fmt: skip
FSMT = {**SIZE, **IDS, "src_vocab_size": 42_024, "tgt_vocab_size": 42_024, "forced_eos_token_id": 2}
M2M = {
    **SIZE, **IDS, "vocab_size": 128_112, "attention_dropout": 0.1,
    "encoder_layerdrop": 0.05, "decoder_layerdrop": 0.05,
}  # fmt: skip
PAPER = {"vocab": 37_000, "depth": 6, "act": "relu", "scaled": True}
SIZES = {
    "transformer-base": {**PAPER, "width": 512, "heads": 8, "hidden": 2048, "dropout": 0.1},
    "transformer-big": {**PAPER, "width": 1024, "heads": 16, "hidden": 4096, "dropout": 0.3},
}
STD = Group(("init_std",), lambda t: {"std": t.get("init_std")}, lambda c: {"init_std": c.std} if c.std else {})
PAD = Group(("pad_token_id",), lambda t: {"offset": t["pad_token_id"] + 1}, lambda c: {"pad_token_id": c.offset - 1})


def vocabularies(source: str, target: str, share: str, tie: bool) -> Group:
    """One embedding for all, or one for each language; ``share`` is the key that says so.

    ``tie`` is what is said of logits by default: whether they are made by the decoder's embedding."""
    keys = (source, target, share, "tie_word_embeddings")

    def read(theirs: dict[str, Any]) -> dict[str, Any]:
        shared, tied = theirs.get(share, tie), theirs.get("tie_word_embeddings", tie)
        n, vocab = theirs[source], theirs.get(target, theirs[source])
        if shared and not (tied and n == vocab):
            raise ValueError(f"embeddings cannot be shared by {n} and {vocab} ids, or by all but the logits: {theirs}")
        return {"vocab": vocab, "source_vocab": None if shared else n, "tied": tied}

    def write(c: Any) -> dict[str, Any]:
        said = (c.source_vocab or c.vocab, c.vocab, c.source_vocab is None, c.tied)
        theirs = dict(zip(keys, said, strict=True))
        if read(theirs) != {k: vars(c)[k] for k in ("vocab", "source_vocab", "tied")}:
            raise ValueError(f"{share} cannot say both that embeddings are shared and whether logits are tied")
        return theirs

    return Group(keys, read, write)


MARIAN_VOCABULARY = vocabularies("vocab_size", "decoder_vocab_size", "share_encoder_decoder_embeddings", tie=True)
FSMT_VOCABULARY = vocabularies("src_vocab_size", "tgt_vocab_size", "tie_word_embeddings", tie=False)
