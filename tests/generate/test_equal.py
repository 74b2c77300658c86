"""Greedy and beam search against transformers' generate, for decoders and encoder-decoders."""

import json
from itertools import chain, product
from typing import Any

import pytest
import torch
import transformers
from generate import tiny
from generate.tiny import BOS, DECODERS, ENCODER_DECODERS, EOS, PAD, Pair, new_tokens, rows

import cutaway
from cutaway.generate import job, settings
from cutaway.parts import Attention

PLAIN: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False, "num_beams": 1}


@pytest.fixture(scope="module", params=[*DECODERS, *ENCODER_DECODERS])
def pair(request, tmp_path_factory) -> Pair:
    return tiny.pair(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module", params=["llama", "bart"])
def some(request, tmp_path_factory) -> Pair:
    return tiny.pair(request.param, tmp_path_factory.mktemp(request.param))


def padded(prompts: list[torch.Tensor], side: str) -> dict[str, torch.Tensor]:
    pad = lambda values, fill: torch.nn.utils.rnn.pad_sequence(values, True, fill, side)
    return {"prompt": pad(prompts, PAD), "attention_mask": pad([torch.ones_like(p) for p in prompts], 0)}


def test_greedy(pair: Pair):
    """A ragged batch gives what theirs gives for each row alone, however it is padded.

    The penalty keeps random models from saying one token for ever."""
    prompts, how = rows(7, 3, 1), {**PLAIN, "repetition_penalty": 1.7}
    expected = pair.generate(prompts, **how)
    got = pair.ours.generate(prompts, **how)
    start = pair.begins(prompts[0])
    assert [new_tokens(row, start) for row in got.tolist()] == expected
    for side in ("left", "right"):
        assert torch.equal(pair.ours.generate(**padded(prompts, side), **how), got)


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
def test_the_whole_tensor_is_theirs(name: str, tmp_path):
    """Prompt, new tokens and padding, for a batch whose rows end at different times."""
    both = tiny.pair(name, tmp_path)
    prompts = padded(rows(7, 3, 5, 5, 6), "left" if name in DECODERS else "right")
    ends = both.ours.generate(**prompts, **PLAIN)[:, -8:].unique().tolist()[::2]
    how = {**PLAIN, "eos_token_id": [e for e in ends if e not in (PAD, BOS)]}
    theirs = both.theirs.generate(prompts["prompt"], attention_mask=prompts["attention_mask"], **how)
    ours = both.ours.generate(**prompts, **how)
    assert torch.equal(ours, theirs)
    assert (ours[:, -1] == PAD).any(), "some row ends before others"


def uncached(pair: Pair, row: torch.Tensor, n: int) -> list[int]:
    """Greedy by whole forward passes."""
    more = {"input_ids": row[None]} if pair.ours.kind == "encoder-decoder" else {}
    name, ids = ("decoder_input_ids", [pair.ours.origin.get("decoder_start_token_id")]) if more else ("input_ids", row)
    ids = torch.as_tensor(ids)[None]
    for _ in range(n):
        ids = torch.cat([ids, pair.ours(**more, **{name: ids}).logits[:, -1].argmax(-1, keepdim=True)], 1)
    return ids[0].tolist()


@torch.no_grad()
def test_cached_is_uncached(pair: Pair):
    (row,) = rows(9, seed=4)
    settings = {"max_new_tokens": 10, "ignore_eos": True, "num_beams": 1, "forced_eos_token_id": 7}
    got = pair.ours.generate(row[None], **settings)[0].tolist()
    assert got[:-1] == uncached(pair, row, 9)
    assert got[-1] == 7


BEAMS = [
    {"early_stopping": True, "length_penalty": 1.0, "num_beams": 4},
    {"early_stopping": True, "length_penalty": -1.0, "num_beams": 2},
    {"early_stopping": False, "length_penalty": 0.0, "num_beams": 3},
    {"early_stopping": False, "length_penalty": 2.0, "num_beams": 4},
    {"early_stopping": "never", "length_penalty": -1.0, "num_beams": 2},
    {"early_stopping": "never", "length_penalty": 0.0, "num_beams": 3},
    {"early_stopping": "never", "length_penalty": 2.0, "num_beams": 4},
]


@pytest.mark.parametrize("how", BEAMS, ids=lambda how: "-".join(map(str, how.values())))
def test_beam_search(some: Pair, how: dict[str, Any]):
    """Ragged rows together: sequences and scores are theirs for each row alone."""
    prompts = rows(6, 2, seed=3)
    drawn = some.ours.generate(prompts, temperature=1.5, seed=0, max_new_tokens=20, ignore_eos=True)
    ends = [EOS, *(set(drawn[:, -20:].flatten().tolist()[::7]) - {EOS, PAD})]
    how = {**how, "eos_token_id": ends, "num_return_sequences": how["num_beams"], "max_new_tokens": 8}
    scores = job.prepare(some.ours, prompts, None, settings.read(how, {}, some.ours.origin.kept)).beams()[1]
    ours = some.ours.generate(prompts, **how).tolist()
    for i, prompt in enumerate(prompts):
        theirs = some.theirs.generate(
            prompt[None], attention_mask=torch.ones_like(prompt)[None], do_sample=False, output_scores=True,
            return_dict_in_generate=True, **how,
        )  # fmt: skip
        mine = ours[i * how["num_beams"] : (i + 1) * how["num_beams"]]
        start, alone = some.begins(prompts[0]), some.begins(prompt)
        expected = [new_tokens(row, alone, ends) for row in theirs.sequences.tolist()]
        assert [new_tokens(row, start, ends) for row in mine] == expected
        torch.testing.assert_close(scores[i], theirs.sequences_scores, atol=1e-5, rtol=1e-5)


PROCESSORS: list[dict[str, Any]] = [
    {"repetition_penalty": 1.5},
    {"repetition_penalty": 0.8, "no_repeat_ngram_size": 3},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"encoder_no_repeat_ngram_size": 1},
    {"encoder_no_repeat_ngram_size": 2},
    {"bad_words_ids": "each"},
    {"bad_words_ids": "pairs"},
    {"min_length": 6, "eos_token_id": "commonest"},
    {"min_new_tokens": 3, "eos_token_id": "commonest"},
    {"forced_bos_token_id": 7},
    {"forced_bos_token_id": 7, "begin_suppress_tokens": "commonest"},
    {"forced_eos_token_id": EOS},
    {"forced_eos_token_id": [EOS, 9], "forced_bos_token_id": 5},
    {"suppress_tokens": "commonest"},
    {"begin_suppress_tokens": "commonest"},
    {"renormalize_logits": True, "repetition_penalty": 1.3},
    {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2, "bad_words_ids": "pairs", "min_new_tokens": 4,
     "suppress_tokens": [9, 11], "forced_eos_token_id": EOS},
]  # fmt: skip


