"""The `obnam-server` command."""
