"""Trained models in results folders, and their application to recordings."""
