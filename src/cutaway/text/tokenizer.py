"""The tokenizer of a checkpoint: text to ids and back, batches, streams, chats, translation directions."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsIndex

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from . import chat
from .assemble import Codec, Parts, assemble
from .encoding import Batch, Encoding, check, check_ids, pad
from .engine import Engine
from .folder import NAMES, Folder
from .pieces import Pieces
from .recipes import PLAIN, RECIPES
from .special import processor
from .stream import Stream


class Tokenizer:
    """Text to ids and back, as the family of a checkpoint does it.

    ``special`` holds the special tokens by name (``eos_token`` and so on), ``languages`` the codes that a
    translation model knows, ``src_lang`` and ``tgt_lang`` the direction it is set to."""

    def __init__(
        self,
        parts: Parts,
        config: Mapping[str, Any] | None = None,
        templates: Mapping[str, str] | None = None,
        files: Mapping[str, bytes] | None = None,
    ):
        self.parts = parts
        self.config, self.templates, self.files = dict(config or {}), dict(templates or {}), dict(files or {})
        self.special = dict(parts.special)
        self.src_lang: str | None = None
        self.tgt_lang: str | None = None

    @staticmethod
    def load(folder: str | Path) -> "Tokenizer | None":
        """The tokenizer in a checkpoint folder; None if there is none.

        Reads tokenizer.json, or the older files of the family that tokenizer_config.json or config.json names.
        Raises ValueError naming the file that is broken, missing, or of a kind that is not read."""
        found = Folder(Path(folder))
        try:
            parts = assemble(found)
            templates = found.templates()
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{found.path}: its tokenizer settings are not of the usual form: {error}") from error
        if parts is None:
            return None
        made = Tokenizer(parts, found.config, templates, found.files)
        if not parts.languages:
            return made
        usual = RECIPES[parts.kind].language if parts.kind in RECIPES else "en"
        first = usual if usual in parts.languages else next(iter(parts.languages))
        return made.between(src_lang=found.config.get("src_lang") or first, tgt_lang=found.config.get("tgt_lang"))

    @staticmethod
    def bytes(special: Mapping[str, str] | None = None) -> "Tokenizer":
        """A tokenizer that needs no file: 256 ids for the bytes of UTF-8, then the special tokens.

        Those are a padding, a begin and an end token, unless ``special`` names others (token by name, as in
        ``{"eos_token": "<eos>"}``); none is put around a text."""
        names = special or {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
        if unknown := sorted(set(names) - set(NAMES)):
            raise ValueError(f"{', '.join(unknown)} is no special token; those are {', '.join(NAMES)}")
        pipeline = tokenizers.Tokenizer(models.BPE({sign: byte for byte, sign in enumerate(byte_signs())}, []))
        pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        pipeline.decoder = decoders.ByteLevel()
        pipeline.add_special_tokens(list(names.values()))
        engine = Engine(pipeline, processor(PLAIN, pipeline, names, {}))
        return Tokenizer(Parts("", engine, engine, names, {}), {"model_input_names": ["input_ids", "attention_mask"]})

    def encode(
        self,
        text: str,
        pair: str | None = None,
        *,
        special: bool = True,
        max_length: int | None = None,
        target: bool = False,
    ) -> Encoding:
        """A text, or a pair of texts, as ids, with the family's special tokens around it if ``special``.

        Cut to ``max_length`` ids, special tokens included; of a pair, the longer text gives first. ``target`` is
        for the side that a translation model writes. Raises TypeError for what is no str, ValueError for half a
        surrogate pair and for a ``max_length`` that leaves no room."""
        return self._encode([(text, pair)], special, max_length, target)[0]

    def batch(
        self,
        texts: Sequence[str | tuple[str, str]],
        *,
        side: str = "right",
        special: bool = True,
        max_length: int | None = None,
        target: bool = False,
    ) -> Batch:
        """Several texts, or pairs of texts, padded to the longest on the ``"right"`` or on the ``"left"``.

        Where there is no padding token the end token fills in, or id 0: the mask hides them either way."""
        if isinstance(texts, str):
            raise TypeError("a batch is a list of texts; for a single one, write [text]")
        pairs = [text if isinstance(text, tuple) else (text, None) for text in texts]
        if odd := [pair for pair in pairs if len(pair) != 2]:
            raise ValueError(f"a pair is two texts, not {len(odd[0])}: {odd[0]!r:.60}")
        found = self._encode(pairs, special, max_length, target)
        fill = next((i for i in (self.pad_token_id, self.eos_token_id) if i is not None), 0)
        return pad(found, fill, side)

    def _encode(self, pairs: Sequence[Any], special: bool, max_length: int | None, target: bool) -> list[Encoding]:
        many = len(pairs) > 1
        for number, (text, pair) in enumerate(pairs):
            check(text, f"text {number}" if many else "text")
            if pair is not None:
                check(pair, f"the pair of text {number}" if many else "pair")
        source = self.parts.target if target else self.parts.source
        return source.encode(pairs, special, max_length)

    def decode(self, ids: Iterable[SupportsIndex], *, skip_special: bool = True) -> str:
        """The text that ids spell; ids beyond the vocabulary, which padded models have, spell nothing."""
        return self.parts.target.decode(check_ids(ids), skip_special)

    def tokens(self, ids: Iterable[SupportsIndex]) -> list[str]:
        """The token of each id. Raises ValueError for an id that has none."""
        found = [(i, self.parts.target.token(i)) for i in check_ids(ids)]
        for i, token in found:
            if token is None:
                raise ValueError(f"id {i} has no token: the vocabulary has {len(self)}")
        return [token for _, token in found if token is not None]

    def stream(self, *, skip_special: bool = True) -> Stream:
        """Decoding one id after the other, as they are generated."""
        return Stream(self.parts.target, skip_special)

    def chat(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True, **more: Any) -> str:
        """A conversation as the text that the model was trained on; encode it with ``special=False``.

        ``messages`` have ``role`` and ``content``; ``more`` is what else the template reads (``tools``, ...).
        Raises ValueError if there is no template, and if the template refuses, fails or does not end."""
        if not self.templates:
            raise ValueError("this tokenizer has no chat template: its model was not trained for conversations")
        name = "tool_use" if more.get("tools") is not None and "tool_use" in self.templates else "default"
        if name not in self.templates:
            raise ValueError(f"no chat template is the default one; there are {', '.join(self.templates)}")
        known = {**self.special, **more, "add_generation_prompt": add_generation_prompt}
        return chat.render(self.templates[name], messages, **known)

    @property
    def languages(self) -> list[str]:
        """Codes of the languages that this tokenizer can mark a text with."""
        return sorted(self.parts.languages)

    def between(self, *, src_lang: str | None = None, tgt_lang: str | None = None) -> "Tokenizer":
        """The same tokenizer set to a direction: ``encode`` marks texts with one, ``target=True`` with the other.

        What is not given stays. Raises ValueError for a language that the tokenizer does not know."""
        source, target = src_lang or self.src_lang, tgt_lang or self.tgt_lang
        parts = replace(self.parts, source=self._marked(source), target=self._marked(target or source))
        made = Tokenizer(parts, self.config, self.templates, self.files)
        made.src_lang, made.tgt_lang = source, target
        return made

    def _marked(self, language: str | None) -> Codec:
        source, token = self.parts.source, self._language(language)
        match source:
            case Engine():
                special = {**self.special, "lang_token": token}
                around = processor(RECIPES[self.parts.kind], source.pipeline, special, self.config)
                return replace(source, processor=around)
            case Pieces():
                return replace(source, prefix=(token,))
        return source

    def _language(self, code: str | None) -> str:
        if not self.parts.languages:
            raise ValueError("this tokenizer has no language codes")
        if code is None or code not in self.parts.languages:
            raise ValueError(f"no language {code!r}; there are {', '.join(self.languages)}")
        return self.parts.languages[code]

    def language_id(self, code: str) -> int:
        """The id of a language's token, which a translation into it begins with. Raises ValueError if unknown."""
        found = self.id(self._language(code))
        if found is None:
            raise ValueError(f"the language {code!r} has no id: its token is not in the vocabulary")
        return found

    def id(self, token: str) -> int | None:
        """The id of a token; None if there is none."""
        return self.parts.source.id(token)

    def _special(self, name: str) -> int | None:
        return self.id(self.special[name]) if name in self.special else None

    @property
    def bos_token_id(self) -> int | None:
        return self._special("bos_token")

    @property
    def eos_token_id(self) -> int | None:
        return self._special("eos_token")

    @property
    def pad_token_id(self) -> int | None:
        return self._special("pad_token")

    @property
    def unk_token_id(self) -> int | None:
        return self._special("unk_token")

    @property
    def mask_token_id(self) -> int | None:
        return self._special("mask_token")

    @property
    def cls_token_id(self) -> int | None:
        return self._special("cls_token")

    @property
    def sep_token_id(self) -> int | None:
        return self._special("sep_token")

    @property
    def vocab_size(self) -> int:
        """How many tokens there are without those that were added."""
        return self.parts.source.vocab_size

    def __len__(self) -> int:
        return len(self.parts.source)

    def __repr__(self) -> str:
        special = ", ".join(f"{name.removesuffix('_token')} {token!r}" for name, token in self.special.items())
        return f"Tokenizer({len(self)} tokens; {special or 'no special tokens'})"

    def save(self, folder: str | Path) -> None:
        """Write the files that it came from, and tokenizer.json and its settings where those were missing."""
        files = dict(self.files)
        settings = {"tokenizer_class": self._class(), **self.special, **self.config}
        settings |= {name: code for name, code in self._direction().items() if code is not None}
        if settings != self.config or "tokenizer_config.json" not in files:
            files["tokenizer_config.json"] = as_json(settings)
        files.setdefault("special_tokens_map.json", as_json(self.special))
        if isinstance(self.parts.source, Engine) and "tokenizer.json" not in files:
            files["tokenizer.json"] = as_json(self.parts.source.json())
        for name, blob in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(blob)

    def _class(self) -> str:
        """What transformers is to load it with: the family's class, unless tokenizer.json says it all."""
        return "PreTrainedTokenizerFast" if "tokenizer.json" in self.files or not self.parts.kind else self.parts.kind

    def _direction(self) -> dict[str, str | None]:
        return {"src_lang": self.src_lang, "tgt_lang": self.tgt_lang}


def byte_signs() -> list[str]:
    """The character that byte-level BPE writes each byte as: itself if it prints, else one from 256 on."""
    prints = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in prints else next(others)) for byte in range(256)]


def as_json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
