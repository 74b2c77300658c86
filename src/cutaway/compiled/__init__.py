"""What Numba compiles: the parts once more, for few rows on a CPU. Only :mod:`.pace` can be imported without it."""

NONE, LAYER, RMS = range(3)  # kinds of norm
