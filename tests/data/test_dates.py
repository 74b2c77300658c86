"""Dates in 20 languages: as Babel writes them, decidable, and never the same day in training and validation."""

import re
from collections import Counter
from datetime import date, timedelta
from time import process_time

import pytest
from babel.dates import format_date, get_date_format

from cutaway.data import Dates, Faults
from cutaway.data.dates import LANGUAGES, TYPED, days, decided, example, forms

LOCALES = [locale for locales in LANGUAGES.values() for locale in locales]
SOME = [date(1900, 1, 1), date(2022, 3, 3), date(1984, 2, 29), date(2099, 12, 31), date(2011, 9, 25)]


def year(number: int) -> list[date]:
    first = date(number, 1, 1)
    return [day for n in range(366) if (day := first + timedelta(n)).year == number]


def test_there_are_20_languages():
    assert len(LANGUAGES) == 20


@pytest.mark.parametrize("locale", LOCALES)
def test_forms_are_those_of_babel(locale: str):
    for day in SOME:
        ours = {form.write(day) for form in forms(locale)}
        for length in ("full", "long", "medium", "short"):
            # Years of two digits are written out.
            pattern = re.sub(r"y+", "y", get_date_format(length, locale).pattern)
            assert format_date(day, pattern, locale).translate(TYPED) in ours


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        ("de", "Donnerstag, 3. März 2022"),
        ("en_US", "Mar 3, 2022"), ("ja", "2022年3月3日木曜日"), ("de", "03.03.2022"),
        ("en_GB", "Thursday, 3 March 2022"), ("ru", "3 марта 2022 г."), ("ko", "2022. 3. 3."), ("sv", "2022-03-03"),
    ],
)  # fmt: skip
def test_some_forms(locale: str, text: str):
    assert text in {form.write(date(2022, 3, 3)) for form in forms(locale)}


def test_no_text_means_two_dates():
    """Every form of every day of two years, in lower case, where abbreviations are most alike."""
    meant: dict[str, date] = {}
    for day in (*year(1911), *year(2024)):
        for locale in LOCALES:
            for form in forms(locale):
                if decided(form, day):
                    text = form.write(day).lower()
                    assert meant.setdefault(text, day) == day, text
    assert len(meant) > 60_000


def test_only_an_order_that_nobody_knows_is_left_out():
    left_out = {form.write(day) for l in LOCALES for form in forms(l) for day in year(2022) if not decided(form, day)}
    assert {"3/4/2022", "4/3/2022", "03/04/2022"} <= left_out
    assert not {"3/3/2022", "25/12/2022", "12/25/2022", "03.04.2022", "2022/3/4", "2022-04-03", "3-4-2022"} & left_out
    assert all("/2022" in text for text in left_out)


def test_an_example_is_a_function_of_its_number():
    assert [example(i, 5) for i in range(50)] == [example(i, 5) for i in range(50)]
    assert [example(i, 5) for i in range(50)] != [example(i, 6) for i in range(50)]
    for index in range(300):
        text, iso = example(index)
        assert date.fromisoformat(iso).isoformat() == iso
        assert str(int(iso[:4])) in text


def test_a_day_is_in_one_split():
    train, validation = days("train"), days("validation")
    assert len(train) + len(validation) == 73_049
    assert not set(train) & set(validation)
    assert 0.08 < len(validation) / 73_049 < 0.12
    held_out = {day.isoformat() for day in validation}
    assert not any(example(index)[1] in held_out for index in range(2000))
    assert all(example(index, split="validation")[1] in held_out for index in range(2000))
    with pytest.raises(ValueError, match="split must be"):
        example(0, split="test")


def test_everything_occurs():
    """Names of each locale, both cases, and years, months and days of all kinds."""
    found = [example(index) for index in range(10_000)]
    texts = [text for text, _ in found]
    together = "\n".join(texts)
    for locale in LOCALES:
        names = {name for form in forms(locale) for name in (*form.months[1:], *form.weekdays)}
        assert sum(name in together for name in names) > 0.9 * len(names), locale
    assert "Jänner" in together
    assert any(text.islower() and "märz" in text for text in texts)
    assert any(text.startswith("Jeudi") for text in texts)
    months = Counter(iso[5:7] for _, iso in found)
    assert len(months) == 12
    assert max(months.values()) < 1.6 * min(months.values())
    assert len({iso[:4] for _, iso in found}) == 200


def test_records():
    records = list(Dates("validation", 3, seed=1).records(Faults(0)))
    assert [tuple(record.values()) for record in records] == [example(i, 1, "validation") for i in range(3)]
    assert Dates(count=3).key() != Dates(count=4).key()
    with pytest.raises(ValueError, match="split must be"):
        Dates("test")


def test_they_are_made_quickly():
    example(0)
    start = process_time()
    for index in range(10_000):
        example(index)
    assert process_time() - start < 1.5
