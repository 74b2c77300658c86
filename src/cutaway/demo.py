"""The main job of a first run: make a small checkpoint, load it back, and let it write."""

import shlex
from pathlib import Path
from typing import Annotated

import torch
import tyro

import cutaway
from cutaway.text import Tokenizer

PROMPT = "With the cover off, a Transformer is"


def main(folder: Annotated[Path, tyro.conf.Positional] = Path("demo-model")) -> None:
    """Build a small LLaMA that reads bytes, save it to FOLDER, load it, generate from it."""
    torch.manual_seed(0)
    made = cutaway.build("llama", vocab=259, width=128, depth=4, heads=4, hidden=352)
    made.tokenizer = Tokenizer.bytes()
    cutaway.save(made, folder)
    model = cutaway.load(folder)
    written = model.generate(PROMPT, max_new_tokens=40, temperature=1, seed=0)
    print(model)
    print(f"\nMade, saved to {folder} and loaded back. It goes on with the prompt, byte by byte:\n\n{written!r}")
    print("\nThat is noise, as it has to be: the architecture is LLaMA's, the weights are random. Next:\n")
    there = shlex.quote(str(folder))
    for words in (f"show {there}", f"check {there}", f"diff gpt2 {there}", f'generate {there} "{PROMPT}"'):
        print("python3 run.py", words)


if __name__ == "__main__":
    tyro.cli(main)
