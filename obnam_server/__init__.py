"""The chunk server: site, authentication, API, store."""
