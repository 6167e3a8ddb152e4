"""Shows `twistd` the command ``obnam-server``. Imports nothing of ours: twistd reads it often."""

from twisted.application.service import ServiceMaker

obnam_server = ServiceMaker(  # type: ignore[no-untyped-call]
    "Obnam chunk server",
    "obnam_server.tap",
    "Keeps sealed chunks and generations for Obnam clients.",
    "obnam-server",
)
