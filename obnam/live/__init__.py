"""The file system, blocking: scan, read, and write back."""
