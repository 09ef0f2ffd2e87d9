"""SpeechBrain `Brain` subclasses, one file per task."""

from seqstride.brains.classification import ClassificationBrain

__all__ = ["ClassificationBrain"]
