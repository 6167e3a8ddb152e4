"""The processes that workers come from, and signals to the whole group of them."""

import signal
import subprocess
import sys

PROGRAM = """\
import signal
from multiprocessing import forkserver, resource_tracker
from obnam.pool import launch

def blocked(process):
    with open(f"/proc/{process}/status") as file:
        mask = next(int(line.split()[1], 16) for line in file if line.startswith("SigBlk"))
    return [n.name for n in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM) if mask >> n - 1 & 1]

launch.get_ready()
print(blocked("self"))
print(blocked(forkserver._forkserver._forkserver_pid))
print("SIGHUP" in blocked(resource_tracker._resource_tracker._pid))
"""


def test_they_do_not_hear_of_ctrl_c_nor_of_a_closed_terminal() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.splitlines() == ["[]", "['SIGINT', 'SIGHUP']", "True"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
