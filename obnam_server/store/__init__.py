"""The storage engine of the chunk server: no Twisted, no HTTP."""
