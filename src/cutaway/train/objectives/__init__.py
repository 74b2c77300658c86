"""Objectives: rows of token ids -> what a model is given and what it is to predict."""

from .batch import Batch, Objective, Rows
from .denoising import Infilling, SpanCorruption
from .plain import CausalLM, MaskedLM, Seq2Seq, SequenceClassification, TokenClassification
from .special import OBJECTIVES, continuations, objective_for, sentence_ends

__all__ = [
    "OBJECTIVES", "Batch", "CausalLM", "Infilling", "MaskedLM", "Objective", "Rows", "Seq2Seq",
    "SequenceClassification", "SpanCorruption", "TokenClassification", "continuations", "objective_for",
    "sentence_ends",
]  # fmt: skip
