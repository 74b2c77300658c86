"""The rules that every kernel is tried with, and inputs of one small shape."""

import torch
from torch import Tensor

from cutaway.scores import (
    CAUSAL,
    FULL,
    OPEN,
    Band,
    Blocks,
    Documents,
    Given,
    Global,
    Padding,
    PerToken,
    Predicate,
    Prefix,
    Rule,
    Slope,
    Table,
    as_rule,
    window,
)

B, H, G, N, D = 2, 4, 2, 24, 8


def rules(n: int = N) -> dict[str, Rule]:
    torch.manual_seed(3)
    keep = torch.ones(B, n, dtype=torch.bool)
    keep[1, -3:] = False
    left = torch.ones(B, n, dtype=torch.bool)
    left[0, :5] = False
    documents = torch.stack([(torch.arange(n) > 5).long(), (torch.arange(n) > 9).long()])
    table, bucket = torch.randn(2 * n, H), lambda d: (d + n).clamp(0, 2 * n - 1)
    per_token = torch.randn(B, H, n, 2 * n)
    made = {
        "full": FULL,
        "causal": CAUSAL,
        "window": window(4),
        "two-sided": Band(3, 3),
        "prefix": CAUSAL | Prefix(6),
        "padding right": CAUSAL & Padding(keep),
        "padding left": CAUSAL & Padding(left),
        "documents": CAUSAL & Documents(documents),
        "longformer": Band(2, 2) | Global(torch.arange(n)[None].expand(B, n) < 2),
        "blocks": Blocks(torch.eye(4).bool(), n // 4) | Prefix(2),
        "predicate": Predicate(lambda b, h, q, k: (q * h + k) % 3 != 0),
        "negation": ~window(2) | Prefix(1),
        "alibi": CAUSAL + Slope(2.0 ** -torch.arange(1, H + 1)),
        "t5": OPEN + Table(table, bucket),
        "t5 causal": CAUSAL + Table(table, bucket),
        "deberta": OPEN + PerToken(per_token, bucket) + PerToken(per_token.flip(0), bucket, "key"),
        "pair": Padding(keep) + Given(torch.randn(B, H, n, n)),
        "cap": Rule(window(5)).capped(5.0),
        "alibi and cap": (CAUSAL + Slope(torch.ones(H))).capped(3.0),
    }
    return {name: as_rule(rule) for name, rule in made.items()}


def inputs(n: int = N, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(4)
    return (
        torch.randn(B, H, n, D, dtype=dtype),
        torch.randn(B, G, n, D, dtype=dtype),
        torch.randn(B, G, n, D, dtype=dtype),
    )
