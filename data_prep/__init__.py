"""Prepares data: each module turns a public data set, or your own recordings, into SpeechBrain manifests.

The modules share `manifest`, `audio_check` and `download`.
"""
