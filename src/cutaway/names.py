"""One table, both ways: a published checkpoint's config keys, tensor names and layouts against ours.

A template says ``{i}`` for a number, ``{p}`` for weight or bias, ``{x:q|k|v}`` for one of several words, and
``{q,k,v}`` for several tensors of ours that are one tensor of theirs. Templates, unlike regular expressions, can
be read backwards."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

KINDS = {"i": r"\d+", "j": r"\d+", "p": "weight|bias"}
HOLE = re.compile(r"\{(\w+)(?::([^}]*))?\}")
MANY = re.compile(r"\{(\w+(?:,\w+)+)\}")


# ---- tensors -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layout:
    """A reversible change of layout: one tensor of theirs, a list of ours. The two functions are inverse."""

    load: Callable[[Tensor], list[Tensor]] = lambda t: [t]
    save: Callable[[list[Tensor]], Tensor] = lambda ts: ts[0]

    def __rshift__(self, other: "Layout") -> "Layout":
        return Layout(lambda t: other.load(self.load(t)[0]), lambda ts: self.save([other.save(ts)]))


same = Layout()
flip = Layout(lambda t: [t.T if t.ndim == 2 else t], lambda ts: ts[0].T if ts[0].ndim == 2 else ts[0])


def chunks(*sizes: int) -> Layout:
    """Ours one after the other along the first axis, of these sizes."""
    return Layout(lambda t: list(t.split(sizes)), torch.cat)


def thirds(n: int = 3) -> Layout:
    """``n`` of ours, equally large, one after the other along the first axis."""
    return Layout(lambda t: list(t.chunk(n)), torch.cat)


def by_head(heads: int, n: int = 3) -> Layout:
    """Rows ordered head, then q k v, then channel (GPT-NeoX, BLOOM, DeBERTa v1)."""
    return Layout(
        lambda t: [x.flatten(0, 1) for x in t.unflatten(0, (heads, n, -1)).unbind(1)],
        lambda ts: torch.stack([t.unflatten(0, (heads, -1)) for t in ts], 1).flatten(0, 2),
    )


@dataclass(frozen=True)
class Row:
    """One line of the table: their template, ours, and the layout between them.

    ``also`` lists other spellings of theirs, which are read and never written."""

    theirs: str
    ours: str
    layout: Layout = same
    also: tuple[str, ...] = ()

    @property
    def parts(self) -> list[str]:
        """Brace expansion: the templates of each of our tensors, in order."""
        m = MANY.search(self.ours)
        return [self.ours] if not m else [self.ours[: m.start()] + w + self.ours[m.end() :] for w in m[1].split(",")]

    def match(self, template: str, name: str) -> dict[str, str] | None:
        """The values of the holes if ``name`` fits ``template``, one of this row's."""
        found = pattern(template, self.theirs + self.ours).fullmatch(name)
        return found and found.groupdict()

    @staticmethod
    def fill(template: str, values: Mapping[str, str]) -> str:
        return HOLE.sub(lambda m: values[m[1]], template)


@cache
def pattern(template: str, row: str) -> re.Pattern[str]:
    """A template as a regular expression; a hole may be described anywhere in its row."""
    kinds, seen = KINDS | {n: p for n, p in HOLE.findall(row) if p}, set()

    def hole(m: re.Match[str]) -> str:
        first = m[1] not in seen
        seen.add(m[1])
        return f"(?P<{m[1]}>{kinds[m[1]]})" if first else f"(?P={m[1]})"

    pieces = re.split(r"(\{[^}]*\})", template)
    return re.compile("".join(HOLE.sub(hole, s) if s[:1] == "{" else re.escape(s) for s in pieces))


