"""The command that quantises a model and says what that costs."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from .models import Group, How, Source, open_model

Data = Annotated[
    str | None,
    arg(help="what answers are compared on: a text file, or 'stdlib' (Python); nothing: what a run was trained on if "
        "it is that, else English prose"),
]  # fmt: skip


def quantize(
    model: Positional[Source],
    target: Annotated[Positional[Path], arg(metavar="OUT", help="the folder to write")],
    /,
    *,
    how: How = "int8",
    group: Group = None,
    data: Data = None,
    texts: Annotated[int, arg(help="paragraphs of the data that are read, at most")] = 100,
    device: str | None = None,
) -> None:
    """Put a model's matrices in 8 or 4 bits, write it, and say what that changes: cutaway quantize MODEL OUT"""
    import cutaway

    from .. import storage
    from ..looking.roles.sources import trained_on
    from ..quantization import compare, quantized

    folder = storage.locate(model)
    before, after = open_model(folder, None, device), open_model(folder, None, device, how, group)
    if before.tokenizer is None:
        raise ValueError(f"{folder} has no tokenizer, so nothing can be compared; in Python: cutaway.quantize(model)")
    name, words = sample(data or trained_on(folder), texts)
    found = compare(before, after, words)
    cutaway.save(after, target)
    groups = next(iter(quantized(after.network).values())).group
    print(f"{target}: {how} in groups of {groups}, compared on {name}\n\n{found}")


def sample(data: str | None, most: int) -> tuple[str, list[str]]:
    """Texts, and what they are."""
    from ..looking.roles.english import texts
    from ..looking.roles.sources import paragraphs, python

    if data is None or data == "dates":  # pairs are no texts
        return "English prose", texts()[:most]
    return ("Python", python(most)) if data == "stdlib" else (data, paragraphs(Path(data), most))
