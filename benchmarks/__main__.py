"""`python -m benchmarks`."""

import sys

from benchmarks import large_repository, many_clients, run, timing, workers

OTHERS = {
    "large-repository": large_repository.main,
    "many-clients": many_clients.main,
    "timing": timing.main,
    "workers": workers.main,
}
"""Modes that compare with no other program."""

if sys.argv[1:2] and sys.argv[1] in OTHERS:
    sys.exit(OTHERS[sys.argv[1]](sys.argv[2:]))
sys.exit(run.main())
