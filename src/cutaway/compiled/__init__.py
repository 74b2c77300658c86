"""What Numba compiles: the parts once more, for few rows on a CPU. Only :mod:`.pace` can be imported without it."""
