"""Ctrl-C before the program has begun."""

import signal
import subprocess
import sys

PROGRAM = """\
import os, signal, sys
from obnam.cli.main import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it

class Interrupting:
    def find_spec(self, name, *_):
        if name == "obnam.cli.endings":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
main(["--help"])
"""


def test_ctrl_c_while_it_is_imported() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")