@pytest.fixture(scope="module")
def common(some: Pair) -> list[int]:
    """The tokens that a model says most, left to itself."""
    said = torch.tensor(list(chain(*some.generate(rows(6, 1, seed=2), max_new_tokens=8, do_sample=False))))
    return [i for i in torch.bincount(said).argsort(descending=True)[:4].tolist() if i not in (PAD, EOS)]


@pytest.mark.parametrize("how", PROCESSORS, ids=lambda how: "-".join(how))
def test_processors(some: Pair, common: list[int], how: dict[str, Any]):
    """Every setting does what it does in theirs, greedily (LLaMA) and in beam search (BART), in a ragged batch."""
    prompts = [*rows(6, seed=2), torch.tensor([BOS])]
    words = {
        "commonest": common,
        "each": [[a] for a in common],
        "pairs": [[a, b] for a, b in product(common, common)] + [[EOS], common[:1]],
    }
    how = {k: words[v] if isinstance(v, str) else v for k, v in how.items()}
    ends = how.get("eos_token_id", [EOS])
    how |= {"max_new_tokens": 7, "num_beams": 3 if some.ours.kind == "encoder-decoder" else 1, "do_sample": False}
    got = some.ours.generate(prompts, **how).tolist()
    assert [new_tokens(row, some.begins(prompts[0]), ends) for row in got] == some.generate(prompts, **how)


def test_each_row_keeps_off_its_own_source(some: Pair):
    """Beams of one source do not read another's: what may not be copied is not, and the rest may."""
    sources = [torch.arange(5, 32), torch.arange(32, 58)]
    got = some.ours.generate(
        sources, encoder_no_repeat_ngram_size=1, num_beams=4, num_return_sequences=4, max_new_tokens=8, ignore_eos=True
    )
    start = some.begins(sources[0])
    for i, source in enumerate(sources):
        new = set(got[4 * i : 4 * i + 4, start:].flatten().tolist())
        assert not new & set(source.tolist())
        assert new & set(sources[1 - i].tolist())


