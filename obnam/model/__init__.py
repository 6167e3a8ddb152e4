"""The design's words as frozen values; no input or output."""
