"""Bytes to pieces. Fed by its caller, it opens nothing."""
