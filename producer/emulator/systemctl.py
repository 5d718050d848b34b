"""`systemctl stop` for the programs of an emulated instance: `python -P -m producer.emulator.systemctl stop NAME`.

Standard library only: the supervisor of every instance imports it.
"""

import os
import socket
import sys
from collections.abc import Mapping, Sequence

SOCKET_VARIABLE = "SUPERVISOR_SOCKET"
"""Environment variable of every process of an instance: where its supervisor listens."""


def stop(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """Stop the process `name` of the instance that this process runs on, and return when it has stopped.

    Returns "" or what the supervisor objects. KeyError outside of an instance.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as supervisor:
        supervisor.connect(environment[SOCKET_VARIABLE])
        supervisor.sendall(f"stop {name}\n".encode())
        with supervisor.makefile(encoding="utf-8") as answers:
            answer = answers.readline().strip()
    return "" if answer == "done" else answer


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 stopped, 1 not, 2 wrong usage."""
    if len(arguments) != 2 or arguments[0] != "stop" or SOCKET_VARIABLE not in os.environ:
        sys.stderr.write("usage, on an emulated instance: python -m producer.emulator.systemctl stop NAME\n")
        return 2
    objection = stop(arguments[1])
    if objection:
        sys.stderr.write(f"{objection}\n")
    return 1 if objection else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
