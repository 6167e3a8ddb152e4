"""What a generation adds and leaves out, in figures."""

from attrs import frozen


@frozen
class Counted:
    """What was counted when a generation was committed, against its client's one before.

    ``stored_bytes``: the size of all segments of the repository then, without that of the commit.
    """

    added_count: int
    added_bytes: int
    removed_count: int
    stored_bytes: int


@frozen
class Past:
    """What is known of one generation by figures. ``received_ns``: since the epoch."""

    received_ns: int
    partial: bool
    chunk_count: int
    counted: Counted
