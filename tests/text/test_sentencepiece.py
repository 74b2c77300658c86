"""The reader, the normaliser and the segmentation against the sentencepiece library."""

from pathlib import Path

import pytest
import sentencepiece as reference
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2
from text.samples import RUNS, spm, texts
from transformers.tokenization_utils_base import generate_merges

from cutaway.text import sentencepiece
from cutaway.text.segmenter import Segmenter

OPTIONS = {
    "usual": {},
    "identity": {"normalization_rule_name": "identity"},
    "folded": {"normalization_rule_name": "nfkc_cf"},
    "spaces": {"remove_extra_whitespaces": False},
    "no prefix": {"add_dummy_prefix": False},
    "bytes": {"byte_fallback": True, "remove_extra_whitespaces": False, "normalization_rule_name": "identity"},
    "symbols": {"user_defined_symbols": ["<sep>", "the", "\u00e9"]},
    "over spaces": {"split_by_whitespace": False},
}
CASES = [(algorithm, name) for algorithm in ("unigram", "bpe") for name in OPTIONS]


@pytest.fixture(scope="module", params=CASES, ids=" ".join)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    algorithm, name = request.param
    path = tmp_path_factory.mktemp("spm") / "m.model"
    spm(path, algorithm, 400, **OPTIONS[name])
    return path


def test_reads_what_protobuf_reads(file: Path):
    ours = sentencepiece.read(file.read_bytes(), "m.model")
    theirs = sentencepiece_model_pb2.ModelProto()
    theirs.ParseFromString(file.read_bytes())
    assert list(ours.pieces) == [(p.piece, p.score, p.type) for p in theirs.pieces]
    trainer, rules = theirs.trainer_spec, theirs.normalizer_spec
    assert (ours.algorithm, ours.unk_id, ours.byte_fallback) == (
        trainer.model_type,
        trainer.unk_id,
        trainer.byte_fallback,
    )
    assert (ours.charsmap, ours.add_dummy_prefix) == (rules.precompiled_charsmap, rules.add_dummy_prefix)
    assert ours.remove_extra_whitespaces == rules.remove_extra_whitespaces
    assert ours.escape_whitespaces == rules.escape_whitespaces


def test_segments_alike(file: Path):
    theirs = reference.SentencePieceProcessor(model_file=str(file))
    ours = Segmenter(sentencepiece.read(file.read_bytes(), "m.model"))
    for text in texts(20):
        normal, places = ours.normalise(text)
        assert normal == theirs.normalize(text)
        assert len(places) == len(normal) + 1
        assert places == sorted(places)
        found = list(ours.pieces(text, 0))
        assert [piece for piece, _ in found] == theirs.encode(text, out_type=str), text
        assert ours.text([piece for piece, _ in found]) == theirs.decode(theirs.encode(text, out_type=str)), text
        assert all(0 <= start < end <= len(text) for _, (start, end) in found)


def test_merges_are_those_of_transformers(tmp_path: Path):
    spm(tmp_path / "m.model", "bpe", 500, extra=RUNS)
    model = sentencepiece.read((tmp_path / "m.model").read_bytes(), "m.model")
    theirs = generate_merges({piece.text: i for i, piece in enumerate(model.pieces)})
    assert len(theirs) > 300
    assert model.merges() == theirs


@pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
def test_ties_and_unused_pieces(algorithm: str, tmp_path: Path):
    """Runs of one sign have many best paths, which 32-bit rounding decides between; unused pieces only lead on."""
    spm(tmp_path / "m.model", algorithm, 400, extra=["0000 000 00", "aaab aab ab aa", "--- -- ...."] * 20)
    parsed = sentencepiece_model_pb2.ModelProto()
    parsed.ParseFromString((tmp_path / "m.model").read_bytes())
    long = [piece for piece in parsed.pieces if piece.type == sentencepiece.NORMAL and len(piece.piece) > 1]
    for piece in long[::7]:
        piece.type = sentencepiece.UNUSED
    blob = parsed.SerializeToString()
    theirs = reference.SentencePieceProcessor(model_proto=blob)
    ours = Segmenter(sentencepiece.read(blob, "m.model"))

    @given(st.text("a0-. b", max_size=30))
    def check(text: str) -> None:
        assert [piece for piece, _ in ours.pieces(text, 0)] == theirs.encode(text, out_type=str)

    check()


