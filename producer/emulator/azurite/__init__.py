"""Azurite, the storage emulator: installed from a committed lock file, started and stopped with the fleet."""

from producer.emulator.azurite.installation import INSTALL_COMMAND, install, is_installed
from producer.emulator.azurite.server import Azurite

__all__ = ["INSTALL_COMMAND", "Azurite", "install", "is_installed"]
