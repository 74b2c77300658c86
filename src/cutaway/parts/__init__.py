"""Parts that every architecture is assembled from."""

from .attention import Attention
from .blocks import Block, OutputNorm, ParallelBlock, PostNorm, PreNorm, SandwichNorm, Stack
from .context import Cache, Context
from .feedforward import MLP, GatedMLP, MixtureOfExperts, activation
from .heads import Classifier, MaskedLM, Pooler, Unembed
from .network import EncoderDecoder, Network, initialise, scale_outputs
from .norms import LayerNorm, RMSNorm
from .positions import ALiBi, Disentangled, Learned, RelativeBias, Sinusoidal
from .quantized import numbers
from .rotary import Rotary, Scaling

__all__ = [
    "ALiBi", "Attention", "Block", "Cache", "Classifier", "Context", "Disentangled", "EncoderDecoder",
    "GatedMLP", "LayerNorm", "Learned", "MLP", "MaskedLM", "MixtureOfExperts", "Network", "OutputNorm",
    "ParallelBlock", "Pooler", "PostNorm", "PreNorm", "RMSNorm", "RelativeBias", "Rotary", "SandwichNorm",
    "Scaling", "Sinusoidal", "Stack", "Unembed", "activation", "initialise", "numbers", "scale_outputs",
]  # fmt: skip
