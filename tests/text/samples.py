"""Checkpoint folders of every family's older tokenizer files, trained here on a few lines, and texts to try them on."""

import io
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sentencepiece
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

from cutaway.text import Tokenizer as Ours

LINES = [
    "The quick brown fox jumps over the lazy dog, and the dog doesn't care at all.",
    "A naïve café owner said: it's 3.14 or 1,000 euros (20% off)!",
    "She sells sea shells on the sea shore; the shells she sells are sea shells.",
    "Transformers learn by attention. Attention is all you need, they said.",
    "Der schnelle braune Fuchs springt über den faulen Hund. Größe zählt nicht!",
    "Le renard brun saute par-dessus le chien paresseux. Ça va très bien.",
    "你好，世界。今天天气很好。",
    "こんにちは世界",
    "Привет, мир! Как дела?",
    "emoji 😀 😃 👍🏽 are fun 🎉",
    "tabs\tand\nnewlines  and   spaces",
]
ODD = [
    "",
    "  ",
    "  lead",
    "trail  ",
    "a   b",
    "tab\tx\ny\r\n\r\n",
    "e\u0301 \u1ec7 e\u0302\u0301 a\u0300\u0302 ½ ²",
    "\ufb01 \u2460 \u2122 \u2026 \uff21\uff42\uff43 \uff76\uff9e",
    "😀👍🏽👨\u200d👩\u200d👧",
    "你好 世界",
    "\u200bzero\u200d \ufeff",
    "▁under ▁",
    "<s> </s> <unk> <pad> <mask>",
    "[CLS] [SEP]x[MASK] y[PAD]",
    "<|endoftext|>a <|padding|>",
    "\u3000wide\u00a0nb",
    "x" * 120,
    "\uac00\uac01\u1100 \u0130\u0131 ß ẞ \u0645\u0631\u062d\u0628\u0627",
    "\x00\x01",
    "don't I'm we've , . ! it ' s",
    "en_XX de_DE __en__ >>de<< x",
    "<extra_id_0> <unk_2> <mask_1>",
    "``q'' 1,000",
    "\n\nA\n",
    "aaaaaaa ------- --- aaaa-----",
]


def texts(count: int) -> list[str]:
    """Lines, odd ones, and so many of random signs."""
    draw = random.Random(0)
    signs = [*"ab ▁.éxyz😀你\t  ", "\u0301", "<s>", "the "]
    return ODD + LINES + ["".join(draw.choices(signs, k=draw.randint(1, 25))) for _ in range(count)]


def spm(
    path: Path, algorithm: str = "unigram", size: int = 300, extra: list[str] | None = None, **options: Any
) -> list[str]:
    """Train a SentencePiece model into a file, and return its pieces."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 4 + (extra or [])),
        model_writer=out,
        vocab_size=size,
        model_type=algorithm,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    path.write_bytes(out.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    return [processor.id_to_piece(i) for i in range(processor.get_piece_size())]


def bpe(folder: Path, special: list[str], words: bool = False) -> None:
    """vocab.json and merges.txt: byte-level BPE, or that of words as the first GPT had it."""
    pipeline = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<unk>") if words else models.BPE())
    if words:
        pipeline.normalizer = normalizers.BertNormalizer(lowercase=True)
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pipeline.pre_tokenizer = pre_tokenizers.BertPreTokenizer() if words else level
    ends = {"end_of_word_suffix": "</w>"} if words else {"initial_alphabet": level.alphabet()}
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False, **ends)
    pipeline.train_from_iterator(LINES * 4, trainer)
    model = json.loads(pipeline.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in model["merges"]))


def wordpiece(folder: Path) -> None:
    pipeline = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pipeline.normalizer = normalizers.BertNormalizer(lowercase=True)
    pipeline.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    pipeline.train_from_iterator(LINES * 4, trainer)
    vocab = pipeline.get_vocab()
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in sorted(vocab, key=lambda t: vocab[t])))


def marian(folder: Path) -> None:
    both = {*spm(folder / "source.spm"), *spm(folder / "target.spm", extra=["foxes attend the shore"] * 40)} - {
        "<s>",
        "</s>",
        "<unk>",
    }
    # A few pieces are left out, as in real vocabularies: they are unknown words.
    vocab = ["</s>", "<unk>", *sorted(both)[:-7], ">>de<<", "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocab)}))


def m2m(folder: Path) -> None:
    pieces = spm(folder / "sentencepiece.bpe.model", "bpe", 400)
    vocab = ["<s>", "<pad>", "</s>", "<unk>", *[p for p in pieces if p not in ("<s>", "</s>", "<unk>")][:-5]]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocab)}))


@dataclass(frozen=True)
class Family:
    """A family's older files: what writes them, the class of transformers that reads them, and its settings."""

    write: Callable[[Path], Any]
    reader: str
    model_type: str
    settings: dict[str, Any] = field(default_factory=dict)

    def reference(self, folder: Path) -> Any:
        return getattr(transformers, self.reader).from_pretrained(str(folder))


def byte_bpe(*special: str) -> Callable[[Path], None]:
    return lambda folder: bpe(folder, list(special))


def piece_file(name: str, algorithm: str = "unigram", **options: Any) -> Callable[[Path], list[str]]:
    return lambda folder: spm(folder / name, algorithm, 600 if algorithm == "bpe" else 300, **options)


