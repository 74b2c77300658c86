"""The textbook's examples: as short as there, and equal to PyTorch's own modules on the same weights."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cutaway import attention
from cutaway.parts import (
    MLP,
    Attention,
    Block,
    Context,
    EncoderDecoder,
    LayerNorm,
    PostNorm,
    PreNorm,
    Sinusoidal,
    Stack,
    Unembed,
    initialise,
)
from cutaway.scores import CAUSAL, FULL, OPEN, Padding

WIDTH, HEADS, HIDDEN, DEPTH = 24, 3, 40, 3


# ---- in a few lines ----------------------------------------------------------------------------------------------


def step(sublayer: nn.Module) -> PostNorm:
    return PostNorm(LayerNorm(WIDTH), sublayer)


def attend(cross: bool = False) -> PostNorm:
    return step(Attention(WIDTH, HEADS, cross=cross))


def feed() -> PostNorm:
    return step(MLP(WIDTH, HIDDEN))


def make_encoder(depth: int) -> Stack:
    return Stack([Block(attention=attend(), mlp=feed()) for _ in range(depth)])


def make_decoder(depth: int) -> Stack:
    return Stack([Block(attention=attend(), mlp=feed()) for _ in range(depth)], mask=CAUSAL)


def make_reader(depth: int) -> Stack:
    return Stack([Block(attention=attend(), cross=attend(cross=True), mlp=feed()) for _ in range(depth)], mask=CAUSAL)


class Translator(EncoderDecoder):
    def __init__(self, vocab: int, depth: int):
        super().__init__(None)
        self.embed, self.place = nn.Embedding(vocab, WIDTH), Sinusoidal(WIDTH)
        self.encoder, self.decoder = make_encoder(depth), make_reader(depth)
        self.head = Unembed(WIDTH, vocab, tied=self.embed)

    def encode(self, ids: Tensor, ctx: Context) -> Tensor:
        return self.encoder(self.embed(ids) + self.place(ctx.places(ids)), ctx)

    def decode(self, ids: Tensor, ctx: Context) -> Tensor:
        return self.decoder(self.embed(ids) + self.place(ctx.places(ids)), ctx)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_one_line(causal: bool) -> None:
    q, k, v = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 6)
    hidden = torch.ones(5, 5).triu(1).bool() if causal else torch.zeros(5, 5).bool()
    expected = (q @ k.mT / 8**0.5).masked_fill(hidden, -torch.inf).softmax(-1) @ v
    assert torch.allclose(attention(q, k, v, CAUSAL if causal else FULL), expected, atol=1e-6)


def test_an_encoder_sees_everything() -> None:
    encoder, x = make_encoder(DEPTH), torch.randn(2, 5, WIDTH)
    y = encoder(x)
    assert y.shape == x.shape
    x[:, 4] += 1
    assert ((encoder(x) - y).abs().amax(-1) > 1e-4).all()


def test_a_decoder_sees_nothing_ahead() -> None:
    decoder, x = make_decoder(DEPTH), torch.randn(2, 5, WIDTH)
    y = decoder(x)
    x[:, 3] += 1
    moved = (decoder(x) - y).abs().amax(-1)
    assert (moved[:, :3] == 0).all()
    assert (moved[:, 3:] > 1e-4).all()


def test_padding_is_a_rule() -> None:
    encoder, x = make_encoder(DEPTH), torch.randn(2, 5, WIDTH)
    keep = torch.tensor([[True] * 5, [True, True, True, False, False]])
    y = encoder(x, Context.of(Padding(keep)))
    assert torch.allclose(y[1, :3], encoder(x[1:, :3])[0], atol=1e-6)


def test_an_encoder_decoder_learns_to_copy() -> None:
    model = Translator(vocab=11, depth=1)
    initialise(model, 0.2)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    source = torch.randint(1, 11, (16, 4))
    target = torch.cat([torch.zeros(16, 1).long(), source[:, :-1]], 1)
    for _ in range(50):
        loss = nn.functional.cross_entropy(model.head(model(source, target)).flatten(0, 1), source.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.4  # without the source, the first tokens alone would cost more


# ---- equal to PyTorch's ------------------------------------------------------------------------------------------


def copy_attention(ours: Attention, theirs: nn.MultiheadAttention) -> None:
    weights = zip((ours.q, ours.k, ours.v), theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3), strict=True)
    for linear, weight, bias in weights:
        linear.load_state_dict({"weight": weight, "bias": bias})
    ours.o.load_state_dict(theirs.out_proj.state_dict())


def same_gradients(ours: Attention, theirs: nn.MultiheadAttention) -> None:
    for kind in ("weight", "bias"):
        got = torch.cat([getattr(linear, kind).grad for linear in (ours.q, ours.k, ours.v)])
        assert torch.allclose(got, getattr(theirs, f"in_proj_{kind}").grad, atol=1e-5)
        assert torch.allclose(getattr(ours.o, kind).grad, getattr(theirs.out_proj, kind).grad, atol=1e-5)


def scatter(module: nn.Module) -> None:
    """Weights, biases and norms that all count."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0.1, 0.4)


