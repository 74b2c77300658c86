"""Training: recipes, objectives, the loop, and what it leaves behind."""
