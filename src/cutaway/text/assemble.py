"""From the files of a folder to a working tokenizer."""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import tokenizers
from tokenizers import AddedToken, models, normalizers, pre_tokenizers, processors

from .closed import Closed
from .engine import Engine
from .folder import NAMES, VOCABULARIES, Folder, content
from .pieces import Pieces, Vocabulary
from .recipes import FSMT, M2M, M2M100, M2M_SPECIAL, MARIAN, MODEL_TYPES, PLAIN, RECIPES, SAME
from .segmenter import Segmenter
from .sentencepiece import CONTROL, USER_DEFINED, rules
from .special import add_tokens, extra_tokens, named_tokens, processor

RULES = re.compile(rb'"precompiled_charsmap"\s*:\s*"([^"]*)"')
LANGUAGE = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]{1,3}")
MOSES = (
    "FSMT cuts words as the Moses scripts do, with a list of abbreviations for each language, which is not done "
    "here: give and take ids, cut with sacremoses and the byte pairs of merges.txt"
)


Codec = Engine | Pieces | Closed


@dataclass(frozen=True)
class Parts:
    """What a tokenizer is made of: what encodes ``source`` and ``target`` texts, special tokens by name.

    ``kind`` is the field's name of the class, ``languages`` the token of each language code."""

    kind: str
    source: Codec
    target: Codec
    special: Mapping[str, str]
    languages: Mapping[str, str]


def assemble(folder: Folder) -> Parts | None:
    """The parts that a folder's files describe; None if it has none. Raises ValueError naming a file."""
    vocabularies = [name for name in VOCABULARIES if name in folder]
    kind = kind_of(folder)
    if not vocabularies:
        if folder.foreign:
            found = ", ".join(folder.foreign)
            raise ValueError(f"{folder.path} has {found}, which is not read; a tokenizer.json would do")
        return None
    if kind == MARIAN and "source.spm" in folder:
        return marian(folder)
    if kind == M2M and "sentencepiece.bpe.model" in folder and "vocab.json" in folder:
        return m2m(folder)
    if "tokenizer.json" in folder:
        return from_json(folder, kind)
    if kind == FSMT:
        return fsmt(folder)
    if kind not in RECIPES:
        raise ValueError(
            f"{folder.path} has {', '.join(vocabularies)}, but nothing says how to read them: tokenizer_config.json "
            f"a tokenizer_class ({', '.join([*RECIPES, MARIAN, M2M])}) or config.json a model_type "
            f"({', '.join(MODEL_TYPES)})"
        )
    return from_files(folder, kind)


def kind_of(folder: Folder) -> str:
    """The class that the field would load the folder with; an empty string if it is not known here."""
    named = folder.config.get("tokenizer_class") or folder.model_config.get("tokenizer_class") or ""
    named = str(named).removesuffix("Fast")
    named = SAME.get(named, named)
    if named in RECIPES or named in (MARIAN, M2M, FSMT):
        return named
    return MODEL_TYPES.get(str(folder.model_config.get("model_type")), "")


def from_json(folder: Folder, kind: str) -> Parts:
    """The pipeline that tokenizer.json describes, with the special tokens that the settings name."""
    pipeline = folder.pipeline(lambda: read_json(folder["tokenizer.json"]), "tokenizer.json")
    pipeline.no_truncation()
    pipeline.no_padding()
    recipe = RECIPES.get(kind, PLAIN)
    usual = {name: token for name, token in recipe.special.items() if pipeline.token_to_id(content(token)) is not None}
    named = named_tokens(folder, usual)
    add_tokens(pipeline, folder, named, extra_tokens(folder))
    override(pipeline, folder.config)
    special = {name: content(token) for name, token in named.items()}
    marks = PLAIN if recipe.language or recipe.single is None else recipe
    around = pipeline.post_processor or processor(marks, pipeline, special, {})
    return engine_parts(folder, kind, pipeline, special, around)


def read_json(blob: bytes) -> tokenizers.Tokenizer:
    """A pipeline from its JSON; normalisation rules are looked at first, since broken ones crash the library."""
    for found in RULES.finditer(blob):
        rules(base64.b64decode(found[1].replace(b"\\/", b"/"), validate=True))
    return tokenizers.Tokenizer.from_buffer(blob)


def override(pipeline: tokenizers.Tokenizer, settings: Mapping[str, Any]) -> None:
    """What tokenizer_config.json says of case, accents and the first space goes before tokenizer.json."""
    normal, words = pipeline.normalizer, pipeline.pre_tokenizer
    if isinstance(normal, normalizers.BertNormalizer):
        normal.lowercase = settings.get("do_lower_case", normal.lowercase)
        normal.strip_accents = settings.get("strip_accents", normal.strip_accents)
        normal.handle_chinese_chars = settings.get("tokenize_chinese_chars", normal.handle_chinese_chars)
    if isinstance(words, pre_tokenizers.ByteLevel):
        words.add_prefix_space = settings.get("add_prefix_space", words.add_prefix_space)


