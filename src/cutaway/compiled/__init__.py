"""What Numba compiles: the parts once more, for few rows on a CPU. Only :mod:`.pace` and :mod:`.crew` can be
imported without it."""

NONE, LAYER, RMS = range(3)  # kinds of norm
PHASES = 18  # of a layer at most, as threads count them
