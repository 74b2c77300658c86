"""What a training step would take, before it runs."""
