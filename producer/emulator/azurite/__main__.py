"""`python -m producer.emulator.azurite install DIR`: what the Makefile calls."""

import argparse
import sys
from pathlib import Path

from producer.emulator.azurite.installation import install
from producer.emulator.errors import EmulatorError


def main() -> int:
    """Exit status: 0 installed, 1 failed with one message on standard error."""
    parser = argparse.ArgumentParser(prog="python -m producer.emulator.azurite", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("install", help="put Azurite into DIR unless it is there already")
    command.add_argument("dir", type=Path)
    folder: Path = parser.parse_args().dir
    try:
        install(folder)
    except EmulatorError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
