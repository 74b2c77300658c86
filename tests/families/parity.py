"""One contract for every published model type: equal to transformers, and saved back bit by bit."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

import cutaway
from cutaway import families

TOLERANCE = 1e-4
LENGTHS = (11, 7, 4)


@dataclass
class Case:
    """A tiny reference model: ``reference`` names a class of transformers, ``config`` its config.

    ``low`` is the first ordinary id (special tokens come before); ``std`` of the random weights is large enough that
    every part counts."""

    reference: str
    config: Any
    std: float = 0.3
    low: int = 5
    note: str = ""
    ends: int | None = None  # the id that every row ends with, where the model needs one

    def __str__(self) -> str:
        return self.reference + (f"-{self.note}" if self.note else "")

    def make(self, folder: Path) -> torch.nn.Module:
        """The reference with random weights, biases, norms and scales, saved to ``folder``."""
        torch.manual_seed(0)
        model = getattr(transformers, self.reference)(self.config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=self.std)
        model.save_pretrained(folder)
        return getattr(transformers, self.reference).from_pretrained(folder).eval()

    def rows(self) -> list[Tensor]:
        """Ragged input rows."""
        torch.manual_seed(1)
        rows = [torch.randint(self.low, self.config.vocab_size, (n,)) for n in LENGTHS]
        return rows if self.ends is None else [torch.cat([row[:-1], torch.tensor([self.ends])]) for row in rows]

    def targets(self, rows: list[Tensor]) -> dict[str, Tensor]:
        """Decoder input [B, 4] for an encoder-decoder that is given one."""
        if not self.config.is_encoder_decoder or "Classification" in self.reference:
            return {}
        return {"decoder_input_ids": torch.stack([row.flip(0)[:4] for row in rows])}


def padded(rows: list[Tensor], side: str, pad: int) -> tuple[Tensor, Tensor]:
    """Ragged rows as a batch with its attention mask."""
    longest = max(map(len, rows))
    ids, mask = torch.full((len(rows), longest), pad), torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        place = slice(longest - len(row), None) if side == "left" else slice(0, len(row))
        ids[i, place], mask[i, place] = row, 1
    return ids, mask


PAIRS = {
    "logits": "logits",
    "start_logits": "start_logits",
    "end_logits": "end_logits",
    "pooled": "pooler_output",
    "hidden": "last_hidden_state",
}


def difference(ours: Any, theirs: Any, row: int, keep: Tensor | None) -> float:
    """Max abs difference of everything that both give for a row; ``keep`` picks the real tokens of a padded one."""
    worst = []
    for a, b in PAIRS.items():
        got, expected = getattr(ours, a), getattr(theirs, b, None)
        if got is None or expected is None:
            continue
        got, expected = got[row], expected[0]
        if keep is not None and got.shape[0] == len(keep) and expected.shape[0] == int(keep.sum()):
            got = got[keep]
        assert got.shape == expected.shape, f"{a}: {list(got.shape)} against {list(expected.shape)}"
        worst.append((got - expected).abs().max().item())
    assert worst, "nothing to compare"
    return max(worst)


@torch.no_grad()
def equal(case: Case, folder: Path) -> float:
    """Our outputs against theirs: each row alone, then all of them padded on either side. Returns the worst."""
    reference = case.make(folder)
    model = cutaway.load(folder)
    rows = case.rows()
    theirs = [reference(input_ids=row[None], **case.targets([row])) for row in rows]
    scale = max(t.abs().max().item() for out in theirs for t in out.to_tuple() if torch.is_tensor(t))
    assert 0.01 < scale < 1e4, f"the reference's outputs reach {scale:.1e}: choose another std"
    worst = [
        difference(model(row[None], **case.targets([row])), expected, 0, None)
        for row, expected in zip(rows, theirs, strict=True)
    ]
    for side in ("right", "left"):
        ids, mask = padded(rows, side, model.origin.get("pad_token_id") or 0)
        got = model(ids, mask, **case.targets(rows))
        real = [None if case.config.is_encoder_decoder else m.bool() for m in mask]
        worst += [difference(got, expected, i, real[i]) for i, expected in enumerate(theirs)]
    return max(worst)


def export(case: Case, folder: Path) -> None:
    """What we save is bit by bit what they saved, and they load it with nothing missing or left over."""
    theirs, ours = folder / "theirs", folder / "ours"
    case.make(theirs)
    cutaway.save(cutaway.load(theirs), ours)
    before, after = load_file(theirs / "model.safetensors"), load_file(ours / "model.safetensors")
    assert before.keys() == after.keys(), f"only one side has {before.keys() ^ after.keys()}"
    different = [n for n in before if before[n].dtype != after[n].dtype or not torch.equal(before[n], after[n])]
    assert not different, different
    _, info = getattr(transformers, case.reference).from_pretrained(ours, output_loading_info=True)
    assert not any(info.values()), info
    skip = {"transformers_version", "_name_or_path", "dtype", "torch_dtype"}
    configs = [transformers.AutoConfig.from_pretrained(f).to_dict() for f in (theirs, ours)]
    a, b = ({k: v for k, v in c.items() if k not in skip} for c in configs)
    assert a == b, {k: (a.get(k), b.get(k)) for k in a.keys() | b.keys() if a.get(k) != b.get(k)}


def defaults(model_type: str, config_class: type) -> None:
    """An empty config means to us what it means to them, and every key of theirs is understood."""
    form, module = families.form(model_type), families.module(model_type)
    empty, kept = form.read({"model_type": model_type})
    full, _ = form.read(json.loads(json.dumps(config_class().to_dict())))
    ours, theirs = module.Config(**empty), module.Config(**full)
    given = {k: v for k, v in asdict(ours).items() if v is not None}  # None: derived from the others
    assert given == {k: v for k, v in asdict(theirs).items() if k in given}
    with torch.device("meta"):
        assert repr(module.NETWORK(ours)) == repr(module.NETWORK(theirs))
    again, _ = form.read(form.write(ours, model_type, kept))
    assert module.Config(**again) == ours


@torch.no_grad()
def cached(case: Case, folder: Path) -> float:
    """Step by step with a cache against all at once, for ragged left-padded rows and several splits."""
    case.make(folder)
    model = cutaway.load(folder)
    rows = case.rows()
    worst = []
    for splits in ((1,) * max(LENGTHS), (4, 1, 1, 5), (1, 6, 4), (10, 1)):
        ids, mask = padded(rows, "left", model.origin.get("pad_token_id") or 0)
        if case.config.is_encoder_decoder:
            names = ("decoder_input_ids", "decoder_attention_mask")
            more = {"input_ids": ids, "attention_mask": mask}
        else:
            names, more = ("input_ids", "attention_mask"), {}
        whole = model(**more, **dict(zip(names, (ids, mask), strict=True))).logits
        cache, at, steps = model.cache(), 0, []
        for n in splits:
            new = dict(zip(names, (ids[:, at : at + n], mask[:, : at + n]), strict=True))
            steps.append(model(**more, **new, cache=cache).logits)
            at += n
        worst.append((torch.cat(steps, 1) - whole)[mask.bool()].abs().max().item())
    return max(worst)