def from_files(folder: Folder, kind: str) -> Parts:
    """The pipeline of a recipe, from a family's older files."""
    recipe = RECIPES[kind]
    named = named_tokens(folder, recipe.special)
    special = {name: content(token) for name, token in named.items()}
    options = {name: value for name, value in folder.config.items() if name not in NAMES} | special
    pipeline = folder.pipeline(lambda: recipe.build(folder, options), *(n for n in VOCABULARIES if n in folder))
    pieces = folder.spm(recipe.spm).pieces if recipe.spm else ()
    own = [
        AddedToken(piece.text, normalized=False, special=piece.kind == CONTROL)
        for piece in pieces
        if piece.kind in (CONTROL, USER_DEFINED)
    ]
    add_tokens(pipeline, folder, named, [*extra_tokens(folder), *recipe.extra(options), *own])
    numbers = set(pipeline.get_vocab().values())
    if missing := sorted(set(range(max(numbers, default=0))) - numbers):
        raise ValueError(f"{folder.path}: its vocabulary has no token for id {', '.join(map(str, missing[:5]))}")
    around = processor(PLAIN if recipe.language else recipe, pipeline, special, options)
    return engine_parts(folder, kind, pipeline, special, around)


def engine_parts(
    folder: Folder,
    kind: str,
    pipeline: tokenizers.Tokenizer,
    special: Mapping[str, str],
    around: processors.PostProcessor,
) -> Parts:
    """Parts of a pipeline; if its family marks languages, ``around`` stands until a direction is set."""
    pipeline.post_processor = None
    cleans = bool(folder.config.get("clean_up_tokenization_spaces")) and not isinstance(pipeline.model, models.BPE)
    cuts = folder.config.get("truncation_side", "right")
    found = pipeline.get_added_tokens_decoder().values()
    codes = [token.content for token in found if token.special and LANGUAGE.fullmatch(token.content)]
    marks = RECIPES.get(kind, PLAIN).language
    engine = Engine(pipeline, around, cleans, cuts)
    return Parts(kind, engine, engine, special, {code: code for code in codes if marks})


def marian(folder: Folder) -> Parts:
    """Marian: one SentencePiece model for each side, and one vocabulary for both, or one for each."""
    special = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    named = {name: content(token) for name, token in named_tokens(folder, special).items()}
    numbers = folder.vocab("vocab.json")
    source = pieces(folder, "source.spm", numbers, named, ())
    source = replace(source, suffix=(named["eos_token"],), gap=" ", codes=True)
    target = replace(source, segmenter=Segmenter(folder.spm("target.spm")))
    if folder.config.get("separate_vocabs"):
        other = pieces(folder, "target.spm", folder.vocab("target_vocab.json"), named, ())
        target = replace(target, vocabulary=other.vocabulary)
    return Parts(MARIAN, source, target, named, {})


def m2m(folder: Folder) -> Parts:
    """M2M-100: a language code stands before the text, on both sides; codes come after the vocabulary."""
    named = {name: content(token) for name, token in named_tokens(folder, M2M_SPECIAL).items()}
    known = folder.config.get("language_codes", "m2m100")
    if known not in M2M100:
        raise ValueError(f"{folder.path}: language_codes must be one of {', '.join(M2M100)}, not {known!r}")
    languages = {code: f"__{code}__" for code in M2M100[known].split()}
    numbers = folder.vocab("vocab.json")
    both = pieces(folder, "sentencepiece.bpe.model", numbers, named, languages.values())
    both = replace(both, suffix=(named["eos_token"],))
    return Parts(M2M, both, both, named, languages)


def fsmt(folder: Folder) -> Parts:
    """FSMT: its two vocabularies, without the Moses scripts that cut its words."""
    special = {"unk_token": "<unk>", "bos_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
    named = {name: content(token) for name, token in named_tokens(folder, special).items()}
    source, target = (
        Closed(folder.vocab(name), list(named.values()), MOSES) for name in ("vocab-src.json", "vocab-tgt.json")
    )
    return Parts(FSMT, source, target, named, {})


def pieces(
    folder: Folder, file: str, numbers: Mapping[str, int], named: Mapping[str, str], codes: Iterable[str]
) -> Pieces:
    """A SentencePiece model with a vocabulary; special tokens that it lacks get the next ids, in order."""
    unk = named.get("unk_token", "")
    if unk not in numbers:
        raise ValueError(f"{folder.path}: the unknown token {unk!r} is not in the vocabulary")
    special: dict[str, int] = {}
    for token in dict.fromkeys([*codes, *named.values(), *map(content, extra_tokens(folder))]):
        special[token] = numbers.get(token, len(numbers) + sum(t not in numbers for t in special))
    cleans = bool(folder.config.get("clean_up_tokenization_spaces"))
    cuts = folder.config.get("truncation_side", "right")
    return Pieces(Segmenter(folder.spm(file)), Vocabulary(numbers, special, unk), cleans=cleans, cuts=cuts)
