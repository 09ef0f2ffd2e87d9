"""Recipes: read, run, recorded, compared and timed."""
