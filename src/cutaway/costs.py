"""What a model costs: parameters by part, operations per token, cache per token. Counted on shapes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from .model import Model
from .parts import MLP, Attention, LayerNorm, Learned, MixtureOfExperts, Network, RMSNorm, Stack, Unembed
from .parts.quantized import coded, numbers
from .scores import INF, Mask

KINDS: list[tuple[tuple[type[nn.Module], ...], str]] = [
    ((Attention,), "attention"),
    ((MLP, MixtureOfExperts), "feed-forward"),
    ((Learned,), "positions"),
    ((nn.Embedding,), "embeddings"),
    ((LayerNorm, RMSNorm), "norms"),
    ((nn.RNNBase,), "recurrent"),
]


@dataclass(frozen=True)
class Count:
    """``parameters`` by part; ``flops`` of the matrix products of one token's forward pass, and ``flops_per_key`` more
    for every key it attends to; ``cache`` numbers kept per token of context by layers without a window, and
    ``window_cache`` per token by those with one, up to their windows. Multiply and add count as two."""

    parameters: dict[str, int]
    active: int
    flops: int
    flops_per_key: int
    cache: int
    window_cache: int

    @property
    def total(self) -> int:
        return sum(self.parameters.values())

    def cache_bytes(self, size: int = 2) -> int:
        """Bytes of cache that a further token of context costs while all windows are still filling."""
        return size * (self.cache + self.window_cache)

    def flops_at(self, context: int) -> int:
        """Operations of one token that sees ``context`` keys."""
        return self.flops + context * self.flops_per_key

    def __str__(self) -> str:
        rows = [(part, f"{n:,}", f"{n / self.total:.1%}") for part, n in self.parameters.items()]
        rows += [("all parameters", f"{self.total:,}", "")]
        if self.active != self.total:
            rows += [("used by a token", f"{self.active:,}", f"{self.active / self.total:.1%}")]
        rows += [
            ("FLOPs per token", f"{self.flops:,}", f"+ {self.flops_per_key:,} per key"),
            ("cache per token", f"{self.cache_bytes():,} bytes", "in 16 bits"),
        ]
        wide = [max(len(row[i]) for row in rows) for i in range(2)]
        return "\n".join(f"{a:<{wide[0]}}  {b:>{wide[1]}}  {c}".rstrip() for a, b, c in rows)


def count(model: Model | Network) -> Count:
    """Count a model or network, also one on the meta device. Tied parameters count once; codes count as numbers."""
    network = model.network if isinstance(model, Model) else model
    seen: set[int] = set()
    parts: Counter[str] = Counter()
    walk(network, "other", parts, seen)
    idle = sum(idle_parameters(m) for m in network.modules() if isinstance(m, MixtureOfExperts))
    flops = per_key = plain = windowed = 0
    for module, times in runs(network, 1.0):
        flops += round(times * products(module))
        if isinstance(module, Attention):
            per_key += round(times * 4 * module.heads * module.head_dim)
    for attention, mask in self_attentions(network):
        numbers = 2 * attention.kv_heads * attention.head_dim
        plain, windowed = (plain + numbers, windowed) if mask.reach == INF else (plain, windowed + numbers)
    total = sum(parts.values())
    return Count(dict(parts), total - idle, flops, per_key, plain, windowed)


def walk(module: nn.Module, part: str, parts: Counter[str], seen: set[int]) -> None:
    """Add up parameters by the outermost part that has a name."""
    for kinds, name in KINDS if part == "other" else []:
        part = name if part == "other" and isinstance(module, kinds) else part
    for p in module.parameters(recurse=False):
        if id(p) not in seen:
            parts[part] += p.numel()
            seen.add(id(p))
    parts[part] += coded(module)
    for name, child in module.named_children():
        walk(child, "head" if part == "other" and name == "head" else part, parts, seen)


def idle_parameters(moe: MixtureOfExperts) -> int:
    """Parameters of the experts that a token does not go to."""
    return numbers(moe.experts[0]) * (len(moe.experts) - moe.top)


def runs(module: nn.Module, times: float) -> Iterator[tuple[nn.Module, float]]:
    """Every module with how often it runs for one token: stacks may repeat blocks, routers pick experts."""
    yield module, times
    for child in module.children():
        if isinstance(module, Stack) and child is module.blocks:
            for i, block in enumerate(module.blocks):
                yield from runs(block, times * module.order.count(i))
        elif isinstance(module, MixtureOfExperts) and child is module.experts:
            yield from runs(child, times * module.top / len(module.experts))
        else:
            yield from runs(child, times)


def products(module: nn.Module) -> int:
    """Operations of this module's own matrix product, per token."""
    if isinstance(module, nn.Linear):
        return 2 * module.in_features * module.out_features
    if isinstance(module, Unembed):
        (tied,) = module.tied
        weight = module.weight if tied is None else tied.weight
        return 0 if weight is None else 2 * weight.numel()
    if isinstance(module, nn.RNNBase):
        return 2 * sum(p.numel() for p in module.parameters() if p.ndim == 2)
    return 0


def self_attentions(network: Network) -> list[tuple[Attention, Mask]]:
    """The attentions whose keys a cache keeps, layer by layer, with the mask of their layer."""
    found: list[tuple[Attention, Mask]] = []
    for stack in (m for m in network.modules() if isinstance(m, Stack)):
        attentions = [a for a in stack.modules() if isinstance(a, Attention)]
        reads_memory = any(a.cross for a in attentions)
        if network.kind == "encoder" or (network.kind == "encoder-decoder" and not reads_memory):
            continue
        masks = [stack.mask] * len(stack.order) if isinstance(stack.mask, Mask) else list(stack.mask)
        for i, mask in zip(stack.order, masks, strict=True):
            found += [(a, mask) for a in stack.blocks[i].modules() if isinstance(a, Attention) and not a.cross]
    return found
