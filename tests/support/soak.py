"""How long the tests of chance try: see `make soak`."""

import os

SOAK = int(os.environ.get("OBNAM_SOAK", "1"))
"""How many times more is tried than by `make test`."""

IS_SOAK = "OBNAM_SOAK" in os.environ
"""Then other examples are tried each time; else the same ones."""
