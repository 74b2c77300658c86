"""Tokenizer files of a checkpoint folder: read whole, checked, with errors that name the file."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from . import sentencepiece

SETTINGS = (
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
)  # fmt: skip
VOCABULARIES = (
    "tokenizer.json", "vocab.json", "merges.txt", "vocab.txt", "spiece.model", "spm.model", "tokenizer.model",
    "sentencepiece.bpe.model", "source.spm", "target.spm", "target_vocab.json", "vocab-src.json",
    "vocab-tgt.json",
)  # fmt: skip
# Files of tokenizers that no recipe reads: found alone, they are refused by name.
FOREIGN = ("tekken.json", "tiktoken.model", "bpe_encoder.bin", "encoder.json", "vocab.bpe")
TEMPLATES = "additional_chat_templates"
NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class Folder:
    """The files of a folder that have to do with text, as bytes by name, and their parsed forms."""

    def __init__(self, path: Path):
        self.path = path
        paths = [path / name for name in (*VOCABULARIES, *SETTINGS)] + sorted((path / TEMPLATES).glob("*.jinja"))
        self.files = {str(p.relative_to(path)): p.read_bytes() for p in paths if p.is_file()}
        self.models: dict[str, sentencepiece.Model] = {}
        self.foreign = [name for name in FOREIGN if (path / name).is_file()]
        self.config = self.json("tokenizer_config.json") if "tokenizer_config.json" in self.files else {}
        model = path / "config.json"
        self.model_config = self._parse(model, model.read_bytes()) if model.is_file() else {}

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def __getitem__(self, name: str) -> bytes:
        if name not in self.files:
            have = ", ".join(sorted(self.files)) or "no tokenizer file"
            raise ValueError(f"{self.path} has no {name}, which its tokenizer needs; it has {have}")
        return self.files[name]

    def text(self, name: str) -> str:
        blob = self[name]
        try:
            return blob.decode()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self.path / name} is not UTF-8: byte {error.start} is {blob[error.start]:#x}"
            ) from error

    def json(self, name: str) -> dict[str, Any]:
        return self._parse(self.path / name, self[name])

    @staticmethod
    def _parse(path: Path, blob: bytes) -> dict[str, Any]:
        try:
            value = json.loads(blob)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise ValueError(f"{path} must hold a JSON object, not {type(value).__name__}")
        return value

    def spm(self, name: str, algorithm: int | None = None) -> sentencepiece.Model:
        if name not in self.models:
            self.models[name] = sentencepiece.read(self[name], str(self.path / name))
        model = self.models[name]
        if algorithm is not None and model.algorithm != algorithm:
            words = {sentencepiece.UNIGRAM: "unigram", sentencepiece.BPE: "BPE"}
            raise ValueError(
                f"{self.path / name} is a {words[model.algorithm]} model; its family uses {words[algorithm]}"
            )
        return model

    def vocab(self, name: str, holes: bool = False) -> dict[str, int]:
        """A JSON vocabulary, token -> id. Raises ValueError unless the ids are 0, 1, 2, ... each once.

        With ``holes``, ids may be missing, for tokens that are added later."""
        vocab = self.json(name)
        for token, index in vocab.items():
            if type(index) is not int or index < 0:
                raise ValueError(f"{self.path / name}: the id of {token!r} must be a number from 0, not {index!r}")
        seen: dict[int, str] = {}
        for token, index in vocab.items():
            if index in seen:
                raise ValueError(f"{self.path / name} gives id {index} to both {seen[index]!r} and {token!r}")
            seen[index] = token
        if not holes and len(vocab) != max(seen, default=-1) + 1:
            missing = [i for i in range(max(seen)) if i not in seen]
            raise ValueError(f"{self.path / name} has no token for id {', '.join(map(str, missing[:5]))}")
        return vocab

    def lines(self, name: str) -> dict[str, int]:
        """A vocabulary of one token per line, whose number is its id."""
        vocab: dict[str, int] = {}
        for index, line in enumerate(self.text(name).removesuffix("\n").split("\n")):
            token = line.rstrip()
            if token in vocab:
                first = vocab[token] + 1
                raise ValueError(f"{self.path / name}: lines {first} and {index + 1} are both {token!r}")
            vocab[token] = index
        return vocab

    def merges(self, name: str) -> list[tuple[str, str]]:
        pairs = []
        for number, line in enumerate(self.text(name).split("\n"), 1):
            if not line.strip() or line.startswith("#version"):
                continue
            match line.rstrip("\r").split(" "):
                case [left, right] if left and right:
                    pairs.append((left, right))
                case _:
                    raise ValueError(f"{self.path / name}, line {number}: two tokens expected, not {line!r}")
        return pairs

    def pipeline(self, build: Callable[[], tokenizers.Tokenizer], *names: str) -> tokenizers.Tokenizer:
        """What ``build`` makes, with the library's complaints as ValueError naming the files."""
        try:
            return build()
        except Exception as error:  # the library raises nothing more precise, and knows no file names
            if str(self.path) in str(error):
                raise
            if isinstance(error, KeyError):
                raise ValueError(f"{self.path}: its settings leave out {error}, which its vocabulary needs") from error
            raise ValueError(f"{', '.join(str(self.path / name) for name in names)}: {error}") from error

    def templates(self) -> dict[str, str]:
        """Chat templates by name; the one that is meant when nobody names one is ``default``."""
        given = self.config.get("chat_template")
        if isinstance(given, list):
            given = {entry["name"]: entry["template"] for entry in given}
        found = {"default": given} if isinstance(given, str) else dict(given or {})
        if "chat_template.jinja" in self.files:
            found["default"] = self.text("chat_template.jinja")
        extra = [name for name in self.files if name.startswith(TEMPLATES)]
        return found | {Path(name).stem: self.text(name) for name in extra}


def content(token: str | Mapping[str, Any] | AddedToken) -> str:
    """The text of a special token, which files give as a str or with its flags."""
    if isinstance(token, AddedToken):
        return token.content
    return token if isinstance(token, str) else token["content"]


def added(token: str | Mapping[str, Any] | AddedToken, special: bool = True) -> AddedToken:
    """A token that is taken out of the text before anything else sees it."""
    if isinstance(token, AddedToken):
        return token
    if isinstance(token, str):
        return AddedToken(token, special=special, normalized=not special)
    flags = {key: bool(token.get(key, False)) for key in ("single_word", "lstrip", "rstrip")}
    return AddedToken(token["content"], special=special, normalized=bool(token.get("normalized", not special)), **flags)
