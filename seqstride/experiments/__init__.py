"""Recipes: how they are read, run, recorded, compared and timed."""