def load(rows: Sequence[Row], theirs: Mapping[str, Tensor], ignore: Sequence[str] = ()) -> dict[str, Tensor]:
    """Their tensors as ours. Raises KeyError for one with no row or two, ValueError for two that should be the same."""
    ours: dict[str, Tensor] = {}
    unknown = []
    for name in theirs:
        hits = [(row, m) for row in rows for t in (row.theirs, *row.also) if (m := row.match(t, name)) is not None]
        if len(hits) > 1:
            raise KeyError(f"tensor {name} fits {len(hits)} rows: {', '.join(r.theirs for r, _ in hits)}")
        if hits:
            ((row, values),) = hits
            for t, tensor in zip(row.parts, row.layout.load(theirs[name]), strict=True):
                filled = row.fill(t, values)
                if filled in ours and not torch.equal(ours[filled], tensor):
                    raise ValueError(f"the checkpoint holds two different tensors for {filled}: {name} is one")
                ours[filled] = tensor
        elif not any(re.fullmatch(p, name) for p in ignore):
            unknown.append(name)
    if unknown:
        raise KeyError(f"{some(unknown)} in the checkpoint, which this architecture has no place for")
    return ours


def save(rows: Sequence[Row], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under their names, in their layout. Raises KeyError for tensors that no row takes."""
    theirs, left = {}, dict(ours)
    for row in rows:
        first, *_ = row.parts
        for name in list(left):
            if (values := row.match(first, name)) is not None:
                theirs[row.fill(row.theirs, values)] = row.layout.save(
                    [left.pop(row.fill(t, values)) for t in row.parts]
                )
    if left:
        raise KeyError(f"{some(sorted(left))} of ours, which the published format has no place for")
    return theirs


def some(names: Sequence[str], most: int = 5) -> str:
    """``3 tensors (a, b, c)`` for messages."""
    shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    return f"{len(names)} tensor{'s' * (len(names) != 1)} ({shown})"


# ---- configurations ----------------------------------------------------------------------------

# Keys that do not change what the network computes: kept, and written back as they came.
KEPT = frozenset(
    """
    _name_or_path _num_labels architectures auto_map bad_words_ids begin_suppress_tokens bos_token_id
    chunk_size_feed_forward cls_token_id custom_pipelines decoder_bos_token_id decoder_start_token_id
    diversity_penalty do_sample dtype early_stopping encoder_no_repeat_ngram_size eos_token_id
    exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id
    gradient_checkpointing id2label is_encoder_decoder label2id length_penalty mask_token_id max_length
    min_length model_type name_or_path no_repeat_ngram_size num_beam_groups num_beams num_labels
    num_return_sequences output_attentions output_hidden_states output_past output_scores pad_token_id prefix
    problem_type remove_invalid_values repetition_penalty return_dict return_dict_in_generate sep_token_id
    suppress_tokens task_specific_params temperature tf_legacy_loss tokenizer_class top_k top_p torch_dtype
    torchscript transformers_version typical_p unk_token_id use_bfloat16 use_cache
    """.split()  # noqa: SIM905 (a table of words reads better than one of quotes)
)
# Keys that would change it, in any family, were they anything else.
OFF: dict[str, Any] = dict(
    add_cross_attention=False,
    cross_attention_hidden_size=None,
    is_decoder=False,
    pruned_heads={},
    tie_encoder_decoder=False,
)


@dataclass(frozen=True)
class Field:
    """One of our config fields, with the way to read it from their value and to write it back."""

    ours: str
    load: Callable[[Any], Any]
    save: Callable[[Any], Any]


@dataclass(frozen=True)
class Group:
    """Several keys of theirs that only make sense together: those present -> our fields, our config -> theirs."""

    keys: tuple[str, ...]
    load: Callable[[dict[str, Any]], dict[str, Any]]
    save: Callable[[Any], dict[str, Any]]


@dataclass(frozen=True)
class Format:
    """How one published model type writes a family, both ways.

    ``fields`` maps their config keys to ours: a name, or a :class:`Field`; ``groups`` are keys read together.
    ``fixed`` says what a key must be: a value, a tuple of values that mean the same, or ``...`` for a key that means
    nothing here. ``defaults`` are their values for absent keys, where our Config has others; ``sizes`` are published
    sizes by name, in fields of our Config.
    ``rows`` are the body's tensors, which have ``prefix`` when there is a head; ``head_rows`` the head's.
    ``heads`` maps their class names to our heads, the usual one first. ``ignore`` are patterns of tensors that hold
    no parameter of ours (buffers, heads that were not asked for)."""

    rows: Callable[[Any], list[Row]]
    heads: dict[str, str]
    fields: Mapping[str, str | Field]
    head_rows: Callable[[Any], list[Row]] = lambda c: []
    prefix: str = ""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()
    ignore: tuple[str, ...] = ()
    sizes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def read(self, theirs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Their configuration as our keyword arguments, and the keys that are only kept.

        Raises ValueError naming every key that is unknown or has a value this family does not do."""
        given = {**self.defaults, **theirs}
        fixed = {**OFF, **self.fixed}
        known = self.fields.keys() | {k for group in self.groups for k in group.keys}
        wrong = {k: given[k] for k, v in fixed.items() if k in given and k not in known and not fits(given[k], v)}
        odd = {k: v for k, v in given.items() if v is not None and k not in known | fixed.keys() | KEPT}
        if wrong or odd:
            said = [f"{k} = {v!r} (only {only(fixed[k])} is built)" for k, v in wrong.items()]
            said += [f"{k} = {v!r} (unknown key)" for k, v in odd.items()]
            raise ValueError(f"config.json asks for what this family does not do: {'; '.join(said)}")
        ours: dict[str, Any] = {}
        for key, to in self.fields.items():
            if given.get(key) is not None:
                ours |= {to.ours: to.load(given[key])} if isinstance(to, Field) else {to: given[key]}
        for group in self.groups:
            ours |= group.load({k: given[k] for k in group.keys if given.get(k) is not None})
        kept = {k: v for k, v in given.items() if k in KEPT or self.fixed.get(k) is ...}
        return ours | self.task(theirs), kept

    def task(self, theirs: Mapping[str, Any]) -> dict[str, Any]:
        """The head that their ``architectures`` ask for, and its number of labels."""
        name = (theirs.get("architectures") or list(self.heads))[0]
        if name not in self.heads:
            raise ValueError(f"architecture {name!r} is not built; this model type has: {', '.join(self.heads)}")
        head = self.heads[name]
        if head not in ("sequence", "token"):
            return {"head": head}
        return {
            "head": head,
            "labels": len(theirs["id2label"]) if theirs.get("id2label") else theirs.get("num_labels", 2),
        }

    def write(self, ours: Any, model_type: str, kept: Mapping[str, Any]) -> dict[str, Any]:
        """Our configuration as theirs; reading it gives ours again."""
        theirs = {k: v for k, v in self.fixed.items() if v is not ... and not isinstance(v, tuple)}
        known = {f.name: getattr(ours, f.name) for f in fields(ours)}
        for key, to in self.fields.items():
            theirs[key] = to.save(known[to.ours]) if isinstance(to, Field) else known[to]
        for group in self.groups:
            theirs |= group.save(ours)
        if known["head"] in ("sequence", "token") and len(kept.get("id2label") or ()) != known["labels"]:
            names = {str(i): f"LABEL_{i}" for i in range(known["labels"])}
            kept = {**kept, "id2label": names, "label2id": {v: int(k) for k, v in names.items()}}
        architecture = next(name for name, head in self.heads.items() if head == known["head"])
        return {**kept, **theirs, "model_type": model_type, "architectures": [architecture]}

    def table(self, c: Any) -> list[Row]:
        """All rows, for reading: bodies come with or without their prefix, whatever the head."""
        body = self.rows(c)
        rows = [replace(r, also=(*r.also, *(self.prefix + t for t in (r.theirs, *r.also)))) for r in body]
        return [*(rows if self.prefix else body), *self.head_rows(c)]

    def load(self, c: Any, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Their tensors as ours."""
        return load(self.table(c), theirs, self.ignore)

    def ignored(self, c: Any, names: Iterable[str]) -> tuple[str, ...]:
        """The tensors of a checkpoint that hold nothing for us."""
        spellings = [(row, t) for row in self.table(c) for t in (row.theirs, *row.also)]
        return tuple(sorted(n for n in names if all(row.match(t, n) is None for row, t in spellings)))

    def save(self, c: Any, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our tensors as theirs."""
        prefix = "" if c.head == "base" else self.prefix
        return save([*(replace(r, theirs=prefix + r.theirs) for r in self.rows(c)), *self.head_rows(c)], ours)


def fits(value: Any, allowed: Any) -> bool:
    return allowed is ... or value in (allowed if isinstance(allowed, tuple) else (allowed,))


def only(allowed: Any) -> str:
    return " or ".join(map(repr, allowed if isinstance(allowed, tuple) else (allowed,)))
