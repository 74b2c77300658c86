"""Pipelines of the `tokenizers` library: building them from files, and running them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tokenizers
from tokenizers import processors

from .encoding import Encoding, fit, room

# Where decoding leaves a space too much in English; the field takes them out in this order.
JOINED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")


def clean(text: str) -> str:
    """Text without the spaces before punctuation and English contractions."""
    for joined in JOINED:
        text = text.replace(joined, joined.strip())
    return text


@dataclass(frozen=True)
class Engine:
    """A pipeline with its post-processor kept beside it, so that translation directions share a vocabulary.

    ``cleans`` is ``clean_up_tokenization_spaces``, ``cuts`` the side that texts which are too long lose."""

    pipeline: tokenizers.Tokenizer
    processor: processors.PostProcessor
    cleans: bool = False
    cuts: str = "right"

    def encode(self, texts: Sequence[tuple[str, str | None]], special: bool, max_length: int | None) -> list[Encoding]:
        """Each text, or pair of texts, with its special tokens."""
        flat = [text for pair in texts for text in pair if text is not None]
        found = iter(self.pipeline.encode_batch(flat, add_special_tokens=False))
        return [
            self._assemble(next(found), None if second is None else next(found), special, max_length)
            for _, second in texts
        ]

    def _assemble(
        self,
        first: tokenizers.Encoding,
        second: tokenizers.Encoding | None,
        special: bool,
        max_length: int | None,
    ) -> Encoding:
        if max_length is not None:
            added = self.processor.num_special_tokens_to_add(second is not None) if special else 0
            keep = fit(len(first), None if second is None else len(second), room(max_length, added))
            first.truncate(keep[0], direction=self.cuts)
            if second is not None:
                second.truncate(keep[1], direction=self.cuts)
        whole = self.processor.process(first, second, special)
        return Encoding(whole.ids, whole.type_ids, whole.offsets, whole.tokens, whole.sequence_ids)

    def decode(self, ids: Sequence[int], skip_special: bool) -> str:
        text = self.pipeline.decode(ids, skip_special_tokens=skip_special)
        return clean(text) if self.cleans else text

    def raw(self, ids: Sequence[int]) -> str:
        """The text before it is cleaned up; special tokens are in it."""
        return self.pipeline.decode(ids, skip_special_tokens=False)

    def token(self, index: int) -> str | None:
        return self.pipeline.id_to_token(index)

    def id(self, token: str) -> int | None:
        return self.pipeline.token_to_id(token)

    def byte_ids(self) -> set[int]:
        """Ids that stand for single bytes: what a run of them spells is known only at its end."""
        decoder = self.pipeline.decoder
        if decoder is None or b"ByteFallback" not in decoder.__getstate__():
            return set()
        found = (self.pipeline.token_to_id(f"<0x{byte:02X}>") for byte in range(256))
        return {index for index in found if index is not None}

    def special_ids(self) -> set[int]:
        """Ids that decoding skips."""
        return {i for i, token in self.pipeline.get_added_tokens_decoder().items() if token.special}

    @property
    def vocab_size(self) -> int:
        return self.pipeline.get_vocab_size(with_added_tokens=False)

    def __len__(self) -> int:
        return self.pipeline.get_vocab_size()

    def json(self) -> dict[str, Any]:
        """The content of a tokenizer.json."""
        whole = json.loads(self.pipeline.to_str())
        return whole | {"post_processor": json.loads(self.processor.__getstate__())}