@pytest.mark.parametrize("name", ["usual", "spaces", "bytes"])
def test_spells_alike(name: str, tmp_path: Path):
    """Any sequence of pieces, as a model may generate it, bytes that are no UTF-8 among them."""
    spm(tmp_path / "m.model", size=400, **OPTIONS[name])
    theirs = reference.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    ours = Segmenter(sentencepiece.read((tmp_path / "m.model").read_bytes(), "m.model"))
    usable = [theirs.id_to_piece(i) for i in range(theirs.get_piece_size()) if i != theirs.unk_id()]

    @given(st.lists(st.sampled_from(usable), max_size=8))
    def check(pieces: list[str]) -> None:
        assert ours.text(pieces) == theirs.decode(pieces)

    check()


def test_spans_point_at_the_text(tmp_path: Path):
    spm(tmp_path / "m.model")
    ours = Segmenter(sentencepiece.read((tmp_path / "m.model").read_bytes(), "m.model"))
    text = "  the  \u2460 fox\u2026"
    spans = [(piece, text[a - 5 : b - 5]) for piece, (a, b) in ours.pieces(text, 5)]
    assert "".join(piece for piece, _ in spans) == "▁the▁1▁fox..."
    assert spans[0] == ("▁the", "the")
    assert spans[-1][1] == "\u2026"


def test_every_truncation_is_noticed(tmp_path: Path):
    spm(tmp_path / "m.model", normalization_rule_name="identity")
    blob = (tmp_path / "m.model").read_bytes()
    for end in [*range(0, len(blob), 97), len(blob) - 1]:
        with pytest.raises(ValueError, match=r"m\.model is not a complete SentencePiece model"):
            sentencepiece.read(blob[:end], "m.model")


@given(st.binary(max_size=200))
def test_any_bytes_give_one_clear_error(blob: bytes):
    with pytest.raises(ValueError, match=r"m\.model is not a complete SentencePiece model"):
        sentencepiece.read(blob, "m.model")


def message(*fields: bytes) -> bytes:
    return b"".join(fields)


def field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2, len(value)]) + value


PIECE = field(1, field(1, b"a"))
UNK = field(1, field(1, b"<unk>") + b"\x18\x02")
SETTINGS = field(2, b"") + field(3, b"")


@pytest.mark.parametrize(
    ("blob", "complaint"),
    [
        (b"", "no pieces"),
        (PIECE, "ends after 1 pieces, without its settings"),
        (PIECE + PIECE + SETTINGS, "'a' twice"),
        (PIECE + field(2, b"\xc0\x02\x05") + field(3, b""), "unknown piece is number 5 of 1"),
        (PIECE + field(2, b"\x18\x03") + field(3, b""), "model_type 3"),
        (PIECE + field(2, b"\xc0\x01\x01") + field(3, b""), "treat_whitespace_as_suffix"),
        (field(1, field(1, b"a") + b"\x15\x00\x00\xc0\x7f") + SETTINGS, "score of the piece 'a' is NaN"),
        (field(1, field(1, b"\xff")) + SETTINGS, "utf-8"),
        (field(1, field(1, b"a") + b"\x10\x05") + SETTINGS, "field 2 is a number"),
        (b"\x08\x05" + SETTINGS, "a number stands where a message is expected"),
        (b"\x0b" + PIECE, "unknown type 3"),
        (PIECE + b"\x12" + b"\xff" * 12, "more than ten bytes"),
        (PIECE[:-1], "ends at byte 4"),
    ],
)
def test_what_is_wrong_is_said(blob: bytes, complaint: str):
    with pytest.raises(ValueError, match=complaint):
        sentencepiece.read(blob, "m.model")


def test_the_least_file():
    model = sentencepiece.read(UNK + PIECE + SETTINGS, "m.model")
    assert [piece.text for piece in model.pieces] == ["<unk>", "a"]
    assert (model.unk, model.algorithm, model.add_dummy_prefix) == ("<unk>", sentencepiece.UNIGRAM, True)


def test_broken_rules_are_noticed():
    for rules, complaint in ((b"\xff\xff\x00\x00abc", "say 65535 bytes of 7"), (b"\x04\0\0\0abcd\xff\0", "utf-8")):
        with pytest.raises(ValueError, match=rf"m\.model is not a complete SentencePiece model.*{complaint}"):
            sentencepiece.read(UNK + PIECE + field(2, b"") + field(3, field(2, rules)), "m.model")
