"""Translation: what is generated from a source, into the language that is asked for."""

import pytest
import torch
from families.tiny import tiny

from cutaway import tasks
from cutaway.model import Model, Origin
from cutaway.tasks.translate import into
from cutaway.text import Tokenizer


def readable(model_type: str) -> Model:
    torch.manual_seed(0)
    model = tiny(model_type, vocab=259)
    model.tokenizer = Tokenizer.bytes()
    model.origin.kept = {**model.origin.kept, "decoder_start_token_id": 0, "pad_token_id": 256}
    return model


@torch.no_grad()
def test_it_is_what_the_model_generates() -> None:
    model = readable("t5")
    ids = model.generate([model.tokenizer.encode("hallo").ids], max_new_tokens=6)
    assert tasks.translate(model, "hallo", max_new_tokens=6) == model.tokenizer.decode(ids[0].tolist()).strip()
    beams = model.generate([model.tokenizer.encode("hallo").ids], max_new_tokens=6, num_beams=3)
    found = tasks.translate(model, "hallo", max_new_tokens=6, num_beams=3)
    assert found == model.tokenizer.decode(beams[0].tolist()).strip()


def test_a_decoder_is_told_its_language_first_or_begins_with_it() -> None:
    model = readable("t5")
    languages = [7, 8, 9]
    for start, setting in ((2, "forced_bos_token_id"), (8, "decoder_start_token_id"), (None, "decoder_start_token_id")):
        model.origin = Origin("m2m_100", {"decoder_start_token_id": start})
        assert into(model, 9, languages) == {setting: 9}


def test_what_does_not_translate_says_so() -> None:
    with pytest.raises(ValueError, match="a gpt2 does not translate: an encoder-decoder language model does"):
        tasks.translate(tiny("gpt2"), "hallo")
    model = readable("t5")
    with pytest.raises(ValueError, match="this tokenizer has no language codes"):
        tasks.translate(model, "hallo", tgt_lang="de")
    model.tokenizer = None
    with pytest.raises(ValueError, match="the model has no tokenizer"):
        tasks.translate(model, "hallo")