KEEP = torch.tensor([[True] * 6, [True, True, True, False, True, False]])


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", ["self", "causal", "cross"])
def test_multi_head_attention(kind: str, padded: bool) -> None:
    theirs, ours = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), Attention(WIDTH, HEADS)
    scatter(theirs)
    copy_attention(ours, theirs)
    y = torch.randn(2, 6, WIDTH)
    x = torch.randn(2, 4, WIDTH) if kind == "cross" else y
    rule = OPEN & Padding(KEEP) if padded else OPEN
    if kind == "cross":
        got = ours(x, Context(OPEN, memory_rule=rule), memory=y)
    else:
        got = ours(x, Context(rule & CAUSAL if kind == "causal" else rule))
    ahead = torch.ones(6, 6).triu(1).bool() if kind == "causal" else None
    expected, _ = theirs(x, y, y, key_padding_mask=~KEEP if padded else None, attn_mask=ahead)
    assert torch.allclose(got, expected, atol=1e-5)
    weight = torch.randn_like(got)
    (got * weight).sum().backward()
    (expected * weight).sum().backward()
    same_gradients(ours, theirs)


def copy_stack(ours: Stack, theirs: nn.Module) -> None:
    """The layers of a TransformerEncoder or TransformerDecoder."""
    for block, layer in zip(ours.blocks, theirs.layers, strict=True):
        copy_attention(block.attention.sublayer, layer.self_attn)
        norms = [block.attention.norm, block.mlp.norm]
        if hasattr(layer, "multihead_attn"):
            copy_attention(block.cross.sublayer, layer.multihead_attn)
            norms.insert(1, block.cross.norm)
        for i, norm in enumerate(norms, 1):
            norm.load_state_dict(getattr(layer, f"norm{i}").state_dict())
        block.mlp.sublayer.up.load_state_dict(layer.linear1.state_dict())
        block.mlp.sublayer.down.load_state_dict(layer.linear2.state_dict())
    ours.norm.load_state_dict(theirs.norm.state_dict())


def pytorchs(pre: bool) -> nn.Transformer:
    sizes = {"dim_feedforward": HIDDEN, "dropout": 0.0, "batch_first": True, "norm_first": pre}
    layer, norm = nn.TransformerEncoderLayer(WIDTH, HEADS, **sizes), nn.LayerNorm(WIDTH)
    encoder = nn.TransformerEncoder(layer, DEPTH, norm, enable_nested_tensor=False)
    return nn.Transformer(WIDTH, HEADS, num_decoder_layers=DEPTH, custom_encoder=encoder, **sizes)


