"""Configs of BERT's kin as they were published."""

BERT_BASE = dict(
    model_type="bert", architectures=["BertForMaskedLM"], attention_probs_dropout_prob=0.1,
    gradient_checkpointing=False, hidden_act="gelu", hidden_dropout_prob=0.1, hidden_size=768, initializer_range=0.02,
    intermediate_size=3072, layer_norm_eps=1e-12, max_position_embeddings=512, num_attention_heads=12,
    num_hidden_layers=12, pad_token_id=0, position_embedding_type="absolute", type_vocab_size=2, use_cache=True,
    vocab_size=30522,
)  # fmt: skip
ROBERTA_BASE = BERT_BASE | dict(
    model_type="roberta", architectures=["RobertaForMaskedLM"], bos_token_id=0, eos_token_id=2, layer_norm_eps=1e-5,
    max_position_embeddings=514, pad_token_id=1, type_vocab_size=1, vocab_size=50265,
)  # fmt: skip
DISTILBERT_BASE = dict(
    model_type="distilbert", architectures=["DistilBertForMaskedLM"], activation="gelu", attention_dropout=0.1, dim=768,
    dropout=0.1, hidden_dim=3072, initializer_range=0.02, max_position_embeddings=512, n_heads=12, n_layers=6,
    pad_token_id=0, qa_dropout=0.1, seq_classif_dropout=0.2, sinusoidal_pos_embds=False, tie_weights_=True,
    vocab_size=30522,
)  # fmt: skip
ALBERT_BASE = dict(
    model_type="albert", architectures=["AlbertForMaskedLM"], attention_probs_dropout_prob=0, bos_token_id=2,
    classifier_dropout_prob=0.1, down_scale_factor=1, embedding_size=128, eos_token_id=3, gap_size=0,
    hidden_act="gelu_new", hidden_dropout_prob=0, hidden_size=768, initializer_range=0.02, inner_group_num=1,
    intermediate_size=3072, layer_norm_eps=1e-12, max_position_embeddings=512, net_structure_type=0,
    num_attention_heads=12, num_hidden_groups=1, num_hidden_layers=12, num_memory_blocks=0, pad_token_id=0,
    type_vocab_size=2, vocab_size=30000,
)  # fmt: skip
DEBERTA_BASE = dict(
    model_type="deberta", attention_probs_dropout_prob=0.1, hidden_act="gelu", hidden_dropout_prob=0.1, hidden_size=768,
    initializer_range=0.02, intermediate_size=3072, max_position_embeddings=512, relative_attention=True,
    max_relative_positions=-1, pos_att_type="c2p|p2c", position_biased_input=False, layer_norm_eps=1e-7, padding_idx=0,
    num_attention_heads=12, num_hidden_layers=12, type_vocab_size=0, vocab_size=50265,
)  # fmt: skip
DEBERTA_V3_BASE = {k: v for k, v in DEBERTA_BASE.items() if k != "padding_idx"} | dict(
    model_type="deberta-v2", position_buckets=256, norm_rel_ebd="layer_norm", share_att_key=True,
    pos_att_type="p2c|c2p", vocab_size=128100,
)  # fmt: skip
ELECTRA_SMALL = {k: v for k, v in BERT_BASE.items() if k not in ("position_embedding_type", "use_cache")} | dict(
    model_type="electra", architectures=["ElectraForPreTraining"], embedding_size=128, hidden_size=256,
    intermediate_size=1024, num_attention_heads=4,
)  # fmt: skip
PUBLISHED = {
    "bert-base-uncased": BERT_BASE,
    "bert-base-multilingual-cased": BERT_BASE
    | dict(
        directionality="bidi",
        pooler_fc_size=768,
        pooler_num_attention_heads=12,
        pooler_num_fc_layers=3,
        pooler_size_per_head=128,
        pooler_type="first_token_transform",
        vocab_size=119547,
        classifier_dropout=None,
    ),
    "roberta-base": ROBERTA_BASE,
    "xlm-roberta-base": ROBERTA_BASE
    | dict(model_type="xlm-roberta", architectures=["XLMRobertaForMaskedLM"], output_past=True, vocab_size=250002),
    "distilbert-base-uncased": DISTILBERT_BASE,
    "distilbert-base-uncased-distilled-squad": DISTILBERT_BASE
    | dict(architectures=["DistilBertForQuestionAnswering"], sinusoidal_pos_embds=True),
    "electra-small-discriminator": ELECTRA_SMALL
    | dict(summary_activation="gelu", summary_last_dropout=0.1, summary_type="first", summary_use_proj=True),
    "electra-base-discriminator": ELECTRA_SMALL
    | dict(embedding_size=768, hidden_size=768, intermediate_size=3072, num_attention_heads=12),
    "albert-base-v2": ALBERT_BASE,
    "deberta-base": DEBERTA_BASE,
    "deberta-base-mnli": DEBERTA_BASE
    | dict(
        architectures=["DebertaForSequenceClassification"],
        pooler_dropout=0,
        pooler_hidden_act="gelu",
        pooler_hidden_size=768,
        num_labels=3,
        id2label={"0": "a", "1": "b", "2": "c"},
    ),
    "deberta-v3-base": DEBERTA_V3_BASE,
    "deberta-v2-xlarge": DEBERTA_V3_BASE
    | dict(
        hidden_size=1536,
        num_hidden_layers=24,
        num_attention_heads=24,
        intermediate_size=6144,
        attention_head_size=64,
        conv_kernel_size=3,
        conv_act="gelu",
    ),
}
