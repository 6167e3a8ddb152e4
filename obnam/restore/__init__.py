"""Manifest, plan, fetch, write."""
