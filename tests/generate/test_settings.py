"""What a call asks for, what a checkpoint advises, and what cannot be."""

import pytest

from cutaway.generate.settings import NAMES, read


def test_the_plainest():
    s = read({}, {}, {})
    assert (s.temperature, s.num_beams, s.max_new_tokens, s.repetition_penalty, s.stop) == (0, 1, None, 1, ())


def test_the_call_wins_then_the_generation_config_then_the_plainest():
    generation = {"repetition_penalty": 1.2, "num_beams": 4, "length_penalty": 0.5}
    s = read({"num_beams": 2, "length_penalty": None}, generation, {})
    assert (s.num_beams, s.repetition_penalty, s.length_penalty, s.early_stopping) == (2, 1.2, 0.5, False)


def test_a_generation_config_replaces_what_an_older_config_says_but_not_its_special_tokens():
    config = {"num_beams": 6, "eos_token_id": 2, "bos_token_id": 1, "architectures": ["X"], "typical_p": 1.0}
    s = read({}, {"bos_token_id": 7}, config)
    assert (s.num_beams, s.bos_token_id, s.eos_token_id) == (1, 7, 2)
    assert read({}, {}, config).num_beams == 6


def test_lengths_of_the_call_replace_those_of_the_checkpoint():
    advice = {"max_length": 200, "min_length": 56}
    s = read({"max_new_tokens": 5}, advice, {})
    assert (s.max_new_tokens, s.max_length, s.min_length) == (5, None, 56)
    s = read({"max_length": 9, "min_length": 3}, {"max_new_tokens": 7, "min_new_tokens": 2}, {})
    assert (s.max_new_tokens, s.max_length, s.min_new_tokens, s.min_length) == (None, 9, None, 3)


ADVICE = {"do_sample": True, "temperature": 0.6, "top_k": 40, "top_p": 0.9, "num_beams": 3}


