"""One run on many devices: ranks, pieces of tensors, rings, restarts."""
