"""The generated messages are those of the protocol files."""

import subprocess
import sys


def test_generated_code_is_up_to_date() -> None:
    result = subprocess.run([sys.executable, "-m", "tools.proto.generate", "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr + "\nrun: make proto"
