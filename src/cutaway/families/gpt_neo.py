"""GPT-Neo (Black et al., 2021): GPT-3 with scores left unscaled; every other layer sees a window only."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from ..names import Field, Format, Group, Row
from ..parts import MLP, Attention, Block, Context, Learned, Network, PreNorm, Stack, Unembed
from ..parts.network import scale_outputs
from . import windows
from .keys import ACT, lm_head


@dataclass(frozen=True)
class Config:
    vocab: int = 50_257
    length: int = 2048
    width: int = 2048
    depth: int = 24
    heads: int = 16
    hidden: int | None = None  # None: 4 width
    windows: tuple[int | None, ...] = (None, 256)  # in turn over the layers; None sees everything
    act: str = "gelu_tanh"
    eps: float = 1e-5
    tied: bool = True
    dropout: float = 0.0
    embed_dropout: float = 0.0
    attention_dropout: float = 0.0
    std: float = 0.02
    head: str = "lm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "windows", windows.pattern(self.windows, self.depth))


class GPTNeo(Network):
    kind = "decoder"

    def __init__(self, c: Config):
        super().__init__(c)
        norm = lambda: nn.LayerNorm(c.width, c.eps)
        attend = lambda: Attention(c.width, c.heads, bias="o", scale=1.0, dropout=c.attention_dropout)
        feed = lambda: MLP(c.width, c.hidden or 4 * c.width, c.act)
        step = lambda sublayer: PreNorm(norm(), sublayer, c.dropout)
        blocks = [Block(attention=step(attend()), mlp=step(feed())) for _ in range(c.depth)]
        self.embed, self.place = nn.Embedding(c.vocab, c.width), Learned(c.length, c.width)
        self.dropout = nn.Dropout(c.embed_dropout)
        self.stack = Stack(blocks, norm(), windows.causal(c.windows, c.depth))
        self.head = Unembed(c.width, c.vocab, tied=self.embed if c.tied else None) if c.head == "lm" else None

    def forward(self, ids: Int[Tensor, "B N"], ctx: Context | None = None) -> Float[Tensor, "B N D"]:
        ctx = ctx or Context.of()
        return self.stack(self.dropout(self.embed(ids) + self.place(ctx.places(ids))), ctx)

    def initialise(self) -> None:
        super().initialise()
        scale_outputs(self.stack, (2 * self.config.depth) ** -0.5)


def read_kinds(theirs: dict[str, Any]) -> dict[str, Any]:
    """``attention_types`` lists patterns, each with how often it comes, as [["global", "local"], 12]."""
    depth, size = theirs["num_layers"], theirs["window_size"]
    kinds = [kind for pattern, times in theirs["attention_types"] for kind in pattern * times]
    if len(kinds) != depth or set(kinds) - {"global", "local"}:
        raise ValueError(f"attention_types must name global or local for {depth} layers, but gives {kinds}")
    if theirs.get("attention_layers", kinds) != kinds:
        raise ValueError(f"attention_types gives {kinds}, but attention_layers {theirs['attention_layers']}")
    return {"windows": tuple(size if kind == "local" else None for kind in kinds)}


def write_kinds(c: Config) -> dict[str, Any]:
    sizes = {size for size in c.windows if size is not None}
    if len(sizes) > 1:
        raise ValueError(f"the windows of a gpt_neo must have one size, got {sorted(sizes)}")
    n = c.depth if c.depth % len(c.windows) else len(c.windows)
    kinds = ["local" if size else "global" for size in (c.windows * c.depth)[:n]]
    return {"attention_types": [[kinds, c.depth // n]]} | ({"window_size": sizes.pop()} if sizes else {})


KINDS = Group(("num_layers", "attention_types", "attention_layers", "window_size"), read_kinds, write_kinds)
FIELDS: dict[str, str | Field] = dict(
    vocab_size="vocab", max_position_embeddings="length", hidden_size="width", num_layers="depth",
    num_heads="heads", intermediate_size="hidden", activation_function=ACT, layer_norm_epsilon="eps",
    resid_dropout="dropout", embed_dropout="embed_dropout", attention_dropout="attention_dropout",
    initializer_range="std", tie_word_embeddings="tied",
)  # fmt: skip
DEFAULTS = dict(num_layers=24, attention_types=[[["global", "local"], 12]], window_size=256)
# Keys of heads that are not built.
FIXED = dict.fromkeys(["classifier_dropout", "summary_activation", "summary_first_dropout",
    "summary_proj_to_labels", "summary_type", "summary_use_proj"], ...)  # fmt: skip


def rows(c: Config) -> list[Row]:
    h, ours = "h.{i}", "stack.blocks.{i}"
    return [
        Row("wte.weight", "embed.weight"),
        Row("wpe.weight", "place.weight"),
        Row(f"{h}.ln_1.{{p}}", f"{ours}.attention.norm.{{p}}"),
        Row(f"{h}.attn.attention.{{x:q|k|v}}_proj.weight", f"{ours}.attention.sublayer.{{x}}.weight"),
        Row(f"{h}.attn.attention.out_proj.{{p}}", f"{ours}.attention.sublayer.o.{{p}}"),
        Row(f"{h}.ln_2.{{p}}", f"{ours}.mlp.norm.{{p}}"),
        Row(f"{h}.mlp.c_fc.{{p}}", f"{ours}.mlp.sublayer.up.{{p}}"),
        Row(f"{h}.mlp.c_proj.{{p}}", f"{ours}.mlp.sublayer.down.{{p}}"),
        Row("ln_f.{p}", "stack.norm.{p}"),
    ]


HEADS = {"GPTNeoForCausalLM": "lm", "GPTNeoModel": "base"}
FORMATS = {
    "gpt_neo": Format(rows, HEADS, FIELDS, lm_head, "transformer.", FIXED, DEFAULTS, (KINDS,),
        (r".*\.attn\.attention\.(masked_)?bias",)),
}  # fmt: skip
NETWORK = GPTNeo
