"""The families, one file each, and which published model type is read by which."""

from importlib import import_module
from types import ModuleType
from typing import Any

from ..names import Format
from ..parts import Network

# model_type of a published config -> the file that holds it
MODEL_TYPES = {
    "albert": "albert",
    "bart": "bart",
    "mbart": "bart",
    "pegasus": "bart",
    "bert": "bert",
    "roberta": "bert",
    "xlm-roberta": "bert",
    "bloom": "bloom",
    "deberta": "deberta",
    "deberta-v2": "deberta",
    "distilbert": "distilbert",
    "electra": "electra",
    "falcon": "falcon",
    "gpt2": "gpt2",
    "openai-gpt": "gpt2",
    "gpt_neo": "gpt_neo",
    "gpt_neox": "gpt_neox",
    "gptj": "gptj",
    "mpt": "mpt",
    "llama": "llama",
    "mistral": "llama",
    "mixtral": "llama",
    "qwen2": "llama",
    "qwen3": "llama",
    "phi3": "llama",
    "olmo2": "llama",
    "gemma": "gemma",
    "gemma2": "gemma",
    "t5": "t5",
    "mt5": "t5",
    "umt5": "t5",
    "marian": "vanilla",
    "fsmt": "vanilla",
    "m2m_100": "vanilla",
    "recurrent": "recurrent",
}
FAMILIES = sorted(set(MODEL_TYPES.values()))


def module(name: str) -> ModuleType:
    """The module of a family or of a model type. Raises ValueError with the known names."""
    if name not in MODEL_TYPES and name not in FAMILIES:
        raise ValueError(f"model type {name!r} is not built; known: {', '.join(sorted(MODEL_TYPES))}")
    return import_module(f".{MODEL_TYPES.get(name, name)}", __name__)


def form(model_type: str) -> Format:
    """How a published model type is read and written."""
    return module(model_type).FORMATS[model_type]


def network(model_type: str, config: Any) -> Network:
    """A network of this type, its weights not yet set."""
    return module(model_type).NETWORK(config)
