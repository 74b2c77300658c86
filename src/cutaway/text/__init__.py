"""Text: the tokenizers of all families, chat templates, and text as it is generated."""

from .encoding import Batch, Encoding
from .stream import Stream
from .tokenizer import Tokenizer

__all__ = ["Batch", "Encoding", "Stream", "Tokenizer"]
