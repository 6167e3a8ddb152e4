"""Keys, names and seals: the only user of PyNaCl and blake3."""
