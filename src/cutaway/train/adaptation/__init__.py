"""Learning a little beside what is known: LoRA, its published format, parts that stay frozen."""
