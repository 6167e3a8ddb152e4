"""Looks at generations: list, resolve, show."""
