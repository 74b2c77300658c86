"""Pipelines of the `tokenizers` library, put together from the older files of each family."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from . import sentencepiece
from .folder import Folder
from .sentencepiece import BPE, SPACE, UNIGRAM

Options = Mapping[str, Any]
# The split of Qwen's byte-level BPE: contractions, words with what stands before them, digits, signs, spaces.
QWEN_SPLIT = "|".join(
    [
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)


def byte_bpe(normalizer: normalizers.Normalizer | None = None, split: str | None = None) -> Callable[..., Any]:
    """BPE over bytes (Radford et al., 2019), from vocab.json and merges.txt."""

    def build(folder: Folder, options: Options) -> tokenizers.Tokenizer:
        model = models.BPE(folder.vocab("vocab.json", holes=True), folder.merges("merges.txt"))
        pipeline = tokenizers.Tokenizer(model)
        prefix = bool(options.get("add_prefix_space"))
        level = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=split is None)
        words = [] if split is None else [pre_tokenizers.Split(Regex(split), "isolated")]
        if normalizer is not None:
            pipeline.normalizer = normalizer
        pipeline.pre_tokenizer = pre_tokenizers.Sequence([*words, level]) if words else level
        pipeline.decoder = decoders.ByteLevel()
        return pipeline

    return build


def word_bpe(folder: Folder, options: Options) -> tokenizers.Tokenizer:
    """BPE over the lower-cased characters of words, with a mark at their end (Radford et al., 2018)."""
    pipeline = tokenizers.Tokenizer(
        models.BPE(
            folder.vocab("vocab.json", holes=True),
            folder.merges("merges.txt"),
            unk_token=options["unk_token"],
            end_of_word_suffix="</w>",
        )
    )
    pipeline.normalizer = normalizers.BertNormalizer(lowercase=True)
    pipeline.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pipeline.decoder = decoders.BPEDecoder(suffix="</w>")
    return pipeline


def wordpiece(folder: Folder, options: Options) -> tokenizers.Tokenizer:
    """Longest match first within words (Schuster and Nakajima, 2012), from vocab.txt."""
    pipeline = tokenizers.Tokenizer(models.WordPiece(folder.lines("vocab.txt"), unk_token=options["unk_token"]))
    pipeline.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=options.get("tokenize_chinese_chars", True),
        strip_accents=options.get("strip_accents"),
        lowercase=options.get("do_lower_case", True),
    )
    pipeline.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pipeline.decoder = decoders.WordPiece(prefix="##")
    return pipeline


def spm_bpe(model: sentencepiece.Model) -> tokenizers.Tokenizer:
    numbers = {piece.text: i for i, piece in enumerate(model.pieces)}
    return tokenizers.Tokenizer(
        models.BPE(numbers, model.merges(), unk_token=model.unk, fuse_unk=True, byte_fallback=True)
    )


def llama(folder: Folder, options: Options) -> tokenizers.Tokenizer:
    """SentencePiece BPE that falls back to bytes (Touvron et al., 2023), from tokenizer.model."""
    pipeline = spm_bpe(folder.spm("tokenizer.model", BPE))
    prefix = options.get("add_prefix_space") in (None, True)
    scheme = ("always" if options.get("legacy") else "first") if prefix else "never"
    pipeline.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, scheme, split=False)
    pipeline.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()] + [decoders.Strip(" ", 1, 0)] * prefix
    )
    return pipeline


def gemma(folder: Folder, options: Options) -> tokenizers.Tokenizer:
    """SentencePiece BPE that keeps every space (Gemma team, 2024), from tokenizer.model."""
    pipeline = spm_bpe(folder.spm("tokenizer.model", BPE))
    pipeline.normalizer = normalizers.Replace(" ", SPACE)
    pipeline.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    pipeline.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    return pipeline


def unigram(
    file: str,
    vocab: Callable[[sentencepiece.Model, Options], list[tuple[str, float]]],
    normal: Callable[[sentencepiece.Model, Options], list[normalizers.Normalizer]],
    words: bool = True,
) -> Callable[[Folder, Options], tokenizers.Tokenizer]:
    """SentencePiece unigram (Kudo, 2018), over ``words`` or over the whole text."""

    def build(folder: Folder, options: Options) -> tokenizers.Tokenizer:
        model = folder.spm(file, UNIGRAM)
        pieces = vocab(model, options)
        numbers = {token: i for i, (token, _) in enumerate(pieces)}
        if options["unk_token"] not in numbers:
            raise ValueError(f"the unknown token {options['unk_token']!r} is not in the vocabulary")
        unk = numbers[options["unk_token"]]
        pipeline = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=unk, byte_fallback=False))
        steps = normal(model, options)
        if steps:
            pipeline.normalizer = normalizers.Sequence(steps)
        scheme = "always" if options.get("add_prefix_space", True) else "never"
        space = pre_tokenizers.Metaspace(SPACE, scheme)
        first: list[pre_tokenizers.PreTokenizer] = [pre_tokenizers.WhitespaceSplit()] if words else []
        if options.get("split_by_punct"):
            first = [pre_tokenizers.Punctuation("isolated")]
        pipeline.pre_tokenizer = pre_tokenizers.Sequence([*first, space]) if first else space
        pipeline.decoder = decoders.Metaspace(SPACE, scheme)
        return pipeline

    return build


def scores(model: sentencepiece.Model) -> list[tuple[str, float]]:
    return [(piece.text, piece.score) for piece in model.pieces]


def as_it_is(model: sentencepiece.Model, options: Options) -> list[tuple[str, float]]:
    return scores(model)


def with_sentinels(model: sentencepiece.Model, options: Options) -> list[tuple[str, float]]:
    """T5: the last sentinel comes first."""
    return scores(model) + [(token, 0.0) for token in reversed(sentinels(options))]


def sentinels(options: Options) -> list[str]:
    return [f"<extra_id_{i}>" for i in range(options.get("extra_ids", 100))]


def as_fairseq(languages: Sequence[str]) -> Callable[..., Any]:
    """The order of fairseq: padding where SentencePiece has none, languages and the mask last."""

    def vocab(model: sentencepiece.Model, options: Options) -> list[tuple[str, float]]:
        names = [options[name] for name in ("cls_token", "pad_token", "eos_token", "unk_token")]
        return [
            *((name, 0.0) for name in names),
            *scores(model)[3:],
            *((name, 0.0) for name in (*languages, options["mask_token"])),
        ]

    return vocab


def with_masks(model: sentencepiece.Model, options: Options) -> list[tuple[str, float]]:
    """Pegasus: two masks and a hundred tokens that only pre-training used stand behind padding and end."""
    first = [options["pad_token"], options["eos_token"], *sentence_mask(options), options["mask_token"]]
    unused = [(token, -100.0) for token in pretraining(options)]
    return [(token, 0.0) for token in first] + unused + scores(model)[2:]


def sentence_mask(options: Options) -> list[str]:
    token = options.get("mask_token_sent", "<mask_1>")
    return [] if token is None else [token]


def pretraining(options: Options) -> list[str]:
    return [f"<unk_{i}>" for i in range(2, options.get("offset", 103))]


def pegasus_extra(options: Options) -> list[str]:
    return sentence_mask(options) + pretraining(options)


def compiled(model: sentencepiece.Model, options: Options) -> list[normalizers.Normalizer]:
    return [normalizers.Precompiled(model.charsmap)] if model.charsmap else []


def squeezed(model: sentencepiece.Model, options: Options) -> list[normalizers.Normalizer]:
    breaks = [] if model.charsmap else [normalizers.Replace("\n", " ")]
    return [*compiled(model, options), *breaks, normalizers.Replace(Regex(" {2,}"), " ")]


def albert_text(model: sentencepiece.Model, options: Options) -> list[normalizers.Normalizer]:
    accents = [] if options.get("keep_accents") else [normalizers.NFKD(), normalizers.StripAccents()]
    lower = [normalizers.Lowercase()] if options.get("do_lower_case", True) else []
    quotes = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    return [*quotes, *accents, *lower, *compiled(model, options)]


def deberta_text(model: sentencepiece.Model, options: Options) -> list[normalizers.Normalizer]:
    lower = [normalizers.Lowercase()] if options.get("do_lower_case") else []
    spaces = normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " ")
    return [*lower, spaces, normalizers.NFC(), normalizers.Strip(left=False, right=True)]
