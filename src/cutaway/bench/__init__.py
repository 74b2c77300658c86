"""Measuring this machine, Cutaway and its peers in one run, in turns: the same weights, inputs, threads and dtypes."""
