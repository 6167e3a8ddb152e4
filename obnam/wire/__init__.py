"""What both ends agree on: pure values, limits and interfaces, imported by client and server."""
