"""How large and how long anything on the wire may be. Both ends import this module.

Each limit is checked by the sender's code before it sends and by the receiver before it
believes; lengths are in bytes unless the name says otherwise.
"""

MIB = 1 << 20

SEALED_CHUNK_MAX = 4 * MIB
"""One sealed chunk. The cutter's largest piece is 2 MiB; header, tag and padding come on top."""

UPLOAD_BODY_MAX = 16 * MIB
"""Body of ``POST /v1/chunks``: one segment on the server. Larger ones were not faster."""

FETCH_IDS_MAX = 4096
"""Ids in one ``POST /v1/chunks/fetch``."""

FETCH_BODY_MAX = 64 * MIB
"""Sum of the frames in one answer to ``POST /v1/chunks/fetch``."""

MISSING_IDS_MAX = 4096
"""Ids in one ``POST /v1/chunks/missing``."""

REFERENCE_IDS_MAX = 65_536
"""Ids in one ``POST /v1/sessions/ID/references`` (2.1 MiB)."""

COMMIT_REFUSED_IDS_MAX = 100
"""Ids of missing chunks that a refused commit names."""

MANIFEST_MAX = 4 * MIB
"""One sealed manifest: a page map of 10,000 runs has about 300 KB."""

JSON_BODY_MAX = 8 * MIB
"""A JSON request or answer, large enough for a manifest in base64."""

GENERATIONS_PAGE_MAX = 1000
"""Generations in one answer of ``GET /v1/generations``; the next page is asked for."""

GENERATIONS_MAX = 1_000_000
"""Generations that a client lists, of all pages together: what a server makes up must have an end.
A gigabyte of memory, and more than a hundred years of one that is made every hour."""

KEYRING_SLOTS_MAX = 32
KEYRING_SLOT_MAX = 4096
"""One sealed slot of the keyring."""

QUOTA_WARNING_SHARE = 0.9
"""From this share of a repository's quota on, clients and the server warn of it."""

TEXT_MAX = 1024
"""Any short text: a label, a description, an error's detail (characters)."""

PIN_REASON_MAX = 256
"""The reason of a pin (characters). A page of generations has a thousand of them, at up to 12
bytes each in JSON, and must stay below ``JSON_BODY_MAX``."""

SESSION_IDLE_S = 24 * 3600.0
"""A session that no request has named for this long is forgotten."""

SILENCE_S = 60.0
"""No byte from the other end for this long ends a request or a connection."""

SLOWEST_LINK_BYTES_PER_S = 8 * 1024
"""What is handed over may be this slow on its way (in a tunnel, say, that takes much at once) until
the other end's next word counts as missing: 17 minutes for 8 MiB."""

SLOWEST_BYTES_PER_S = 1024
"""A body that goes more slowly than this, in either direction, is given up after `SILENCE_S`
of grace; by a client, which waits for a server that has others to serve too, after twice that."""

REQUEST_HEADER_MAX = 16 * 1024
"""All headers of a request together."""

ANSWER_HEADER_MAX = 64 * 1024
"""Status line and headers of an answer, and any 1xx before it (bytes): a few hundred of a server's,
and what a proxy on the way may add."""

SOCKET_PATH_MAX = 107
"""Bytes of a Unix socket's path on Linux (``sun_path`` has 108, the last of them a zero)."""
