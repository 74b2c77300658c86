"""Inputs several windows long: equal to transformers at once, and to themselves step by step while slots roll."""

from pathlib import Path

import torch
from families.parity import Case, padded

import cutaway

LENGTHS = (22, 13, 4)
SPLITS = [(1,) * 22, (15, *(1,) * 7), (1, 12, 9)]


@torch.no_grad()
def rolling(case: Case, folder: Path) -> tuple[float, list[int]]:
    """The worst difference, and how many slots each layer's cache holds after single steps."""
    reference, model = case.make(folder), cutaway.load(folder)
    rows = [torch.randint(case.low, case.config.vocab_size, (n,)) for n in LENGTHS]
    ids, mask = padded(rows, "left", 0)
    whole, worst = model(ids, mask).logits, []
    for logits, row in zip(whole, rows, strict=True):
        worst.append((logits[-len(row) :] - reference(input_ids=row[None]).logits[0]).abs().max().item())
    for splits in SPLITS:
        cache, at, steps = model.cache(), 0, []
        for n in splits:
            steps.append(model(ids[:, at : at + n], mask[:, : at + n], cache=cache).logits)
            at += n
        worst.append((torch.cat(steps, 1) - whole)[mask.bool()].abs().max().item())
        if splits[0] == 1:
            held = [slots.buffers[0].shape[2] for slots in cache.slots.values()]
    return max(worst), held
