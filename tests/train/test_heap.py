"""What a step frees is there for the next one, and goes back to the system at the end."""

import ctypes
import platform
import resource

import torch

from cutaway.train.heap import keeping

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


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(ctypes, "CDLL", None)
    with keeping() as able:
        assert not able