def test_decoder_input_ids(some: Pair):
    """What the decoder is to begin with follows its start token, which need not be given."""
    if some.ours.kind == "decoder":
        with pytest.raises(TypeError, match="no decoder of its own"):
            some.ours.generate(rows(3), decoder_input_ids=[[5]])
        return
    (source,) = rows(6)
    start = some.theirs.config.decoder_start_token_id
    for begun in ([[7, 9]], [[start, 7, 9]]):
        theirs = some.theirs.generate(source[None], decoder_input_ids=torch.tensor(begun), **PLAIN)
        assert torch.equal(some.ours.generate(source[None], decoder_input_ids=begun, **PLAIN), theirs)
    ragged = some.ours.generate([source, source], decoder_input_ids=[[7, 9], []], **PLAIN).tolist()
    assert ragged[0] == theirs[0].tolist()
    assert ragged[1][:3] == [PAD, PAD, start]
    alone = some.ours.generate(source[None], **PLAIN)[0].tolist()
    assert new_tokens(ragged[1], 3) == new_tokens(alone, 1)


def test_the_checkpoint_is_asked(tmp_path):
    """Everything that a generation_config.json says is done as theirs do it, unless the call says otherwise."""
    said = {
        "num_beams": 3, "length_penalty": 0.5, "early_stopping": True, "no_repeat_ngram_size": 2, "max_length": 11,
        "min_length": 4, "bad_words_ids": [[9], [43, 43]], "suppress_tokens": [11], "eos_token_id": [EOS, 30, 8],
        "repetition_penalty": 1.2, "forced_eos_token_id": 8,
    }  # fmt: skip
    both = tiny.pair("t5", tmp_path, **said)
    prompts, ends = rows(6, 4), said["eos_token_id"]
    for theirs, ours in (
        ({"eos_token_id": ends}, {}),
        ({"eos_token_id": ends, "num_beams": 1, "max_new_tokens": 5}, {"num_beams": 1, "max_new_tokens": 5}),
    ):
        got = both.ours.generate(prompts, **ours).tolist()
        assert [new_tokens(row, 1, ends) for row in got] == both.generate(prompts, **theirs)


def test_an_old_checkpoint_says_it_in_its_config(tmp_path):
    """Without a generation_config.json, the keys of config.json count."""
    tiny.pair("bart", tmp_path)
    (tmp_path / "generation_config.json").unlink()
    path = tmp_path / "config.json"
    said = {"num_beams": 2, "max_length": 9, "no_repeat_ngram_size": 1, "forced_bos_token_id": 7}
    path.write_text(json.dumps(json.loads(path.read_text()) | said))
    theirs, ours = transformers.BartForConditionalGeneration.from_pretrained(tmp_path), cutaway.load(tmp_path)
    both = Pair(theirs.eval(), ours)
    prompts = rows(6, 4)
    got = both.ours.generate(prompts)
    assert [new_tokens(row, 1) for row in got.tolist()] == both.generate(prompts)
    assert got.shape[1] <= 9
    assert (got[:, 1] == 7).all()


def test_nothing_is_computed_twice(some: Pair):
    """Sources and prompts are read once, not once per beam; a step reads one token and makes one row of logits."""
    network, read, heads, crossing = some.ours.network, [], [], []
    hooks = [network.head.register_forward_pre_hook(lambda _, x: heads.append(tuple(x[0].shape[:2])))]
    for part in network.modules():
        if isinstance(part, Attention):
            note = crossing if part.cross else read
            hooks.append(part.k.register_forward_pre_hook(lambda _, x, note=note: note.append(tuple(x[0].shape[:2]))))
    some.ours.generate(rows(6, 4), num_beams=3, max_new_tokens=4, ignore_eos=True)
    for hook in hooks:
        hook.remove()
    seq2seq = some.ours.kind == "encoder-decoder"
    assert heads == [(2, 1), (6, 1), (6, 1), (6, 1)]
    assert crossing == [(2, 6)] * (3 if seq2seq else 0)
    begun = [(2, 6)] * 2 + [(2, 1)] * 3 if seq2seq else [(2, 6)] * 3
    assert read == begun + [(6, 1)] * 9
