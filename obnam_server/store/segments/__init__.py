"""Segments: how one is laid out, how a body becomes one, and how they are read."""
