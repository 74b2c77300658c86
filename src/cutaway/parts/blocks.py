"""How sublayers are joined: residual steps, blocks of steps, stacks of blocks. A sublayer is called as f(x, ctx)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from ..scores import FULL, Mask
from .context import Context, plainly

Stream = Float[Tensor, "B N D"]


class PreNorm(nn.Module):
    """``x + f(norm(x))`` (Xiong et al., 2020)"""

    def __init__(self, norm: nn.Module, sublayer: nn.Module, dropout: float = 0.0):
        super().__init__()
        self.norm, self.sublayer, self.dropout = norm, sublayer, nn.Dropout(dropout)

    def delta(self, x: Stream, ctx: Context) -> Stream:
        """What this step adds to the residual stream."""
        return self.dropout(self.sublayer(self.norm(x), ctx))

    def forward(self, x: Stream, ctx: Context) -> Stream:
        return x + self.delta(x, ctx)


class OutputNorm(PreNorm):
    """``x + norm(f(x))`` (OLMo 2)"""

    def delta(self, x: Stream, ctx: Context) -> Stream:
        return self.dropout(self.norm(self.sublayer(x, ctx)))


class SandwichNorm(PreNorm):
    """``x + after(f(norm(x)))`` (Ding et al., 2021; Gemma 2)"""

    def __init__(self, norm: nn.Module, sublayer: nn.Module, after: nn.Module, dropout: float = 0.0):
        super().__init__(norm, sublayer, dropout)
        self.after = after

    def delta(self, x: Stream, ctx: Context) -> Stream:
        return self.dropout(self.after(self.sublayer(self.norm(x), ctx)))


class PostNorm(nn.Module):
    """``norm(x + f(x))`` (Vaswani et al., 2017)"""

    def __init__(self, norm: nn.Module, sublayer: nn.Module, dropout: float = 0.0):
        super().__init__()
        self.norm, self.sublayer, self.dropout = norm, sublayer, nn.Dropout(dropout)

    def forward(self, x: Stream, ctx: Context) -> Stream:
        return self.norm(x + self.dropout(self.sublayer(x, ctx)))


class Block(nn.Module):
    """Residual steps by name, run in order."""

    def __init__(self, **steps: nn.Module):
        super().__init__()
        for name, step in steps.items():
            self.add_module(name, step)

    def forward(self, x: Stream, ctx: Context) -> Stream:
        for step in self.children():
            x = step(x, ctx)
        return x


class ParallelBlock(Block):
    """``x + Σ what each step would add`` (GPT-NeoX); with a ``norm`` every step reads ``norm(x)`` (GPT-J)."""

    def __init__(self, norm: nn.Module | None = None, **steps: nn.Module):
        super().__init__(**steps)
        self.norm = norm

    def forward(self, x: Stream, ctx: Context) -> Stream:
        y = x if self.norm is None else self.norm(x)
        return x + sum(cast(PreNorm, step).delta(y, ctx) for step in self.children() if step is not self.norm)


class Stack(nn.Module):
    """Blocks under one rule, then a norm.

    ``mask`` narrows the rule, for all blocks or one for each; ``bias`` is a module that adds its term to the rule,
    shared by all blocks; ``order`` runs blocks more than once (ALBERT)."""

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        norm: nn.Module | None = None,
        mask: Mask | Sequence[Mask] = FULL,
        bias: nn.Module | None = None,
        order: Sequence[int] | None = None,
    ):
        super().__init__()
        self.blocks, self.norm, self.mask, self.bias = (
            nn.ModuleList(blocks),
            norm or nn.Identity(),
            mask,
            bias,
        )
        self.order = list(range(len(blocks))) if order is None else list(order)

    def contexts(self, ctx: Context, x: Stream) -> list[Context]:
        """One context per layer; layers with one mask share it, and with it the lowered form of their rule."""
        masks = [self.mask] * len(self.order) if isinstance(self.mask, Mask) else list(self.mask)
        if len(masks) != len(self.order):
            raise ValueError(f"the stack runs {len(self.order)} blocks, but has masks for {len(masks)}")
        rule = ctx.rule if self.bias is None else self.bias(ctx.rule, x)
        placed = lambda mask: mask if ctx.placing is None else mask.placed(ctx.placing)
        memo: dict = {}
        made = {mask: replace(ctx, rule=replace(rule & placed(mask), memo={}), memo=memo) for mask in set(masks)}
        return [made[mask] for mask in masks]

    def forward(self, x: Stream, ctx: Context | None = None) -> Stream:
        ctx = ctx or Context.of()
        run = plainly if ctx.cache is None else ctx.cache.run
        return self.norm(run([self.blocks[i] for i in self.order], self.contexts(ctx, x), x))
