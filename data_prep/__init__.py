"""Preparation of data: each module turns one public set, or your own recordings, into SpeechBrain manifests.

`manifest`, `audio` and `download` are what they share.
"""
