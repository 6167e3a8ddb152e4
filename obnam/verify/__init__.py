"""Checks a generation against what it says it holds."""
