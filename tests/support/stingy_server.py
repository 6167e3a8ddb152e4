"""``twistd obnam-server`` that lets a client have little at once, and has it wait very briefly.

Run as ``python stingy_server.py TWISTD-ARGUMENTS``. Beside a client's first upload or answer no
other goes, and one may wait: a client of ours is told to come back again and again.
"""

from attrs import evolve

COME_BACK_S = 1


def main() -> None:
    """Patch the limits; then be twistd."""
    from twisted.scripts.twistd import run

    from obnam_server.sharing import queues

    queues.WAIT_S = 0.05
    queues.COME_BACK_S = COME_BACK_S
    for name in ("UPLOADS", "ANSWERS"):
        share = evolve(getattr(queues, name), client_extra_bytes=0, client_waiting=1)
        setattr(queues, name, share)
    run()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
