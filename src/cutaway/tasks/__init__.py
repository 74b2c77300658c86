"""What models are for, in one call each."""

from .embed import Pooling, embed
from .fill import Guess, fill
from .translate import translate

__all__ = ["Guess", "Pooling", "embed", "fill", "translate"]
