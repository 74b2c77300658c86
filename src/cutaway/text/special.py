"""Special tokens: which ones the files name, how they get their ids, and where they go around a text."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers
from tokenizers import AddedToken, processors

from .folder import NAMES, Folder, added, content
from .recipes import Recipe


def named_tokens(folder: Folder, defaults: Mapping[str, Any]) -> dict[str, Any]:
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


def add_tokens(pipeline: tokenizers.Tokenizer, folder: Folder, named: Mapping[str, Any], extra: Sequence[Any]) -> None:
    """Take special tokens out of the text before all else; those without an id get the next ones."""
    special = {content(token) for token in (*named.values(), *extra)}
    listed = listed_tokens(folder, special)
    known = {token.content for token in (*listed.values(), *pipeline.get_added_tokens_decoder().values())}
    fresh = {content(token): added(token) for token in (*extra, *named.values()) if content(token) not in known}
    order = dict.fromkeys(content(token) for token in (*named.values(), *extra))
    pipeline.add_tokens([*listed.values(), *(fresh[token] for token in order if token in fresh)])
    for index, token in listed.items():
        got = pipeline.token_to_id(token.content)
        if got != index:
            raise ValueError(f"{folder.path}: its added tokens say that {token.content!r} is {index}, but it is {got}")


def processor(
    recipe: Recipe, pipeline: tokenizers.Tokenizer, special: Mapping[str, str], options: Mapping[str, Any]
) -> processors.PostProcessor:
    """What puts special tokens around a text, or around two."""
    roles = {name.removesuffix("_token"): token for name, token in special.items()}

    def placed(role: str) -> tuple[str, int]:
        if role not in roles:
            raise ValueError(f"there is no {role}_token, which goes around a text")
        number = pipeline.token_to_id(roles[role])
        if number is None:
            raise ValueError(f"the {role} token {roles[role]!r} is not in the vocabulary")
        return roles[role], number

    if recipe.single == "roberta":
        prefix = bool(options.get("add_prefix_space"))
        return processors.RobertaProcessing(placed("sep"), placed("cls"), options.get("trim_offsets", True), prefix)
    single, pair = recipe.single, recipe.pair
    if single is None or pair is None:
        begins, ends_too = options.get("add_bos_token"), options.get("add_eos_token")
        bos = "bos" in roles and (recipe.begins if begins is None else begins)
        eos = "eos" in roles and ends_too
        single = f"{'bos ' * bool(bos)}$A{' eos' * bool(eos)}"
        pair = f"{single}{' bos:1' * bool(bos)} $B:1{' eos:1' * bool(eos)}"
    used = dict.fromkeys(re.findall(r"(?<!\$)\b[a-z]+", f"{single} {pair}"))
    around = {role: placed(role) for role in used}
    return processors.TemplateProcessing(
        single=single,
        pair=pair,
        special_tokens=[{"id": role, "ids": [i], "tokens": [token]} for role, (token, i) in around.items()],
    )
