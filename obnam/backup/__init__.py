"""Scan, plan, seal, upload, commit."""
