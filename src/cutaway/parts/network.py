"""What a family's network promises, and how weights begin."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.init import normal_, zeros_

from ..heap import settle
from ..scores import OPEN
from .context import Context
from .heads import Unembed


class Network(nn.Module):
    """A family's network: ``forward`` maps ids to the last hidden state, ``head`` (or None) that to logits.

    ``kind`` is "decoder", "encoder" or "encoder-decoder"; ``summary`` says which token stands for a sequence
    ("first" or "eos"); ``extras`` maps further keywords of the door to parameters of ``forward``. Decoder input
    made of labels begins with their last token if it ``wraps``; ``source_vocab`` is the encoder's, if not the same."""

    kind: ClassVar[str]
    summary: ClassVar[str] = "first"
    extras: Mapping[str, str] = {}
    wraps: bool = False
    source_vocab: int | None = None
    head: nn.Module | None

    def __init__(self, config: Any):
        super().__init__()
        settle()
        self.config = config

    def initialise(self) -> None:
        """Fresh weights as the paper gives them; here the usual normal(0, std), biases 0."""
        initialise(self, self.config.std)


class EncoderDecoder(Network):
    """A network of two halves: ``encode`` makes the memory, ``decode`` reads it."""

    kind = "encoder-decoder"

    def encode(self, ids: Int[Tensor, "B M"], ctx: Context) -> Float[Tensor, "B M D"]:
        raise TypeError(f"{type(self).__name__} must define encode")

    def decode(self, ids: Int[Tensor, "B N"], ctx: Context) -> Float[Tensor, "B N D"]:
        raise TypeError(f"{type(self).__name__} must define decode")

    def forward(
        self, source: Int[Tensor, "B M"], target: Int[Tensor, "B N"], ctx: Context | None = None
    ) -> Float[Tensor, "B N D"]:
        ctx = ctx or Context.of()
        memory = self.encode(source, Context(ctx.memory_rule or OPEN)) if ctx.memory is None else ctx.memory
        return self.decode(target, replace(ctx, memory=memory))


def initialise(module: nn.Module, std: float) -> None:
    """Every weight normal(0, std), every bias 0; norms stay as they are made."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding | nn.Conv1d | Unembed) and part.weight is not None:
            normal_(part.weight, std=std)
        if isinstance(part, nn.Linear | nn.Conv1d | Unembed) and part.bias is not None:
            zeros_(part.bias)


def scale_outputs(module: nn.Module, factor: float) -> None:
    """Shrink what each sublayer writes to the residual stream (GPT-2: 1/√(2 depth))."""
    for name, weight in module.named_parameters():
        if name.endswith((".o.weight", ".down.weight")):
            weight.data.mul_(factor)
