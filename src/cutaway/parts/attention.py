"""Multi-head attention (Vaswani et al., 2017), with shared key heads (Shazeer, 2019; Ainslie et al., 2023)."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from ..kernels import Softmax
from ..scores import OPEN, Rule
from .context import Context
from .linear import Linear


def split(x: Float[Tensor, "B N _"], heads: int) -> Float[Tensor, "B H N d"]:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class Attention(nn.Module):
    """Project, place, attend, project back: ``o(softmax(q kᵀ scale + rule) v)``.

    One module for self-attention, ``attend(x)``, and cross-attention, ``attend(x, memory=y)``; inside a block
    ``cross=True`` makes it read the context's memory. ``bias`` names the projections that have one ("qkvo", "qv",
    ""). ``rotary`` turns q and k, ``relative`` adds learned terms to the rule, ``q_norm`` and ``k_norm`` act per
    head. ``scale`` defaults to 1/√head_dim.

    Raises ValueError when heads do not divide the width, or key heads the heads."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        kv_heads: int | None = None,
        head_dim: int | None = None,
        bias: str = "qkvo",
        rotary: nn.Module | None = None,
        relative: nn.Module | None = None,
        norm: Callable[[int], nn.Module] | None = None,
        scale: float | None = None,
        dropout: float = 0.0,
        cross: bool = False,
    ):
        super().__init__()
        kv_heads = kv_heads or heads
        if head_dim is None and width % heads:
            raise ValueError(f"heads must divide the width: {width} / {heads} leaves {width % heads}; or give head_dim")
        if heads % kv_heads:
            raise ValueError(f"key heads must divide the heads, got {kv_heads} and {heads}")
        dim = head_dim or width // heads
        self.heads, self.kv_heads, self.head_dim, self.cross = heads, kv_heads, dim, cross
        self.q = Linear(width, heads * dim, "q" in bias)
        self.k = Linear(width, kv_heads * dim, "k" in bias)
        self.v = Linear(width, kv_heads * dim, "v" in bias)
        self.o = Linear(heads * dim, width, "o" in bias)
        self.q_norm = norm(dim) if norm else None
        self.k_norm = norm(dim) if norm else None
        self.rotary, self.relative = rotary, relative
        self.kernel = Softmax(dim**-0.5 if scale is None else scale, dropout)

    def keys(self, y: Float[Tensor, "B K D"], ctx: Context) -> tuple[Tensor, Tensor]:
        """Keys and values [B, G, K, d] of the tokens ``y``."""
        k, v = split(self.k(y), self.kv_heads), split(self.v(y), self.kv_heads)
        k = k if self.k_norm is None else self.k_norm(k)
        return k if self.rotary is None else self.rotary(k, ctx), v

    def forward(
        self,
        x: Float[Tensor, "B Q D"],
        ctx: Context | None = None,
        memory: Float[Tensor, "B K D"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        ctx = ctx or Context.of()
        memory = ctx.memory if memory is None and self.cross else memory
        if memory is None and self.cross:
            raise ValueError("cross-attention needs a memory to read: attend(x, memory=y), or a context that has one")
        q = split(self.q(x), self.heads)
        q = q if self.q_norm is None else self.q_norm(q)
        q = q if self.rotary is None else self.rotary(q, ctx)
        start = 0
        if memory is not None:
            rule = ctx.memory_rule or OPEN
            k, v = self.keys(memory, ctx) if ctx.cache is None else ctx.cache.once(self, lambda: self.keys(memory, ctx))
        else:
            rule = ctx.rule
            k, v = self.keys(x, ctx)
            if ctx.cache is not None:
                k, v, start = ctx.cache.put(self, k, v, ctx.at, rule.mask.reach)
        rule = self.score(q, k, rule, ctx, start)
        return self.o(self.kernel(q, k, v, rule, ctx.at, start).transpose(1, 2).flatten(2))

    def score(self, q: Tensor, k: Tensor, rule: Rule, ctx: Context, start: int) -> Rule:
        """The rule with what this layer itself adds to the scores."""
        return rule if self.relative is None else self.relative(rule, q, k, self, ctx, start)
