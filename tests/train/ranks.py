"""What torchrun starts in the tests: every way of sharing a step against one process, some ranks' pieces on others.

``ranks.py FOLDER`` writes what it found to FOLDER/SIZE.json; two ranks also write pieces, four read them."""

import json
import sys
from pathlib import Path

import torch
from left import TASKS, threads

import cutaway
from cutaway.kernels.softmax import Softmax, eager
from cutaway.output import IGNORED
from cutaway.scores import CAUSAL, OPEN, Documents, Prefix, Slope, Table, window
from cutaway.train.learner import Learner
from cutaway.train.ranks.parallel import prepare
from cutaway.train.ranks.pieces import Reader, gather, norm, pieces, restore, table
from cutaway.train.ranks.ring import Ring
from cutaway.train.ranks.world import Parallel, World, accumulating, cut
from cutaway.weights.safetensors import write_safetensors

TINY = {
    "gpt2": dict(
        vocab=61, width=32, depth=2, heads=4, length=32, dropout=0.0, embed_dropout=0.0, attention_dropout=0.0
    ),
    "qwen3": dict(vocab=61, width=32, depth=2, heads=4, kv_heads=2, head_dim=16, hidden=48),
}
STEPS, MICRO, ROWS, LENGTH = 5, 2, 4, 16


def learner(name: str) -> Learner:
    torch.manual_seed(1)
    model = cutaway.build(name, **TINY[name])
    for parameter in model.parameters():  # nothing stays at 0 or 1
        parameter.data += 0.1 * torch.randn_like(parameter)
    return Learner(model)


