"""Which recipe makes which tokenizer: a table by the class that the field names, and by model type."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tokenizers
from tokenizers import normalizers

from . import pipelines
from .folder import Folder
from .pipelines import Options

# Language codes, in the order of their ids.
MBART = (
    "ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM "
    "ne_NP nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN"
)
MBART50 = (
    f"{MBART} af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX "
    "sv_SE sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI"
)
M2M100 = {
    "m2m100": (
        "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr "
        "ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or "
        "pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu"
    ),
    "wmt21": "en ha is ja cs ru zh de",
}

END_OF_TEXT = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
BERT = {
    "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]",
}  # fmt: skip
DEBERTA = BERT | {"bos_token": "[CLS]", "eos_token": "[SEP]"}
SENTENCE = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
FAIRSEQ = SENTENCE | {"sep_token": "</s>", "pad_token": "<pad>", "cls_token": "<s>", "mask_token": "<mask>"}
# The mask of mBART takes the space before it.
MBART_SPECIAL = {**FAIRSEQ, "mask_token": {"content": "<mask>", "lstrip": True}}


@dataclass(frozen=True)
class Recipe:
    """A family's tokenizer: the tokens it calls special, how to build it, and what it puts around a text.

    ``single`` and ``pair`` name special tokens by role (``cls $A sep``), ``:1`` being the second segment; None is
    for those that put the begin and the end token only if their settings say so (``begins`` if they say nothing).
    ``extra`` lists further special tokens, ``spm`` is the SentencePiece file, ``language`` the default one."""

    special: Mapping[str, Any]
    build: Callable[[Folder, Options], tokenizers.Tokenizer]
    single: str | None = None
    pair: str | None = None
    begins: bool = False
    extra: Callable[[Options], list[str]] = field(default=lambda options: [])
    spm: str | None = None
    language: str = ""


def only_json(folder: Folder, options: Options) -> tokenizers.Tokenizer:
    raise ValueError(f"{folder.path} has no tokenizer.json, and its older files are of a kind that has no recipe")


FAIRSEQ_SPM = "sentencepiece.bpe.model"
# Whose special tokens go around a text only if the settings say so.
PLAIN = Recipe({}, only_json)
RECIPES = {
    "GPT2Tokenizer": Recipe(END_OF_TEXT, pipelines.byte_bpe()),
    "GPTNeoXTokenizer": Recipe(
        END_OF_TEXT | {"pad_token": "<|padding|>"}, pipelines.byte_bpe(normalizers.NFC())
    ),
    "Qwen2Tokenizer": Recipe(
        dict.fromkeys(("eos_token", "unk_token", "pad_token"), "<|endoftext|>"),
        pipelines.byte_bpe(normalizers.NFC(), pipelines.QWEN_SPLIT),
    ),
    "RobertaTokenizer": Recipe(FAIRSEQ, pipelines.byte_bpe(), "roberta"),
    "DebertaTokenizer": Recipe(DEBERTA, pipelines.byte_bpe(), "cls $A sep", "cls $A sep sep $B sep"),
    "OpenAIGPTTokenizer": Recipe({"unk_token": "<unk>"}, pipelines.word_bpe),
    "BertTokenizer": Recipe(BERT, pipelines.wordpiece, "cls $A sep", "cls $A sep $B:1 sep:1"),
    "LlamaTokenizer": Recipe(SENTENCE, pipelines.llama, begins=True, spm="tokenizer.model"),
    "GemmaTokenizer": Recipe(
        {f"{name}_token": f"<{name}>" for name in ("bos", "eos", "unk", "pad", "mask")},
        pipelines.gemma, begins=True, spm="tokenizer.model",
    ),
    "T5Tokenizer": Recipe(
        {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
        pipelines.unigram("spiece.model", pipelines.with_sentinels, pipelines.compiled),
        "$A eos", "$A eos $B eos", extra=pipelines.sentinels, spm="spiece.model",
    ),
    "AlbertTokenizer": Recipe(
        DEBERTA | {"unk_token": "<unk>", "pad_token": "<pad>"},
        pipelines.unigram("spiece.model", pipelines.as_it_is, pipelines.albert_text),
        "cls $A sep", "cls $A sep $B:1 sep:1", spm="spiece.model",
    ),
    "XLMRobertaTokenizer": Recipe(
        FAIRSEQ,
        pipelines.unigram(FAIRSEQ_SPM, pipelines.as_fairseq(()), pipelines.compiled),
        "bos $A eos", "bos $A eos eos $B eos", spm=FAIRSEQ_SPM,
    ),
    "DebertaV2Tokenizer": Recipe(
        DEBERTA,
        pipelines.unigram("spm.model", pipelines.as_it_is, pipelines.deberta_text, words=False),
        "cls $A sep", "cls $A sep $B:1 sep:1", spm="spm.model",
    ),
    "MBartTokenizer": Recipe(
        MBART_SPECIAL,
        pipelines.unigram(FAIRSEQ_SPM, pipelines.as_fairseq(MBART.split()), lambda model, options: []),
        "$A eos lang", "$A $B eos lang", extra=lambda options: MBART.split(), spm=FAIRSEQ_SPM, language="en_XX",
    ),
    "MBart50Tokenizer": Recipe(
        {name: token for name, token in MBART_SPECIAL.items() if name != "bos_token"},
        pipelines.unigram(FAIRSEQ_SPM, pipelines.as_fairseq(MBART50.split()), pipelines.squeezed, words=False),
        "lang $A eos", "lang $A $B eos", extra=lambda options: MBART50.split(), spm=FAIRSEQ_SPM, language="en_XX",
    ),
    "NllbTokenizer": Recipe(FAIRSEQ, only_json, "lang $A eos", "lang $A $B eos", language="eng_Latn"),
    "PegasusTokenizer": Recipe(
        {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask_2>"},
        pipelines.unigram("spiece.model", pipelines.with_masks, pipelines.squeezed, words=False),
        "$A eos", "$A $B eos", extra=pipelines.pegasus_extra, spm="spiece.model",
    ),
}  # fmt: skip
M2M_SPECIAL = {name: token for name, token in FAIRSEQ.items() if name not in ("cls_token", "mask_token")}
MARIAN = "MarianTokenizer"
M2M = "M2M100Tokenizer"
FSMT = "FSMTTokenizer"
SAME = {
    "BartTokenizer": "RobertaTokenizer", "DistilBertTokenizer": "BertTokenizer", "ElectraTokenizer": "BertTokenizer",
    "MT5Tokenizer": "T5Tokenizer",
}  # fmt: skip
MODEL_TYPES = {
    "albert": "AlbertTokenizer", "bart": "RobertaTokenizer", "bert": "BertTokenizer", "deberta": "DebertaTokenizer",
    "deberta-v2": "DebertaV2Tokenizer", "distilbert": "BertTokenizer", "electra": "BertTokenizer", "fsmt": FSMT,
    "gemma": "GemmaTokenizer", "gemma2": "GemmaTokenizer", "gpt2": "GPT2Tokenizer", "gpt_neo": "GPT2Tokenizer",
    "gpt_neox": "GPTNeoXTokenizer", "gptj": "GPT2Tokenizer", "llama": "LlamaTokenizer", "m2m_100": M2M,
    "marian": MARIAN, "mbart": "MBartTokenizer", "mistral": "LlamaTokenizer", "mixtral": "LlamaTokenizer",
    "mpt": "GPTNeoXTokenizer", "mt5": "T5Tokenizer", "openai-gpt": "OpenAIGPTTokenizer",
    "pegasus": "PegasusTokenizer", "phi3": "LlamaTokenizer", "qwen2": "Qwen2Tokenizer", "qwen3": "Qwen2Tokenizer",
    "roberta": "RobertaTokenizer", "t5": "T5Tokenizer", "umt5": "T5Tokenizer", "xlm-roberta": "XLMRobertaTokenizer",
}  # fmt: skip
