"""Trained models: each in a folder, and what it says about recordings."""