# Runs can be joined in several ways.
RUNS = ["--- -- ---- ----- aaa aa aaaa aaaaa"] * 30
RAW = dict(extra=RUNS, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False)
NO_BEGIN = dict(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
FAIRSEQ = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
T5 = Family(piece_file("spiece.model", **NO_BEGIN), "T5Tokenizer", "t5", {"tokenizer_class": "T5Tokenizer"})
MBART = piece_file("sentencepiece.bpe.model")
CODES = [f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]]

FAMILIES = {
    "gpt2": Family(byte_bpe("<|endoftext|>"), "GPT2Tokenizer", "gpt2"),
    "openai-gpt": Family(lambda f: bpe(f, ["<unk>"], words=True), "OpenAIGPTTokenizer", "openai-gpt"),
    "gpt_neox": Family(byte_bpe("<|endoftext|>", "<|padding|>"), "GPTNeoXTokenizer", "gpt_neox"),
    "qwen2": Family(byte_bpe("<|endoftext|>"), "Qwen2Tokenizer", "qwen2"),
    "roberta": Family(byte_bpe(*FAIRSEQ), "RobertaTokenizer", "roberta"),
    "bart": Family(byte_bpe(*FAIRSEQ), "BartTokenizer", "bart"),
    "deberta": Family(byte_bpe(*BERT), "DebertaTokenizer", "deberta"),
    "bert": Family(wordpiece, "BertTokenizer", "bert"),
    "bert-cased": Family(wordpiece, "BertTokenizer", "bert", {
        "do_lower_case": False, "tokenize_chinese_chars": False, "clean_up_tokenization_spaces": True,
    }),
    "distilbert": Family(wordpiece, "DistilBertTokenizer", "distilbert"),
    "electra": Family(wordpiece, "ElectraTokenizer", "electra", {"strip_accents": False}),
    "llama": Family(piece_file("tokenizer.model", "bpe", **RAW, split_digits=True), "LlamaTokenizer", "llama", {
        "tokenizer_class": "LlamaTokenizer", "add_bos_token": True,
    }),
    "llama-ends": Family(piece_file("tokenizer.model", "bpe", **RAW), "LlamaTokenizer", "mistral", {
        "tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": True, "legacy": True,
    }),
    "gemma": Family(
        piece_file(
            "tokenizer.model", "bpe", **RAW, add_dummy_prefix=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
            pad_piece="<pad>", bos_piece="<bos>", eos_piece="<eos>", user_defined_symbols=["<mask>", "<start>", "\n\n"],
        ), "GemmaTokenizer", "gemma", {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True},
    ),
    "t5": T5,
    "mt5": Family(T5.write, "T5Tokenizer", "mt5", {"extra_ids": 7}),
    "umt5": Family(T5.write, "T5Tokenizer", "umt5", T5.settings),
    "albert": Family(
        piece_file(
            "spiece.model", pad_id=0, unk_id=1, eos_id=-1, bos_id=-1, control_symbols=["[CLS]", "[SEP]"],
            user_defined_symbols=["[MASK]"],
        ), "AlbertTokenizer", "albert", {"clean_up_tokenization_spaces": True},
    ),
    "xlm-roberta": Family(MBART, "XLMRobertaTokenizer", "xlm-roberta"),
    "deberta-v2": Family(
        piece_file(
            "spm.model", pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]",
            eos_piece="[SEP]", unk_piece="[UNK]",
        ), "DebertaV2Tokenizer", "deberta-v2",
    ),
    "mbart": Family(MBART, "MBartTokenizer", "mbart"),
    "mbart50": Family(MBART, "MBart50Tokenizer", "mbart", {"tokenizer_class": "MBart50Tokenizer"}),
    "pegasus": Family(piece_file("spiece.model", **NO_BEGIN), "PegasusTokenizer", "pegasus"),
    "marian": Family(marian, "MarianTokenizer", "marian", {"source_lang": "en", "target_lang": "de"}),
    "m2m_100": Family(m2m, "M2M100Tokenizer", "m2m_100", {
        "src_lang": "en", "tgt_lang": "de", "additional_special_tokens": CODES,
    }),
}  # fmt: skip


class Library:
    """The folders of all families, each trained once."""

    def __init__(self, root: Path):
        self.root = root
        self.read: dict[str, tuple[Ours, Any]] = {}

    def __getitem__(self, name: str) -> Path:
        folder, family = self.root / name, FAMILIES[name]
        if not folder.exists():
            folder.mkdir()
            family.write(folder)
            (folder / "config.json").write_text(json.dumps({"model_type": family.model_type}))
            if family.settings:
                (folder / "tokenizer_config.json").write_text(json.dumps(family.settings))
        return folder

    def both(self, name: str) -> tuple[Ours, Any]:
        """Our tokenizer of a family's folder, and that of transformers."""
        if name not in self.read:
            ours = Ours.load(self[name])
            assert ours is not None
            self.read[name] = ours, FAMILIES[name].reference(self[name])
        return self.read[name]

    def copy(self, name: str, to: Path) -> Path:
        """A folder that a test may change."""
        return Path(shutil.copytree(self[name], to / name))
