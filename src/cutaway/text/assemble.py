"""From the files of a folder to a working tokenizer: what is special in it, and what goes around a text."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tokenizers
from tokenizers import AddedToken, processors

from .engine import Engine
from .folder import NAMES, VOCABULARIES, Folder, added, content
from .pieces import Pieces, Segmenter, Vocabulary
from .recipes import FSMT, M2M, M2M100, MARIAN, MODEL_TYPES, RECIPES, SAME, Recipe
from .sentencepiece import CONTROL, USER_DEFINED

LANGUAGE = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]{1,3}")
# Whose special tokens go around a text only if the settings say so.
PLAIN = Recipe({}, lambda folder, options: tokenizers.Tokenizer())
MOSES = "it cuts words as the Moses scripts do, with their lists of abbreviations for each language"


@dataclass(frozen=True)
class Parts:
    """What a tokenizer is made of: ``source`` and ``target`` encode, ``special`` is the special tokens by name.

    ``kind`` is the field's name of the class, ``languages`` the token of each language code."""

    kind: str
    source: Engine | Pieces
    target: Engine | Pieces
    special: Mapping[str, str]
    languages: Mapping[str, str]


def assemble(folder: Folder) -> Parts | None:
    """The parts that a folder's files describe; None if it has none. Raises ValueError naming a file."""
    vocabularies = [name for name in VOCABULARIES if name in folder]
    kind = kind_of(folder)
    if not vocabularies:
        if folder.foreign:
            raise ValueError(
                f"{folder.path} has {', '.join(folder.foreign)}, which nothing here reads; a tokenizer.json would do"
            )
        return None
    if kind == MARIAN and "source.spm" in folder:
        return marian(folder)
    if kind == M2M and "sentencepiece.bpe.model" in folder and "vocab.json" in folder:
        return m2m(folder)
    if "tokenizer.json" in folder:
        return from_json(folder, kind)
    if kind == FSMT:
        raise ValueError(f"{folder.path}: {FSMT} is not read, because {MOSES}")
    if kind not in RECIPES:
        raise ValueError(
            f"{folder.path} has {', '.join(vocabularies)}, but neither tokenizer_config.json nor config.json says whose "
            f"they are: tokenizer_class one of {', '.join([*RECIPES, MARIAN, M2M])}, or model_type one of "
            f"{', '.join(MODEL_TYPES)}"
        )
    return from_files(folder, kind)


def kind_of(folder: Folder) -> str:
    """The class that the field would load the folder with, as far as it is known here; else an empty string."""
    named = folder.config.get("tokenizer_class") or folder.model_config.get("tokenizer_class") or ""
    named = str(named).removesuffix("Fast")
    named = SAME.get(named, named)
    if named in RECIPES or named in (MARIAN, M2M, FSMT):
        return named
    return MODEL_TYPES.get(str(folder.model_config.get("model_type")), "")


def named_tokens(folder: Folder, defaults: Mapping[str, str]) -> dict[str, Any]:
    """Special tokens by name, with their flags where a file gives them; the older map wins, as it always did."""
    named = {name: folder.config[name] for name in NAMES if folder.config.get(name)}
    if "special_tokens_map.json" in folder and "added_tokens_decoder" not in folder.config:
        older = folder.json("special_tokens_map.json")
        named |= {name: older[name] for name in NAMES if older.get(name)}
    absent = [name for name in NAMES if name in folder.config and folder.config[name] is None]
    return {name: token for name, token in defaults.items() if name not in absent} | named


def extra_tokens(folder: Folder) -> list[Any]:
    """Special tokens that have no role of their own."""
    settings = [folder.config]
    if "special_tokens_map.json" in folder and "added_tokens_decoder" not in folder.config:
        settings.append(folder.json("special_tokens_map.json"))
    found: list[Any] = []
    for setting in settings:
        given = setting.get("extra_special_tokens") or setting.get("additional_special_tokens") or []
        found += given.values() if isinstance(given, dict) else given
        found += [
            token
            for name, token in setting.items()
            if name.endswith("_token") and name not in NAMES and isinstance(token, str | dict)
        ]
    return found


def listed_tokens(folder: Folder, special: set[str]) -> dict[int, AddedToken]:
    """Added tokens whose ids a file gives."""
    if "added_tokens_decoder" in folder.config:
        entries = folder.config["added_tokens_decoder"].items()
        return {
            int(index): added(token, bool(token.get("special")) or content(token) in special)
            for index, token in sorted(entries, key=lambda entry: int(entry[0]))
        }
    older = folder.json("added_tokens.json") if "added_tokens.json" in folder else {}
    return {index: added(token, token in special) for token, index in sorted(older.items(), key=lambda e: e[1])}


def add_tokens(
    pipeline: tokenizers.Tokenizer, folder: Folder, named: Mapping[str, Any], extra: Sequence[Any]
) -> None:
    """Take special tokens out of the text before all else; those without an id get the next ones."""
    special = {content(token) for token in (*named.values(), *extra)}
    listed = listed_tokens(folder, special)
    known = {token.content for token in (*listed.values(), *pipeline.get_added_tokens_decoder().values())}
    fresh = [token for token in (*named.values(), *extra) if content(token) not in known]
    pipeline.add_tokens([*listed.values(), *map(as_added, fresh)])
    for index, token in listed.items():
        got = pipeline.token_to_id(token.content)
        if got != index:
            raise ValueError(f"{folder.path}: its added tokens say that {token.content!r} is {index}, but it is {got}")


def as_added(token: str | Mapping[str, Any] | AddedToken) -> AddedToken:
    return token if isinstance(token, AddedToken) else added(token)


def processor(
    recipe: Recipe, pipeline: tokenizers.Tokenizer, special: Mapping[str, str], options: Mapping[str, Any]
) -> processors.PostProcessor:
    """What puts special tokens around a text, or around two."""
    roles = {name.removesuffix("_token"): token for name, token in special.items()}
    numbers = {role: pipeline.token_to_id(token) for role, token in roles.items()}
    if recipe.single == "roberta":
        ends = (roles["sep"], numbers["sep"]), (roles["cls"], numbers["cls"])
        prefix = bool(options.get("add_prefix_space"))
        return processors.RobertaProcessing(*ends, options.get("trim_offsets", True), prefix)
    single, pair = recipe.single, recipe.pair
    if single is None or pair is None:
        begins, ends_too = options.get("add_bos_token"), options.get("add_eos_token")
        bos = "bos" in roles and (recipe.begins if begins is None else begins)
        eos = "eos" in roles and ends_too
        single = f"{'bos ' * bool(bos)}$A{' eos' * bool(eos)}"
        pair = f"{single}{' bos:1' * bool(bos)} $B:1{' eos:1' * bool(eos)}"
    used = [role for role in roles if re.search(rf"\b{role}\b", f"{single} {pair}")]
    for role in used:
        if numbers[role] is None:
            raise ValueError(f"the {role} token {roles[role]!r} is not in the vocabulary")
    return processors.TemplateProcessing(
        single=single,
        pair=pair,
        special_tokens=[{"id": role, "ids": [numbers[role]], "tokens": [roles[role]]} for role in used],
    )
