"""Trained models, encoders and layers for other runtimes."""

from seqstride.export.write import export_model, load_trained

__all__ = ["export_model", "load_trained"]
