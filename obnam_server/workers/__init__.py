"""Worker processes: they carry what is large, and share the listening ports (``workers: N``).

The *owner* is the server's first process. It has the store, decides everything, and answers every
request, through a Unix socket here, as it would without workers. A *worker* accepts
connections, speaks TLS and HTTP with clients, and passes requests on. Only the bytes of sealed
chunks do not go through the owner: a worker writes them into a file that the owner has begun, and
reads them where the owner says they lie. See ``docs/decisions/0005-workers-carry.md``.

In the owner: `crew` (the processes), `desk` (what they ask for), `desk_site` (their connections).
In a worker: `service`, `channel` and `request` (clients), `line` (the owner), `carrying` (bytes).
`messages` is what both say to each other.
"""
