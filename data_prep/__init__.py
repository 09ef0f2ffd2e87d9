"""Preparation of data sets: each module turns one public set into SpeechBrain manifests."""
