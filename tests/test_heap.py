"""What a step frees is there for the next one, and goes back to the system at the end."""

import ctypes
import platform
import resource
import subprocess
import sys

import pytest
import torch

from cutaway.heap import keeping

BYTES = 96 * 2**20
PAGES = BYTES // resource.getpagesize()


def faults() -> int:
    """Pages that the system had to give, for a large tensor that is written and dropped."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(BYTES, dtype=torch.uint8).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_pages_are_asked_for_once():
    with keeping() as able:
        kept = min(faults() for _ in range(5))  # a hole that a small block has bitten into is not used again
    assert able == (platform.libc_ver()[0] == "glibc")
    if able:
        assert kept < PAGES / 100
        assert faults() > PAGES / 2, "the end of the block gives them back"


PASSES = """
import resource, torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.zeros(2**24, dtype=torch.uint8).add_(1) for _ in range(6)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
if MODEL:
    import cutaway
    cutaway.build("gpt2", vocab=8, width=16, depth=1, heads=1, length=8)
faults()
print(faults() * resource.getpagesize())
"""


@pytest.mark.parametrize("model", [True, False])
def test_who_makes_a_model_keeps_the_blocks_of_a_pass(model):
    code = PASSES.replace("MODEL", str(model))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    asked = int(done.stdout)
    if platform.libc_ver()[0] == "glibc":
        assert asked < 2**25 if model else asked > 2**26  # of 96 MiB; a hole may have been bitten into


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(ctypes, "CDLL", None)
    with keeping() as able:
        assert not able
