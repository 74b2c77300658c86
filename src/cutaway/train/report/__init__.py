"""What a run shows and writes down: metrics, displays, curves, tables."""
