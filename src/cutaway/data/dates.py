"""Dates as people write them in 20 languages, and the same in ISO 8601; names and patterns from CLDR, by Babel.

What nobody could decide is left out: years of two digits; names of months cut to a letter; and numbers whose order
differs between the languages, as in 3/4/2022, unless they say it themselves (25/12/2022 and 12/25/2022)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cache
from hashlib import blake2b
from typing import Any

from .faults import Faults
from .sources import Source
from .tables import Record

LANGUAGES = {
    "en": ("en_US", "en_GB"), "de": ("de", "de_AT"), "fr": ("fr", "fr_CA"), "es": ("es", "es_MX"), "it": ("it",),
    "pt": ("pt_BR", "pt_PT"), "nl": ("nl",), "sv": ("sv",), "da": ("da",), "fi": ("fi",), "pl": ("pl",),
    "cs": ("cs",), "ru": ("ru",), "uk": ("uk",), "el": ("el",), "tr": ("tr",), "ar": ("ar",), "ja": ("ja",),
    "zh": ("zh_Hans", "zh_Hant"), "ko": ("ko",),
}  # fmt: skip
LENGTHS = ("full", "long", "medium", "short")
SKELETONS = (
    "yMd", "yMMdd", "yMEd", "yMEEEEd", "yMMMd", "yMMMEd", "yMMMEEEEd", "yMMMMd", "yMMMMEd", "yMMMMEEEEd",
)  # fmt: skip
FIRST, LAST = date(1900, 1, 1).toordinal(), date(2099, 12, 31).toordinal()
SPLITS = ("train", "validation")
# A quoted text, a field (one letter, repeated), or what stands between.
TOKEN = re.compile(r"'([^']*)'|(([EcMLdy])\3*)|([^A-Za-z']+)")
# Marks of direction are not typed, nor are spaces that do not break.
TYPED = str.maketrans({"\u200f": None, "\u200e": None, "\u202f": " ", "\xa0": " "})


@dataclass(frozen=True)
class Form:
    """A way to write dates: a format string for ``[year, month, day, weekday]``, with the names that it needs.

    ``shape`` is what stands between the numbers, ``order`` which is which; both are empty with a name of a month."""

    text: str
    months: tuple[str, ...]
    weekdays: tuple[str, ...]
    shape: tuple[str, ...]
    order: str

    def write(self, day: date) -> str:
        """A date in this form."""
        month = self.months[day.month] if self.months else day.month
        weekday = self.weekdays[day.weekday()] if self.weekdays else ""
        return self.text.format(day.year, month, day.day, weekday)


@cache
def forms(locale: str) -> tuple[Form, ...]:
    """The forms of a locale, each once."""
    from babel import Locale

    found = Locale.parse(locale)
    patterns = [found.date_formats[length].pattern for length in LENGTHS]
    patterns += [found.datetime_skeletons[name].pattern for name in SKELETONS if name in found.datetime_skeletons]
    return tuple(dict.fromkeys(_form(found, pattern.translate(TYPED)) for pattern in patterns))


def _form(locale: Any, pattern: str) -> Form:
    """A CLDR pattern as a form; with ``cccc`` and ``EEEE`` for weekdays."""
    if TOKEN.sub("", pattern):
        raise ValueError(f"the CLDR pattern {pattern!r} has a field that is not known")
    text = ""
    months: tuple[str, ...] = ()
    weekdays: tuple[str, ...] = ()
    shape: list[str] = []
    order = between = ""
    for quoted, field, _, plain in TOKEN.findall(pattern):
        literal = quoted or plain
        text += literal
        between += literal
        kind = {"c": "E", "L": "M"}.get(field[:1], field[:1])
        context = "stand-alone" if field[:1] in ("c", "L") else "format"
        width = "wide" if len(field) == 4 else "abbreviated"
        if kind == "E":
            weekdays = tuple(locale.days[context][width][number] for number in range(7))
            text, between = text + "{3}", ""
        elif kind == "M" and len(field) > 2:
            months = ("", *(locale.months[context][width][number] for number in range(1, 13)))
            text += "{1}"
        elif kind:
            digits = ":02d" if field in ("MM", "dd") else ""
            text += f"{{{'yMd'.index(kind)}{digits}}}"
            order += kind
            shape, between = [*shape, *([between] if len(order) > 1 else [])], ""
    return Form(text, months, weekdays, *(((), "") if months else (tuple(shape), order)))


@cache
def contested() -> frozenset[tuple[str, ...]]:
    """Shapes with the year at the end where some write the day first and some the month: a day above 12 decides."""
    orders: dict[tuple[str, ...], set[str]] = {}
    for locales in LANGUAGES.values():
        for form in (form for locale in locales for form in forms(locale)):
            orders.setdefault(form.shape, set()).add(form.order)
    return frozenset(shape for shape, found in orders.items() if {"dMy", "Mdy"} <= found)


def decided(form: Form, day: date) -> bool:
    """Whether the text says which date it is, whoever wrote it."""
    open_order = form.order.endswith("y") and form.shape in contested()
    return not open_order or day.day > 12 or day.day == day.month


@cache
def days(split: str) -> tuple[date, ...]:
    """The days from 1900 to 2099 of a split: every tenth or so, by its hash, is validation, in every language."""
    if split not in SPLITS:
        raise ValueError(f"split must be {' or '.join(map(repr, SPLITS))}, not {split!r}")
    held_out = lambda number: blake2b(b"%d" % number, digest_size=8).digest()[0] % 10 == 0
    return tuple(
        date.fromordinal(number) for number in range(FIRST, LAST + 1) if held_out(number) == (split == "validation")
    )


def example(index: int, seed: int = 0, split: str = "train") -> tuple[str, str]:
    """A written date and its ISO form, ``("Donnerstag, 3. März 2022", "2022-03-03")``, the same for each call.

    One in four begins with a capital, one in eight has none. Raises ValueError for an unknown ``split``."""
    there = days(split)
    for attempt in range(1000):
        digest = blake2b(f"{seed} {index} {attempt}".encode(), digest_size=8).digest()
        number, place = divmod(int.from_bytes(digest, "big"), len(there))
        day = there[place]
        number, place = divmod(number, len(LANGUAGES))
        locales = _locales()[place]
        number, place = divmod(number, len(locales))
        number, case = divmod(number, 8)
        written = forms(locales[place])
        form = written[number % len(written)]
        if decided(form, day):
            text = form.write(day)
            if case < 2:
                text = text[0].upper() + text[1:]
            return text.lower() if case == 2 else text, day.isoformat()
    raise AssertionError("most forms are decided")


@cache
def _locales() -> tuple[tuple[str, ...], ...]:
    return tuple(LANGUAGES.values())


@dataclass(frozen=True)
class Dates(Source):
    """Records ``input`` (a written date) and ``target`` (ISO 8601): the first ``count`` of a split's endless series."""

    split: str = "train"
    count: int = 200_000
    seed: int = 0

    def __post_init__(self) -> None:
        days(self.split)

    def records(self, faults: Faults) -> Iterator[Record]:
        for index in range(self.count):
            text, iso = example(index, self.seed, self.split)
            yield {"input": text, "target": iso}

    def key(self) -> dict[str, Any]:
        from babel import __version__

        return {"dates": [self.split, self.count, self.seed], "babel": __version__}
