"""Tokenizers from text: byte pairs (Sennrich et al., 2016; Radford et al., 2019), WordPiece (Schuster and Nakajima,
2012), Unigram (Kudo, 2018), characters and bytes."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

from .assemble import Parts
from .encoding import check
from .engine import Engine
from .folder import NAMES
from .recipes import BERT, PLAIN, RECIPES
from .special import processor
from .tokenizer import Tokenizer, byte_signs

USUAL = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
# What is written to tokenizer_config.json beside the special tokens: what PreTrainedTokenizerFast would guess.
SETTINGS = {"model_input_names": ["input_ids", "attention_mask"], "clean_up_tokenization_spaces": False}

# How often a word stands in one text that the trainer reads.
MANY = 10_000

Make = Callable[[Iterator[str], Any, list[str], str], tokenizers.Tokenizer]


@dataclass(frozen=True)
class Kind:
    """A kind of tokenizer: how it is made from ``(texts, vocab, special tokens, unknown token)``.

    ``special`` are its usual special tokens, ``least`` how many other tokens it has before it learned any,
    ``usual`` its usual ``vocab``, None where that is as many as there are."""

    make: Make
    special: Mapping[str, str]
    least: int
    usual: int | None


def train(
    texts: Iterable[str], kind: str = "bpe", vocab: int | None = None, special: Mapping[str, str] | None = None
) -> Tokenizer:
    """A tokenizer made from texts, of at most ``vocab`` tokens, special tokens included.

    | kind | what a token is | does any text come back? |
    |---|---|---|
    | ``bpe`` | bytes that often stand together, within words | yes |
    | ``wordpiece`` | beginnings of words, and what goes on with ``##`` | spaces are lost |
    | ``unigram`` | pieces whose product of probabilities is largest | runs of spaces are lost |
    | ``characters`` | the most frequent characters; without ``vocab``, all | unless one is unknown |
    | ``bytes`` | the 256 bytes; nothing is learned | yes |

    ``special`` gives special tokens by name (``{"eos_token": "<eos>"}``); they have the first ids, and a kind that
    needs an ``unk_token`` adds it. With a ``cls_token`` and a ``sep_token``, which WordPiece usually has, those go
    around a text as BERT's do; no other does. ``vocab`` is 8,000 unless given. The same texts make the same
    tokenizer, but for Unigram, whose probabilities the library sums in parallel, in an order left to chance.

    Raises ValueError for an unknown kind or name, for a ``vocab`` that is too small, and for half a surrogate pair;
    TypeError for a text that is no str."""
    if isinstance(texts, str):
        raise TypeError("texts is several texts; for a single one, write [text]")
    if kind not in KINDS:
        raise ValueError(f"no kind {kind!r} of tokenizer; there are {', '.join(KINDS)}")
    found = KINDS[kind]
    names = dict(found.special if special is None else special)
    if unknown := sorted(set(names) - set(NAMES)):
        raise ValueError(f"{', '.join(unknown)} is no special token; those are {', '.join(NAMES)}")
    if "unk_token" in found.special:
        names.setdefault("unk_token", found.special["unk_token"])
    tokens = list(dict.fromkeys(names.values()))
    size = found.usual if vocab is None else vocab
    least = found.least + len(tokens)
    if size is not None and size < least:
        raise ValueError(f"a vocabulary of {size} is too small: {kind} begins with {least} tokens")
    numbered = (check(text, f"text {number}") for number, text in enumerate(texts))
    pipeline = found.make(numbered, size, tokens, names.get("unk_token", ""))
    pipeline.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tokens])
    around = RECIPES["BertTokenizer"] if {"cls_token", "sep_token"} <= names.keys() else PLAIN
    engine = Engine(pipeline, processor(around, pipeline, names, {}))
    return Tokenizer(Parts("", engine, engine, names, {}), SETTINGS)


def _learned(pipeline: tokenizers.Tokenizer, trainer: Any, texts: Iterator[str]) -> tokenizers.Tokenizer:
    try:
        pipeline.train_from_iterator(texts, trainer)
    except (TypeError, ValueError):
        raise
    except Exception as error:  # the library raises nothing more precise
        raise ValueError(f"no tokenizer can be made of these texts: {error}") from error
    return pipeline


def _bpe(texts: Iterator[str], vocab: int, special: list[str], unk: str) -> tokenizers.Tokenizer:
    pipeline = _spelled(models.BPE(), use_regex=True)
    alphabet = byte_signs()
    return _learned(
        pipeline,
        trainers.BpeTrainer(
            vocab_size=vocab, special_tokens=special, initial_alphabet=alphabet, min_frequency=2, show_progress=False
        ),
        texts,
    )


def _bytes(texts: Iterator[str], vocab: int | None, special: list[str], unk: str) -> tokenizers.Tokenizer:
    if vocab not in (None, 256 + len(special)):
        raise ValueError(f"bytes have {256 + len(special)} tokens, special ones included; vocab says {vocab}")
    signs = {sign: number for number, sign in enumerate([*special, *byte_signs()])}
    return _spelled(models.BPE(signs, []), use_regex=False)


def _spelled(model: models.Model, use_regex: bool) -> tokenizers.Tokenizer:
    """A pipeline whose model sees each byte as one sign; with ``use_regex`` no token spans two words."""
    pipeline = tokenizers.Tokenizer(model)
    pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)
    pipeline.decoder = decoders.ByteLevel()
    return pipeline


def _wordpiece(texts: Iterator[str], vocab: int, special: list[str], unk: str) -> tokenizers.Tokenizer:
    pipeline = tokenizers.Tokenizer(models.WordPiece(unk_token=unk))
    pipeline.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    pipeline.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pipeline.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    chunks: Counter[str] = Counter()
    for text in texts:
        chunks.update(text.split())
    words: Counter[str] = Counter()
    for chunk, times in chunks.items():
        for word, _ in pipeline.pre_tokenizer.pre_tokenize_str(pipeline.normalizer.normalize_str(chunk)):
            words[word] += times
    seen: Counter[str] = Counter()
    for word, times in words.items():
        seen.update(dict.fromkeys(word, times))
    signs = _frequent(seen, (vocab - len(special)) // 2)
    # The library numbers the characters within words by chance, and where pairs are equally frequent, numbers decide.
    # Given as special tokens, they have their numbers before: the same texts make the same tokenizer.
    given = [*special, *(f"##{sign}" for sign in signs)]
    trainer = trainers.WordPieceTrainer(vocab_size=vocab, special_tokens=given, show_progress=False)
    spelled = {word: times for word, times in words.items() if {*word} <= {*signs}}
    chosen = (" ".join([word] * min(n - at, MANY)) for word, n in spelled.items() for at in range(0, n, MANY))
    learned = _learned(pipeline, trainer, chosen)
    numbers = learned.get_vocab()
    fresh = tokenizers.Tokenizer(models.WordPiece(numbers, unk_token=unk))
    fresh.normalizer, fresh.pre_tokenizer = pipeline.normalizer, pipeline.pre_tokenizer
    fresh.decoder = pipeline.decoder
    return fresh


def _unigram(texts: Iterator[str], vocab: int, special: list[str], unk: str) -> tokenizers.Tokenizer:
    pipeline = tokenizers.Tokenizer(models.Unigram())
    pipeline.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    pipeline.pre_tokenizer = pre_tokenizers.Metaspace()
    pipeline.decoder = decoders.Metaspace()
    return _learned(
        pipeline,
        trainers.UnigramTrainer(vocab_size=vocab, special_tokens=special, unk_token=unk, show_progress=False),
        texts,
    )


def _frequent(seen: Counter[str], room: int | None) -> list[str]:
    """The most frequent characters, sorted; of equally frequent ones the first, so that no order of texts matters."""
    return sorted(sorted(seen, key=lambda sign: (-seen[sign], sign))[:room])


def _characters(texts: Iterator[str], vocab: int | None, special: list[str], unk: str) -> tokenizers.Tokenizer:
    seen: Counter[str] = Counter()
    for text in texts:
        seen.update(text)
    kept = _frequent(seen, None if vocab is None else vocab - len(special))
    numbers = {token: number for number, token in enumerate(dict.fromkeys([*special, *kept]))}
    # Byte pairs without a single pair: each character is a token.
    pipeline = tokenizers.Tokenizer(models.BPE(numbers, [], unk_token=unk, fuse_unk=False))
    pipeline.decoder = decoders.Fuse()
    return pipeline


UNKNOWN = {"unk_token": "<unk>"}
KINDS = {
    "bpe": Kind(_bpe, USUAL, 256, 8000),
    "wordpiece": Kind(_wordpiece, BERT, 1, 8000),
    "unigram": Kind(_unigram, USUAL | UNKNOWN, 1, 8000),
    "characters": Kind(_characters, USUAL | UNKNOWN, 1, None),
    "bytes": Kind(_bytes, USUAL, 256, None),
}
