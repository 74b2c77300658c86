"""The door: one class that speaks the ecosystem's words to every family's network."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .families import form
from .generate import generate
from .kernels.product import decoding
from .names import Format
from .output import Output, States, cross_entropy, replaced_loss, sequence_loss, shift_right
from .parts import Cache, Context, EncoderDecoder, Learned, Network, numbers
from .scores import OPEN, Documents, Padding
from .swift import Swift

if TYPE_CHECKING:
    from .text import Tokenizer


@dataclass
class Origin:
    """What a checkpoint says beside its architecture: kept, used by generation, and written back.

    ``kept`` are keys of config.json, ``generation`` is generation_config.json, ``ignored`` names the tensors of the
    checkpoint that this model does not use."""

    model_type: str
    kept: Mapping[str, Any] = field(default_factory=dict)
    generation: Mapping[str, Any] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def get(self, key: str) -> Any:
        """A setting, generation_config.json first; None if nobody says."""
        value = self.generation.get(key)
        return self.kept.get(key) if value is None else value


class Model(nn.Module):
    """A network with its config, its tokenizer and the ecosystem's keywords.

    Its parts are the network's: ``model.stack``, ``model.head`` read and set them."""

    def __init__(self, network: Network, origin: Origin, tokenizer: "Tokenizer | None" = None):
        super().__init__()
        self.network, self.origin, self.tokenizer = network, origin, tokenizer

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "network":
                raise
        try:
            return getattr(self.network, name)
        except AttributeError:
            raise AttributeError(f"neither the model nor its {type(self.network).__name__} has {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        inner = self._modules.get("network") if "_modules" in self.__dict__ else None
        if inner is not None and name not in self.__dict__ and hasattr(inner, name) and name != "training":
            setattr(inner, name, value)
        else:
            super().__setattr__(name, value)

    def __repr__(self) -> str:
        said = f"{numbers(self):,} parameters, {self.kind}, head {self.config.head}"
        return f"{self.origin.model_type}: {said}\n{self.network}"

    @property
    def format(self) -> Format:
        """How this model type is read and written."""
        return form(self.origin.model_type)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def limit(self) -> int | None:
        """The longest input that its position table allows; None if there is no table."""
        return min((m.length for m in self.network.modules() if isinstance(m, Learned)), default=None)

    def cache(self, capacity: int = 0) -> Cache:
        """An empty cache of keys and values for step-by-step calls."""
        return Cache(capacity, run=Swift())

    generate = generate

    def forward(
        self,
        input_ids: Int[Tensor, "B N"] | None = None,
        attention_mask: Tensor | None = None,
        *,
        token_type_ids: Int[Tensor, "B N"] | None = None,
        position_ids: Int[Tensor, "_ N"] | None = None,
        document_ids: Int[Tensor, "B N"] | None = None,
        decoder_input_ids: Int[Tensor, "B T"] | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_hidden: Float[Tensor, "B N D"] | None = None,
        labels: Tensor | None = None,
        start_positions: Int[Tensor, " B"] | None = None,
        end_positions: Int[Tensor, " B"] | None = None,
        cache: Cache | None = None,
        **unknown: object,
    ) -> Output:
        """Ids -> hidden states, logits and, with labels, the loss.

        ``attention_mask`` [B, K] is 1 for real tokens, over all slots so far when there is a cache. Tokens see those
        of their own document only where ``document_ids`` tell several in a row apart. Labels of -100 do not count; a
        decoder's are shifted here. With a ``cache``, ``input_ids`` (or ``decoder_input_ids``) are the new tokens
        only. Raises TypeError for unknown keywords, ValueError for ids or lengths out of range."""
        if self.kind == "encoder-decoder" and decoder_input_ids is None:
            decoder_input_ids, decoder_attention_mask = self.decoder_ids(
                labels, decoder_attention_mask, input_ids, attention_mask
            )
        with decoding(cache is not None):
            states = self.states(
                input_ids, attention_mask, token_type_ids=token_type_ids, position_ids=position_ids,
                document_ids=document_ids, decoder_input_ids=decoder_input_ids,
                decoder_attention_mask=decoder_attention_mask, encoder_hidden=encoder_hidden, cache=cache, **unknown,
            )  # fmt: skip
            return self.answer(states, labels, start_positions, end_positions)

    def states(
        self,
        input_ids: Int[Tensor, "B N"] | None = None,
        attention_mask: Tensor | None = None,
        *,
        token_type_ids: Int[Tensor, "B N"] | None = None,
        position_ids: Int[Tensor, "_ N"] | None = None,
        document_ids: Int[Tensor, "B N"] | None = None,
        decoder_input_ids: Int[Tensor, "B T"] | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_hidden: Float[Tensor, "B N D"] | None = None,
        cache: Cache | None = None,
        **unknown: object,
    ) -> States:
        """What the head is given: a call up to the last hidden states, with the keywords of a call."""
        extra = {"token_type_ids": token_type_ids} if token_type_ids is not None else {}
        refuse_unknown(unknown, extra, self.network)
        if self.kind == "encoder-decoder":
            if document_ids is not None:
                raise TypeError(f"a {self.origin.model_type} reads one document a row: document_ids are for one stack")
            ids = self.checked(decoder_input_ids, "decoder_input_ids")
            memory, memory_rule = self.encoded(input_ids, attention_mask, encoder_hidden)
            ctx = self.context(ids, decoder_attention_mask, position_ids, cache)
            ctx.memory, ctx.memory_rule = memory, memory_rule
            hidden = cast(EncoderDecoder, self.network).decode(ids, ctx)
            told = self.checked(input_ids, "input_ids") if self.config.head == "sequence" else ids
            return States(hidden, told, decoder_attention_mask, memory)
        if decoder_input_ids is not None or decoder_attention_mask is not None or encoder_hidden is not None:
            raise TypeError(f"{self.origin.model_type} has no decoder of its own: give input_ids and attention_mask")
        ids = self.checked(input_ids, "input_ids")
        ctx = self.context(ids, attention_mask, position_ids, cache)
        if document_ids is not None:
            ctx.rule = ctx.rule & Documents(self.told_apart(document_ids, ids, cache))
            ctx.placing = restarts(document_ids)
            ctx.positions = ctx.placing if position_ids is None else position_ids
        hidden = self.network(ids, ctx, **{self.network.extras[k]: v for k, v in extra.items()})
        return States(hidden, ids, attention_mask)

    @staticmethod
    def told_apart(documents: Tensor, ids: Tensor, cache: Cache | None) -> Tensor:
        """``documents`` if they name each token's document."""
        if cache is not None:
            raise ValueError("document_ids name the documents of a whole row, so they cannot go with a cache")
        if documents.shape != ids.shape:
            raise ValueError(f"document_ids must be {list(ids.shape)} as the ids are, got {list(documents.shape)}")
        return documents

    def encoded(self, ids: Tensor | None, mask: Tensor | None, hidden: Tensor | None) -> tuple[Tensor, Any]:
        """The memory [B, M, D] and the rule under which it is read."""
        if hidden is None:
            ids = self.checked(ids, "input_ids")
            hidden = cast(EncoderDecoder, self.network).encode(ids, self.context(ids, mask, None, None))
        return hidden, self.padding(mask, hidden.shape[:2], 0)

    def decoder_ids(
        self, labels: Tensor | None, mask: Tensor | None, source: Tensor | None, source_mask: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The labels shifted right, with their mask; a classifier and an extractor read the source a second time."""
        if self.config.head in ("sequence", "question"):
            labels, mask = source, source_mask
        if labels is None:
            raise ValueError("an encoder-decoder needs decoder_input_ids, or labels to make them from")
        start = None if self.network.wraps else self.token("decoder_start_token_id")
        return shift_right(labels, self.token("pad_token_id"), start, mask), mask

    def token(self, key: str) -> int:
        """A special token that the config must name."""
        value = self.origin.get(key)
        if not isinstance(value, int):
            raise ValueError(f"this needs one {key} in config.json, which has {value!r}; or give decoder_input_ids")
        return value

    def checked(self, ids: Tensor | None, name: str) -> Tensor:
        """``ids`` if they are a [B, N] tensor of ids that the vocabulary has."""
        if ids is None:
            raise ValueError(f"{self.origin.model_type} needs {name} [B, N]")
        if ids.ndim != 2 or ids.is_floating_point():
            raise ValueError(f"{name} must be integers of shape [B, N], got {ids.dtype} {list(ids.shape)}")
        if ids.numel() and not torch.compiler.is_compiling():
            low, high, vocab = int(ids.min()), int(ids.max()), self.config.vocab
            if name == "input_ids" and self.network.source_vocab is not None:
                vocab = self.network.source_vocab
            if low < 0 or high >= vocab:
                wrong = low if low < 0 else high
                raise ValueError(f"{name} holds id {wrong}, but the vocabulary has {vocab} (0 to {vocab - 1})")
        return ids

    def context(self, ids: Tensor, mask: Tensor | None, positions: Tensor | None, cache: Cache | None) -> Context:
        """Positions and a rule, from the attention mask."""
        at = 0 if cache is None else cache.length
        stop = at + ids.shape[1]
        if self.limit is not None and stop > self.limit and (mask is None or int(mask.sum(-1).max()) > self.limit):
            raise ValueError(f"{stop} tokens are too long: this model has positions for {self.limit}")
        rule, placing = self.padding(mask, (ids.shape[0], stop), at), None
        if mask is not None and rule is not OPEN:
            placing = (mask.long().cumsum(-1) - 1).clamp(min=0)
            positions = placing[:, at:] if positions is None else positions
        return Context(rule, positions, placing, at, cache=cache)

    @staticmethod
    def padding(mask: Tensor | None, shape: tuple[int, ...], at: int) -> Any:
        """The rule that hides padding."""
        if mask is None:
            return OPEN
        if tuple(mask.shape) != tuple(shape):
            note = f" ({at} slots in the cache and {shape[1] - at} new)" if at else ""
            raise ValueError(f"the attention mask must be {list(shape)}{note}, got {list(mask.shape)}")
        keep = mask.bool()
        return OPEN if keep.all() else OPEN & Padding(keep)

    def answer(
        self, states: States, labels: Tensor | None = None, start: Tensor | None = None, end: Tensor | None = None
    ) -> Output:
        """What the head makes of the hidden states."""
        hidden, ids, mask = states.hidden, states.ids, states.mask
        out, head = Output(hidden, encoder_hidden=states.memory), self.network.head
        if head is None:
            return out
        if self.config.head == "base":
            out.pooled = head(self.summary(hidden, ids, mask))
        elif self.config.head == "question":
            out.start_logits, out.end_logits = head(hidden).unbind(-1)
            if start is not None and end is not None:
                out.loss = (cross_entropy(out.start_logits, start) + cross_entropy(out.end_logits, end)) / 2
        elif self.config.head == "sequence":
            out.logits = head(self.summary(hidden, ids, mask))
            kind = self.origin.kept.get("problem_type")
            out.loss = None if labels is None else sequence_loss(out.logits, labels, kind)
        elif self.config.head == "replaced":
            out.logits = head(hidden).squeeze(-1)
            out.loss = None if labels is None else replaced_loss(out.logits, labels, mask)
        else:
            out.logits = head(hidden)
            if labels is not None and self.kind == "decoder":
                out.loss = cross_entropy(out.logits[:, :-1], labels[:, 1:])
            elif labels is not None:
                out.loss = cross_entropy(out.logits, labels)
        return out

    def summary(self, hidden: Tensor, ids: Tensor, mask: Tensor | None) -> Float[Tensor, "B D"]:
        """The hidden state of the token that stands for the sequence: the first real one, or the last end."""
        if self.network.summary == "eos":
            if ids.shape != hidden.shape[:2]:
                raise ValueError(f"{ids.shape[1]} input_ids need as many decoder_input_ids, got {hidden.shape[1]}")
            ends = (ids == self.token("eos_token_id")).long()
            if not ends.any(-1).all():
                raise ValueError("every sequence needs an end token: its hidden state is what is classified")
            slot = ids.shape[1] - 1 - ends.flip(-1).argmax(-1)
        else:
            slot = (torch.ones_like(ids) if mask is None else mask.long()).argmax(-1)
        return hidden[torch.arange(len(hidden), device=hidden.device), slot]


def restarts(documents: Int[Tensor, "B N"]) -> Int[Tensor, "B N"]:
    """Positions that begin again at 0 where another document begins."""
    slots = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return slots - torch.where(begins, slots, 0).cummax(-1).values


def refuse_unknown(unknown: Mapping[str, object], extra: Mapping[str, object], network: Network) -> None:
    """Raises TypeError for a keyword that the door, or this network, does not have, with the nearest that it has."""
    valid = [n for n in Model.forward.__annotations__ if n not in ("return", "unknown", "token_type_ids")]
    for name in [*unknown, *(n for n in extra if n not in network.extras)]:
        near = difflib.get_close_matches(name, [*valid, *network.extras], 1)
        hint = f"; did you mean {near[0]}?" if near else f"; it takes {', '.join([*valid, *network.extras])}"
        raise TypeError(f"{type(network).__name__} has no keyword {name!r}{hint}")
