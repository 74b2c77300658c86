"""How to decode: what the call asks for, else what the checkpoint advises, else the plainest."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Settings:
    """Decoding settings under the ecosystem's names: keywords of the call and keys of generation_config.json.

    Greedy unless the call says otherwise: ``temperature`` above 0 or ``do_sample=True`` draws (with the
    checkpoint's temperature, top_k, top_p and min_p where the call gives none), and ``num_beams`` above 1, the
    call's or else the checkpoint's, searches. A checkpoint's own ``do_sample`` changes nothing: a plain call is
    reproducible.

    Lengths: ``max_new_tokens`` or, prompt included, ``max_length``; 50 new tokens if nobody says. ``stop`` ends a
    row at any of its strings, ``ignore_eos`` goes on after end tokens, ``seed`` makes a draw repeatable.

    ``draft`` guesses up to ``draft_tokens`` tokens ahead, which are read in one pass and change only the speed:
    "lookup" finds them in the text so far (and the source), a smaller model of the same vocabulary writes them."""

    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int | None = None
    min_length: int = 0
    do_sample: bool | None = None
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    encoder_no_repeat_ngram_size: int = 0
    bad_words_ids: Sequence[Sequence[int]] = ()
    suppress_tokens: Sequence[int] = ()
    begin_suppress_tokens: Sequence[int] = ()
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | Sequence[int] | None = None
    renormalize_logits: bool = False
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    num_return_sequences: int = 1
    stop: str | Sequence[str] = ()
    ignore_eos: bool = False
    draft: str | nn.Module | None = None
    draft_tokens: int = 5
    bos_token_id: int | None = None
    eos_token_id: int | Sequence[int] | None = None
    pad_token_id: int | None = None
    decoder_start_token_id: int | None = None


NAMES = tuple(f.name for f in fields(Settings))
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
SHAPING = ("top_k", "top_p", "min_p")
EITHER = (("max_new_tokens", "max_length"), ("min_new_tokens", "min_length"))

# What a setting must be: its type, a condition, and both in words.
Check = tuple[type | tuple[type, ...], Callable[[Any], bool], str]
NUMBER = (int, float)
COUNT: Check = (int, lambda n: n >= 1, "an integer of at least 1")
SIZE: Check = (int, lambda n: n >= 0, "an integer of at least 0")
TOKEN: Check = (int, lambda n: True, "a token id")
TOKENS: Check = ((int, list, tuple), lambda v: all(isinstance(i, int) for i in listed(v)), "token ids")
WORDS: Check = (
    (list, tuple), lambda v: all(isinstance(w, list | tuple) and w and TOKENS[1](w) for w in v),
    "lists of token ids, none empty",
)  # fmt: skip
STRINGS: Check = (
    (str, list, tuple), lambda v: all(isinstance(s, str) and s for s in listed(v)), "a string or strings, none empty"
)  # fmt: skip
FLAG: Check = (bool, lambda v: True, "True or False")
CHECKS: dict[str, Check] = {
    "max_new_tokens": COUNT,
    "max_length": COUNT,
    "min_new_tokens": SIZE,
    "min_length": SIZE,
    "do_sample": FLAG,
    "temperature": (NUMBER, lambda t: t >= 0 and isfinite(t), "a number of at least 0 (greedy)"),
    "top_k": COUNT,
    "top_p": (NUMBER, lambda p: 0 < p <= 1, "above 0 and at most 1"),
    "min_p": (NUMBER, lambda p: 0 <= p <= 1, "between 0 and 1"),
    "seed": (int, lambda n: True, "an integer"),
    "repetition_penalty": (NUMBER, lambda p: p > 0 and isfinite(p), "a number above 0"),
    "no_repeat_ngram_size": SIZE,
    "encoder_no_repeat_ngram_size": SIZE,
    "bad_words_ids": WORDS,
    "suppress_tokens": TOKENS,
    "begin_suppress_tokens": TOKENS,
    "forced_bos_token_id": TOKEN,
    "forced_eos_token_id": TOKENS,
    "renormalize_logits": FLAG,
    "num_beams": COUNT,
    "length_penalty": (NUMBER, isfinite, "a number"),
    "early_stopping": ((bool, str), lambda e: e in (True, False, "never"), "True, False or 'never'"),
    "num_return_sequences": COUNT,
    "stop": STRINGS,
    "ignore_eos": FLAG,
    "draft": ((str, nn.Module), lambda d: d == "lookup" or not isinstance(d, str), "'lookup' or a model"),
    "draft_tokens": COUNT,
    "bos_token_id": TOKEN,
    "eos_token_id": TOKENS,
    "pad_token_id": TOKEN,
    "decoder_start_token_id": TOKEN,
}
# What transformers has and is not built here, and its value when it does nothing.
OFF: dict[str, Any] = {
    "constraints": None, "diversity_penalty": 0.0, "dola_layers": None, "encoder_repetition_penalty": 1.0,
    "exponential_decay_length_penalty": None, "force_words_ids": None, "guidance_scale": 1.0, "max_time": None,
    "num_beam_groups": 1, "penalty_alpha": 0.0, "remove_invalid_values": False, "sequence_bias": None,
    "token_healing": False, "watermarking_config": None,
}  # fmt: skip
OFF_IN_DRAWS: dict[str, Any] = {"typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "top_h": None}
# What changes speed or adds outputs: the tokens stay the same.
SAME = frozenset((
    "_commit_hash", "_from_model_config", "assistant_confidence_threshold", "assistant_early_exit",
    "assistant_lookbehind", "cache_config", "cache_implementation", "compile_config", "disable_compile",
    "is_assistant", "low_memory", "max_cache_len", "max_matching_ngram_size", "num_assistant_tokens",
    "num_assistant_tokens_schedule", "output_attentions", "output_hidden_states", "output_logits",
    "output_scores", "prefill_chunk_size", "prompt_lookup_num_tokens", "return_dict_in_generate",
    "return_legacy_cache", "target_lookbehind", "transformers_version", "use_cache", "use_mtp",
))  # fmt: skip


def read(asked: Mapping[str, Any], generation: Mapping[str, Any], config: Mapping[str, Any]) -> Settings:
    """The settings of a call that asks for ``asked`` (None: no wish), of a checkpoint with these two files.

    As in transformers, a generation_config.json replaces what config.json says of decoding; ids of special tokens
    are found in either. Raises TypeError for an unknown keyword, with the nearest; ValueError for values that
    cannot be, for wishes that contradict each other, and for what the checkpoint asks for and is not built."""
    given = {k: v for k, v in asked.items() if v is not None}
    for name in given.keys() - set(NAMES):
        near = difflib.get_close_matches(name, NAMES, 1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(NAMES)}"
        raise TypeError(f"generate has no keyword {name!r}; {hint}")
    check(given, "")
    sampling = given.get("temperature", 0) > 0 or given.get("do_sample", False)
    advice = advised(generation, config, sampling)
    check(advice, " (the checkpoint's)")
    for group in EITHER:
        if given.keys() & set(group):
            advice = {k: v for k, v in advice.items() if k not in group}
    if sampling:
        advice = {"temperature": 1.0, **advice, "num_beams": 1}
    else:
        advice = {k: v for k, v in advice.items() if k not in SHAPING} | {"temperature": 0.0}
    settings = Settings(**{**advice, **given})
    if problems := contradictions(settings, given):
        raise ValueError("; ".join(problems))
    return settings


def check(values: Mapping[str, Any], whose: str) -> None:
    """Raises ValueError naming every value that cannot be."""
    wrong = []
    for name, value in values.items():
        kinds, holds, words = CHECKS[name]
        truth = isinstance(value, bool) and kinds in (int, NUMBER)  # to Python, True is a number
        if truth or not isinstance(value, kinds) or not holds(value):
            wrong.append(f"{name} must be {words}, got {value!r}{whose}")
    if wrong:
        raise ValueError("; ".join(wrong))


def advised(generation: Mapping[str, Any], config: Mapping[str, Any], sampling: bool) -> dict[str, Any]:
    """What a checkpoint says of decoding. Raises ValueError naming what it asks for and is not built."""
    told, off = generation or config, OFF | (OFF_IN_DRAWS if sampling else {})
    odd = {k: told[k] for k, v in off.items() if told.get(k) is not None and told[k] != v}
    if generation:
        known = {*NAMES, *OFF, *OFF_IN_DRAWS, *SAME, "stop_strings"}
        odd |= {k: v for k, v in generation.items() if v is not None and k not in known}
    if odd:
        said = ", ".join(f"{k} = {v!r}" for k, v in odd.items())
        raise ValueError(f"the checkpoint asks for decoding that is not built: {said}; see model.origin to change it")
    advice = {k: told[k] for k in NAMES if told.get(k) is not None}
    advice |= {k: config[k] for k in SPECIAL if k not in advice and config.get(k) is not None}
    if generation.get("stop_strings") is not None:
        advice["stop"] = generation["stop_strings"]
    return {k: v for k, v in advice.items() if (k, v) != ("top_k", 0)}  # theirs: 0 for all


def contradictions(s: Settings, given: Mapping[str, Any]) -> list[str]:
    """What a call asks for that another of its settings would leave without effect, in words."""
    found = [f"give {a} or {b}, not both" for a, b in EITHER if a in given and b in given]
    sampling = s.temperature > 0
    if "do_sample" in given and given["do_sample"] != sampling:
        found.append(f"do_sample={s.do_sample} and temperature={s.temperature} contradict each other")
    shaping = [k for k in SHAPING if k in given and given[k] != {"top_p": 1, "min_p": 0}.get(k)]
    if shaping and not sampling:
        found.append(f"{shaping[0]} shapes a draw, but this call is greedy: give a temperature or do_sample=True")
    if sampling and s.num_beams > 1:
        found.append("drawing inside of a beam search is not built: leave out num_beams, or the temperature")
    if s.num_beams == 1 and (beams := given.keys() & {"length_penalty", "early_stopping"}):
        found.append(f"{min(beams)} is for beam search: give num_beams above 1")
    if s.draft is None and "draft_tokens" in given:
        found.append("draft_tokens is how many a draft guesses: give draft='lookup' or a model")
    if s.draft is not None and s.num_beams > 1:
        found.append(f"a draft guesses one continuation, and a search follows {s.num_beams}: give num_beams=1")
    most = s.num_return_sequences if sampling else s.num_beams
    if s.num_return_sequences > most:
        found.append(f"num_return_sequences={s.num_return_sequences} is more than num_beams={most}")
    return found


def listed(value: Any) -> list[Any]:
    """One or several, as a list; none for None."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
