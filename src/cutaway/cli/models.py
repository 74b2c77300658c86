"""Commands that read, run and compare models."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from ..model import Model

Source = Annotated[str, arg(metavar="MODEL", help="a checkpoint folder or a hub name")]
Shape = Annotated[
    str, arg(metavar="MODEL", help="a model type, a named size, a folder (its config is enough) or a hub name")
]
DType = Literal["float32", "float16", "bfloat16"]
How = Literal["int8", "int4"]
Quantize = Annotated[How | None, arg(help="put the matrices in 8 or 4 bits while they are loaded")]
Group = Annotated[int | None, arg(help="inputs that share a scale, 64 in 8 bits and 32 in 4 if nothing is said")]

Draft = Annotated[
    str | None, arg(metavar="lookup|MODEL", help="guess tokens ahead from the text so far, or with a smaller model")
]


def list_() -> None:
    """What can be loaded: families, their model types and heads, named sizes."""
    from .. import families

    for family in families.FAMILIES:
        module = families.module(family)
        print(f"{family}: {(module.__doc__ or '').strip().splitlines()[0]}")
        for model_type, form in module.FORMATS.items():
            print(f"  {model_type:<14} {', '.join(form.heads)}")
            if form.sizes:
                print(f"  {'':<14} sizes: {', '.join(form.sizes)}")


def show(model: Positional[Shape], /) -> None:
    """Blueprint, parameters, memory and cost of a model; a config without weights is enough."""
    from .. import anatomy, hub
    from ..costs import count

    network = hub.outline(model)
    total = count(network)
    print(f"{model}: {type(network).__name__}, head {network.config.head}\n")
    print(anatomy.blueprint(network), end="\n\n")
    print(total, end="\n\n")
    for name, size in (("float32", 4), ("bfloat16", 2)):
        print(f"weights in {name:<9} {total.total * size / 2**30:8.3f} GiB")


def diff(a: Positional[Shape], b: Positional[Shape], /) -> None:
    """What distinguishes two architectures, part by part."""
    from .. import anatomy, hub

    traits, sizes = anatomy.differences(hub.outline(a), hub.outline(b))
    for title, rows in ((f"{a} -> {b}", traits), ("sizes", sizes)):
        if rows:
            wide = max(len(row[0]) for row in rows)
            print(title)
            print("\n".join(f"  {name:<{wide}}  {one} -> {two}" for name, one, two in rows))
    if not traits:
        print(f"{a} and {b} are the same architecture" + (" in other sizes" if sizes else ""))


def generate(
    model: Positional[Source],
    prompt: Positional[str] = "",
    /,
    *,
    max_new_tokens: int = 200,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    num_beams: int = 1,
    seed: int | None = None,
    stop: tuple[str, ...] = (),
    draft: Draft = None,
    draft_tokens: int | None = None,
    dtype: DType | None = None,
    device: str | None = None,
    quantize: Quantize = None,
    group: Group = None,
) -> None:
    """Continue a prompt, token by token on the screen."""
    loaded = open_model(model, dtype, device, quantize, group)
    settings: dict[str, Any] = dict(
        max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
        repetition_penalty=repetition_penalty, num_beams=num_beams, seed=seed, stop=list(stop) or None,
        draft=draft if draft in (None, "lookup") else open_model(draft, dtype, device), draft_tokens=draft_tokens,
    )  # fmt: skip
    if num_beams > 1:
        print(loaded.generate(prompt, **settings))
        return
    for piece in loaded.generate(prompt, stream=True, **settings):
        print(piece, end="", flush=True)
    print()


def fill(
    model: Positional[Source],
    text: Positional[str],
    /,
    *,
    top: int = 5,
    device: str | None = None,
    quantize: Quantize = None,
    group: Group = None,
) -> None:
    """The likeliest words for each mask in a text: cutaway fill MODEL "Paris is the [MASK] of France." """
    from .. import tasks

    for guesses in tasks.fill(open_model(model, None, device, quantize, group), text, top):
        for guess in guesses:
            print(f"{guess.probability:6.1%}  {guess.token:<16} {guess.text}")
        print()


def translate(
    model: Positional[Source],
    text: Positional[str],
    /,
    *,
    src_lang: str | None = None,
    tgt_lang: str | None = None,
    num_beams: int | None = None,
    device: str | None = None,
    quantize: Quantize = None,
    group: Group = None,
) -> None:
    """Translate a text with an encoder-decoder."""
    from .. import tasks

    loaded = open_model(model, None, device, quantize, group)
    more = {} if num_beams is None else {"num_beams": num_beams}
    print(tasks.translate(loaded, text, src_lang=src_lang, tgt_lang=tgt_lang, **more))


def embed(
    model: Positional[Source],
    texts: Positional[tuple[str, ...]],
    /,
    *,
    device: str | None = None,
    quantize: Quantize = None,
    group: Group = None,
) -> None:
    """Sentence embeddings: how similar each text is to each other (cosine)."""
    from .. import storage, tasks

    folder = storage.locate(model)
    loaded = open_model(folder, None, device, quantize, group)
    vectors = tasks.embed(loaded, list(texts), tasks.Pooling.read(folder))
    for text, row in zip(texts, (vectors @ vectors.T).tolist(), strict=True):
        print("  ".join(f"{x:6.3f}" for x in row), "", text)


def convert(
    source: Annotated[Positional[str], arg(metavar="IN", help="a checkpoint folder or a hub name")],
    target: Annotated[Positional[Path], arg(metavar="OUT", help="the folder to write")],
    /,
    *,
    dtype: DType | None = None,
) -> None:
    """Read a checkpoint and write it again: safetensors, today's names, another dtype."""
    import cutaway

    cutaway.save(open_model(source, dtype, None), target)
    print(f"written to {target}")


def check(
    model: Positional[Source],
    /,
    *,
    resume: Annotated[bool, arg(help="MODEL is a run: prove that it resumes bit for bit")] = False,
    device: str | None = None,
    quantize: Quantize = None,
    group: Group = None,
) -> int:
    """Try the contracts that every Transformer keeps; exit code 1 when one is broken."""
    from ..contracts import check as run

    if resume:
        from .training import check_resume

        return check_resume(Path(model))
    findings = run(open_model(model, None, device, quantize, group))
    wide = max(len(f.contract) for f in findings)
    for f in findings:
        mark = "not asked" if f.figure is None else "kept" if f.kept else "BROKEN"
        figure = "" if f.figure is None else f"{f.figure:.1e} (at most {f.limit:g})"
        print(f"{mark:<9}  {f.contract:<{wide}}  {figure}".rstrip())
        if not f.kept:
            print(f"{'':<9}  look at {f.look_at}")
    broken = sum(not f.kept for f in findings)
    print(f"\n{len(findings) - broken} of {len(findings)} contracts kept")
    return 1 if broken else 0


def open_model(
    source: str | Path, dtype: str | None, device: str | None, quantize: How | None = None, group: int | None = None
) -> "Model":
    """Load a model, with a dtype by its name. Raises ValueError for a device that PyTorch does not know."""
    import torch

    import cutaway

    try:
        kind = torch.device(device or "cpu").type
    except RuntimeError as error:
        raise ValueError(f"--device {device}: {str(error).splitlines()[0]}") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: there is no GPU here that this PyTorch can use")
    chosen = getattr(torch, dtype) if dtype else None
    return cutaway.load(source, dtype=chosen, device=device, quantize=quantize, group=group)