class TestDrawing:
    def test_a_checkpoint_that_samples_does_not_make_a_plain_call_sample(self):
        s = read({}, ADVICE, {})
        assert (s.temperature, s.top_k, s.top_p, s.num_beams) == (0, None, None, 3)

    def test_do_sample_takes_what_the_checkpoint_advises(self):
        s = read({"do_sample": True}, ADVICE, {})
        assert (s.temperature, s.top_k, s.top_p, s.num_beams) == (0.6, 40, 0.9, 1)
        assert read({"do_sample": True}, {}, {}).temperature == 1

    def test_a_temperature_draws_with_the_advised_shape_unless_the_call_has_its_own(self):
        s = read({"temperature": 1.5, "top_p": 0.5}, ADVICE, {})
        assert (s.temperature, s.top_k, s.top_p) == (1.5, 40, 0.5)

    def test_their_zero_is_no_limit(self):
        assert read({"temperature": 1}, {"top_k": 0}, {}).top_k is None

    def test_one_beam_on_request_although_the_checkpoint_advises_more(self):
        assert read({"num_beams": 1}, {"num_beams": 6, "length_penalty": 2.0}, {}).num_beams == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"temperature": -0.5}, "temperature must be a number of at least 0 .* -0.5"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"temperature": 1, "top_p": 0}, "top_p must be above 0 and at most 1, got 0"),
        ({"temperature": 1, "top_p": 1.1}, "top_p must be"),
        ({"temperature": 1, "top_k": 0}, "top_k must be an integer of at least 1"),
        ({"temperature": 1, "top_k": 2.5}, "top_k must be an integer"),
        ({"temperature": 1, "min_p": 1.5}, "min_p must be between 0 and 1"),
        ({"repetition_penalty": 0}, "repetition_penalty must be a number above 0"),
        ({"num_beams": 0}, "num_beams must be"),
        ({"num_beams": True}, "num_beams must be"),
        ({"max_new_tokens": 0}, "max_new_tokens must be an integer of at least 1"),
        ({"max_new_tokens": "9"}, "max_new_tokens must be"),
        ({"num_beams": 2, "early_stopping": "always"}, "early_stopping must be True, False or 'never', got 'always'"),
        ({"stop": ["a", ""]}, "stop must be a string or strings, none empty"),
        ({"bad_words_ids": [[]]}, "bad_words_ids must be lists of token ids"),
        ({"bad_words_ids": [1, 2]}, "bad_words_ids must be lists of token ids"),
        ({"suppress_tokens": ["a"]}, "suppress_tokens must be token ids"),
        ({"temperature": -1, "top_k": -1}, "temperature must be .*; top_k must be"),
        ({"max_new_tokens": 3, "max_length": 9}, "max_new_tokens or max_length, not both"),
        ({"min_new_tokens": 3, "min_length": 9}, "min_new_tokens or min_length, not both"),
        ({"do_sample": False, "temperature": 0.7}, "do_sample=False and temperature=0.7 contradict"),
        ({"do_sample": True, "temperature": 0}, "do_sample=True and temperature=0 contradict"),
        ({"top_k": 5}, "top_k shapes a draw, but this call is greedy"),
        ({"top_p": 0.9, "temperature": 0}, "top_p shapes a draw"),
        ({"num_beams": 4, "temperature": 1}, "drawing inside of a beam search is not built"),
        ({"num_beams": 4, "do_sample": True}, "drawing inside of a beam search is not built"),
        ({"length_penalty": 2.0}, "length_penalty is for beam search"),
        ({"early_stopping": True, "temperature": 1}, "early_stopping is for beam search"),
        ({"num_return_sequences": 2}, "num_return_sequences=2 is more than num_beams=1"),
        ({"num_return_sequences": 5, "num_beams": 4}, "num_return_sequences=5 is more than num_beams=4"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(asked, message):
    with pytest.raises(ValueError, match=message):
        read(asked, {}, {})


@pytest.mark.parametrize(
    "asked", [{"top_p": 1}, {"min_p": 0}, {"seed": 3}, {"temperature": 1, "num_return_sequences": 9}]
)
def test_what_changes_nothing_or_can_be_is_accepted(asked):
    assert read(asked, {}, {})


@pytest.mark.parametrize(
    ("name", "near"), [("max_tokens", "max_new_tokens"), ("temprature", "temperature"), ("beams", "num_beams")]
)
def test_an_unknown_keyword_is_refused_with_the_nearest(name, near):
    with pytest.raises(TypeError, match=f"no keyword '{name}'; did you mean {near}"):
        read({name: 1}, {}, {})


def test_a_keyword_like_no_other_is_refused_with_all():
    with pytest.raises(TypeError, match=r"no keyword 'xyzzy'; it has .*max_new_tokens.*stop"):
        read({"xyzzy": 1}, {}, {})


@pytest.mark.parametrize(
    "advice",
    [
        {"typical_p": 0.9, "do_sample": True},
        {"encoder_repetition_penalty": 1.5},
        {"sequence_bias": [[[5], 1.0]]},
        {"num_beam_groups": 2},
        {"penalty_alpha": 0.6},
        {"guidance_scale": 1.5},
        {"remove_invalid_values": True},
        {"exponential_decay_length_penalty": [5, 1.1]},
        {"something_of_tomorrow": 3},
    ],
    ids=str,
)
def test_what_a_checkpoint_asks_for_and_is_not_built_is_refused_by_name(advice):
    name = next(iter(advice))
    with pytest.raises(ValueError, match=f"not built: {name} = "):
        read({"temperature": 1}, advice, {})


def test_an_older_config_is_refused_only_for_decoding_that_is_not_built():
    with pytest.raises(ValueError, match="num_beam_groups = 4"):
        read({}, {}, {"num_beam_groups": 4, "hidden_size": 8})
    assert read({}, {}, {"num_beam_groups": 1, "hidden_size": 8})


def test_what_only_shapes_draws_is_no_matter_to_greedy():
    assert read({}, {"typical_p": 0.9, "eta_cutoff": 0.1}, {}).temperature == 0


def test_an_advised_value_that_cannot_be_is_refused_as_the_checkpoints():
    with pytest.raises(ValueError, match=r"repetition_penalty must be .* -1 \(the checkpoint's\)"):
        read({}, {"repetition_penalty": -1}, {})


def test_all_of_their_defaults_are_understood():
    import transformers

    theirs = transformers.GenerationConfig()
    plain = read({}, {}, {})
    assert read({}, {**theirs.to_dict(), "use_cache": True}, {}) == plain
    said = {k: v for k, v in theirs._get_default_generation_params().items() if k != "max_length"}
    s = read({}, said, {})
    assert [name for name in NAMES if getattr(s, name) != getattr(plain, name)] == ["do_sample"]
