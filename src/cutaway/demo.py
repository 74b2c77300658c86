"""The main job of a first run: make a small checkpoint, load it back, and let it write."""

from pathlib import Path
from typing import Annotated

import torch
import tyro

import cutaway

PROMPT = "With the cover off, a Transformer is"


def main(folder: Annotated[Path, tyro.conf.Positional] = Path("demo-model")) -> None:
    """Build a small LLaMA that reads bytes, save it to FOLDER, load it, generate from it."""
    torch.manual_seed(0)
    cutaway.save(cutaway.build("llama", vocab=256, width=128, depth=4, heads=4, hidden=352), folder)
    model = cutaway.load(folder)
    prompt = torch.tensor([list(PROMPT.encode())])
    written = model.generate(prompt, max_new_tokens=48)[0, prompt.shape[1] :]
    print(model)
    print(f"\nSaved to {folder} and loaded back: a standard checkpoint folder.")
    print(f"{PROMPT!r} goes on with {bytes(written.tolist()).decode(errors='replace')!r}")
    print("That is noise, as it should be: the weights are random, only the architecture is LLaMA's.")
    print("\nNext:")
    for words in ("show", "check", "diff gpt2"):
        print(f"  python3 run.py {words} {folder}")
    print(f'  python3 run.py generate {folder} "{PROMPT}"')


if __name__ == "__main__":
    tyro.cli(main)
