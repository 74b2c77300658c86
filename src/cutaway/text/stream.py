"""Text as it is generated, one token at a time, without ever taking anything back."""

from typing import SupportsIndex

from .assemble import Codec
from .encoding import check_ids
from .engine import clean


class Stream:
    """Decodes ids as they come: what ``put`` and ``end`` return, joined, is what decoding all ids gives.

    Half a character is held back until the rest is there, and so is what a later token may still change."""

    def __init__(self, source: Codec, skip_special: bool = True):
        self.source = source
        self.skipped = source.special_ids() if skip_special else set()
        self.bytes = source.byte_ids()
        # Ids whose text is out, kept because the first of a text would lose its space; and ids that wait.
        self.told: list[int] = []
        self.waiting: list[int] = []
        self.uncleaned = ""

    def put(self, index: SupportsIndex) -> str:
        """The text that is certain now and was not before."""
        (number,) = check_ids([index])
        if number in self.skipped:
            return ""
        self.waiting.append(number)
        if number in self.bytes:
            return ""
        text = self._text()
        if not text or text.endswith("\ufffd"):
            return ""
        self.told, self.waiting = self.waiting, []
        return self._cleaned(text) if self.source.cleans else text

    def end(self) -> str:
        """What was still held back."""
        text = self._text()
        self.told, self.waiting = self.waiting or self.told, []
        if not self.source.cleans:
            return text
        rest, self.uncleaned = self.uncleaned + text, ""
        return clean(rest)

    def _text(self) -> str:
        return self.source.raw(self.told + self.waiting)[len(self.source.raw(self.told)) :]

    def _cleaned(self, text: str) -> str:
        """What cleaning up makes of the text so far, up to a space where later text makes no difference.

        Such a space stands behind three characters that are none: no pattern of the clean-up spans more."""
        self.uncleaned += text
        for cut in range(len(self.uncleaned) - 1, 2, -1):
            if self.uncleaned[cut] == " " and " " not in self.uncleaned[cut - 3 : cut]:
                out, self.uncleaned = self.uncleaned[:cut], self.uncleaned[cut:]
                return clean(out)
        return ""