def ours_in_its_place(residual: type[PostNorm] | type[PreNorm]) -> tuple[Stack, Stack]:
    """PyTorch's Transformer in our parts: a norm at the end of each half, whatever the residual form."""
    put = lambda sublayer: residual(LayerNorm(WIDTH), sublayer)
    look = lambda cross=False: put(Attention(WIDTH, HEADS, cross=cross))
    mlp = lambda: put(MLP(WIDTH, HIDDEN, "relu"))
    encode = lambda: Block(attention=look(), mlp=mlp())
    decode = lambda: Block(attention=look(), cross=look(cross=True), mlp=mlp())
    encoder = Stack([encode() for _ in range(DEPTH)], LayerNorm(WIDTH))
    return encoder, Stack([decode() for _ in range(DEPTH)], LayerNorm(WIDTH), CAUSAL)


@pytest.mark.parametrize("residual", [PostNorm, PreNorm])
def test_transformer(residual: type[PostNorm] | type[PreNorm]) -> None:
    theirs = pytorchs(pre=residual is PreNorm)
    scatter(theirs)
    encoder, decoder = ours_in_its_place(residual)
    copy_stack(encoder, theirs.encoder)
    copy_stack(decoder, theirs.decoder)
    source, target = torch.randn(2, 6, WIDTH), torch.randn(2, 5, WIDTH)
    ahead = torch.ones(5, 5).triu(1).bool()

    def ours() -> Tensor:
        read = Context(OPEN & Padding(KEEP))
        return decoder(target, Context(OPEN, memory=encoder(source, read), memory_rule=read.rule))

    def its() -> Tensor:
        hidden = {"src_key_padding_mask": ~KEEP, "memory_key_padding_mask": ~KEEP}
        return theirs(source, target, tgt_mask=ahead, **hidden)

    got, expected = ours(), its()
    assert torch.allclose(got, expected, atol=1e-5)
    weight = torch.randn_like(got)
    (got * weight).sum().backward()
    (expected * weight).sum().backward()
    for half, layers in ((encoder, theirs.encoder.layers), (decoder, theirs.decoder.layers)):
        for block, layer in zip(half.blocks, layers, strict=True):
            same_gradients(block.attention.sublayer, layer.self_attn)
            assert torch.allclose(block.mlp.sublayer.up.weight.grad, layer.linear1.weight.grad, atol=1e-5)
            assert torch.allclose(block.attention.norm.weight.grad, layer.norm1.weight.grad, atol=1e-5)
    for half in (encoder, decoder, theirs):
        half.eval()
    with torch.no_grad():  # where PyTorch takes a path of its own
        assert torch.allclose(ours(), its(), atol=1e-5)


# ---- sizes that do not fit ---------------------------------------------------------------------------------------


def tokens(*shape: int) -> Tensor:
    return torch.zeros(*shape)


@pytest.mark.parametrize(
    ("wrong", "numbers"),
    [
        (lambda: Attention(10, 3), ("10", "3")),
        (lambda: Attention(12, 6, kv_heads=4), ("4", "6")),
        (lambda: attention(tokens(5, 8), tokens(5, 7), tokens(5, 7)), ("8", "7")),
        (lambda: attention(tokens(5, 8), tokens(6, 8), tokens(4, 8)), ("6", "4")),
        (lambda: attention(tokens(1, 6, 5, 8), tokens(1, 4, 5, 8), tokens(1, 4, 5, 8)), ("6", "4")),
        (lambda: attention(tokens(5, 8), tokens(1, 5, 8), tokens(1, 5, 8)), ("2", "3")),
    ],
)
def test_sizes_that_do_not_fit_are_named(wrong: Callable[[], object], numbers: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=r"\d") as told:
        wrong()
    assert all(number in str(told.value) for number in numbers)


def test_cross_attention_needs_a_memory() -> None:
    with pytest.raises(ValueError, match="memory"):
        Attention(WIDTH, HEADS, cross=True)(torch.randn(1, 2, WIDTH))
