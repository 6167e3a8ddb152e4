"""How large bodies move, the same at both ends: over TLS and Unix sockets, past needless copies."""