def batches(step: int) -> list[tuple[dict[str, torch.Tensor], torch.Tensor]]:
    """Micro-batches of packed, padded rows with few and unevenly spread targets."""
    random = torch.Generator().manual_seed(step)
    made = []
    for _ in range(MICRO):
        ids, targets = torch.randint(0, 61, (2, ROWS, LENGTH), generator=random)
        kept = torch.rand(ROWS, LENGTH, generator=random) < torch.arange(1, ROWS + 1)[:, None] / (ROWS + 1)
        real = torch.arange(LENGTH) < torch.tensor([LENGTH, LENGTH, 13, 9])[:, None]
        documents = (torch.arange(LENGTH) // 5).expand(ROWS, LENGTH)
        inputs = {"input_ids": ids, "attention_mask": real.long(), "document_ids": documents}
        made.append((inputs, targets.masked_fill(~(kept & real), IGNORED)))
    return made


def train(
    name: str, world: World
) -> tuple[list[float], dict[str, torch.Tensor], torch.nn.Module, torch.optim.Optimizer]:
    """The losses and norms of the steps, the first step's whole gradients, and what was trained."""
    module = learner(name)
    prepared = prepare(module, world)
    prepared.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    figures: list[float] = []
    first: dict[str, torch.Tensor] = {}
    for step in range(STEPS):
        index, count = world.rows
        shares = [({k: v[index::count] for k, v in i.items()}, t[index::count]) for i, t in batches(step)]
        shares = [cut(*share, world) for share in shares]
        targets = world.sum(torch.tensor(float(sum((t != IGNORED).sum() for _, t in shares))))
        total = torch.zeros(())
        for i, (inputs, goal) in enumerate(shares):
            with accumulating(prepared, more=i < MICRO - 1):
                loss = prepared(inputs, goal) / targets
                loss.backward()
            total += loss.detach()
        gradients = {n: p.grad for n, p in module.named_parameters()}
        first = first if step else gather(gradients, world)
        figures += [float(world.sum(total)), float(norm(gradients, world))]
        optimizer.step()
        optimizer.zero_grad()
    return figures, first, module, optimizer


def state(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    names = {p: n for n, p in module.named_parameters()}
    found = dict(module.state_dict())
    for parameter, entry in optimizer.state.items():
        found |= {f"{names[parameter]}.{key}": value for key, value in entry.items()}
    return found


def compare(world: World, name: str, alone: tuple) -> dict[str, float]:
    figures, gradients, *_ = train(name, world)
    worst = max(abs(a - b) for a, b in zip(figures, alone[0], strict=True))
    off = [float((gradients[n] - g).abs().max()) for n, g in alone[1].items()] if world.first else [0.0]
    return {"figures": worst, "gradients": max(off)}


def ways(size: int) -> dict[str, tuple[str, Parallel]]:
    """A name, a model and how it is shared."""
    if size == 2:
        return {
            "tensor": ("gpt2", Parallel(tensor=2)),
            "tensor, shared key heads, normed": ("qwen3", Parallel(tensor=2)),
            "ring, shared key heads": ("qwen3", Parallel(sequence=2)),
        }
    return {
        "ddp": ("gpt2", Parallel()),
        "fsdp, tied head": ("gpt2", Parallel("fsdp")),
        "fsdp x tensor": ("qwen3", Parallel("fsdp", tensor=2)),
        "ring": ("gpt2", Parallel(sequence=4)),
        "fsdp x ring x tensor": ("qwen3", Parallel("fsdp", tensor=2, sequence=2)),
    }


def write(folder: Path, world: World) -> None:
    folder.mkdir(exist_ok=True)
    world.wait()
    _, _, module, optimizer = train("qwen3", world)
    held = state(module, optimizer)
    mine = pieces(held, world)
    file = folder / f"rank_{world.rank:05}.safetensors"
    write_safetensors(file, {n: p.tensor for n, p in mine.items()}, {})
    file.with_suffix(".json").write_text(json.dumps(table(mine)))
    whole = gather(held, world)
    if world.first:
        torch.save(whole, folder / "whole.pt")
    world.wait()


def reader(folder: Path) -> Reader:
    files = sorted(folder.glob("rank_*.safetensors"))
    return Reader({file: json.loads(file.with_suffix(".json").read_text()) for file in files})


def read(folder: Path, world: World) -> bool:
    """Whether a fresh learner and optimiser on these ranks get the very numbers that others wrote."""
    module = learner("qwen3")
    prepare(module, world)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    held = state(module, optimizer)
    restore(held, reader(folder))
    whole = gather(held, world)
    expected = torch.load(folder / "whole.pt")
    return not world.first or (whole.keys() == expected.keys() and all(whole[n].equal(expected[n]) for n in whole))


def rings(world: World) -> dict[str, float]:
    """Every kind of rule: outputs and gradients of the ring against the formula written out, on the whole sequence."""
    length, heads, found = 12, 4, {}
    random = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=random)
    table, document = torch.nn.Parameter(draw(7, heads)), (torch.arange(length) // 5).expand(2, -1)
    relative = Table(table, lambda distance: distance.clamp(-3, 3) + 3)
    rules = {
        "full": OPEN,
        "causal": OPEN & CAUSAL,
        "window": OPEN & window(3),
        "ahead": OPEN & ~CAUSAL,  # the last query sees nothing
        "prefix or documents": OPEN & (Prefix(2) | Documents(document)),
        "slope": OPEN & CAUSAL + Slope(torch.tensor([0.5, 0.25, 0.1, 0.0])),
        "learned": OPEN & CAUSAL + relative,
        "capped": (OPEN & window(7) + relative).capped(2.0),
    }
    whole = [draw(2, n, length, d).requires_grad_() for n, d in ((heads, 8), (2, 8), (2, 6))]
    upstream = draw(2, heads, length, 6)
    step = length // world.size
    here = slice(world.rank * step, (world.rank + 1) * step)
    for name, rule in rules.items():
        expected = eager(*whole, rule, 0.3)
        expected.backward(upstream)
        wanted = [t.grad[:, :, here] for t in whole] + ([] if table.grad is None else [table.grad])
        for t in [*whole, table]:
            t.grad = None
        mine = [t.detach()[:, :, here].requires_grad_() for t in whole]
        local = OPEN & (Prefix(2) | Documents(document[:, here])) if "documents" in name else rule
        out = Ring(Softmax(0.3), world.ring)(*mine, local)
        out.backward(upstream[:, :, here])
        got = [t.grad for t in mine] + ([] if table.grad is None else [world.sum(table.grad)])
        table.grad = None
        pairs = [(out, expected[:, :, here]), *zip(got, wanted, strict=True)]
        found[name] = float(world.everywhere(torch.stack([(a - b).abs().max() for a, b in pairs]).max().detach()))
    return found


def refused(**wrong: str) -> bool:
    """Whether these are refused by themselves: under the tests' type checks nobody gets as far."""
    try:
        Parallel(**wrong)
    except ValueError:
        return True
    return False


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    world = World.from_environment(timeout=60)
    found: dict[str, object] = {}
    alone = {name: train(name, World()) for name in TINY}
    for way, (name, how) in ways(world.size).items():
        found[way] = compare(World.from_environment(how), name, alone[name])
    write(folder / f"of_{world.size}", World.from_environment(Parallel("fsdp", tensor=world.size // 2)))
    if world.size == 2:
        found["words are known"] = refused(data="dp") and refused(data="fsdp", gathered="float16")
        found |= {f"ring, {rule}": off for rule, off in rings(World.from_environment(Parallel(sequence=2))).items()}
    if world.size == 4:
        for how in (Parallel(), Parallel("fsdp"), Parallel("fsdp", tensor=2)):
            found[f"read by {how}"] = read(folder / "of_2", World.from_environment(how))
    if world.first:
        (folder / f"{world.size}.json").write_text(json.dumps(found))
    assert threads() or not TASKS.is_dir()
    world.close()
    assert not threads()


if __name__ == "__main__":
    main()
