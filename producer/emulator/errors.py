"""What can go wrong with a fleet on this machine."""

from worker.contract.errors import TranquilityError


class EmulatorError(TranquilityError):
    """The fleet on this machine failed."""


class FolderInUse(EmulatorError):
    """This data folder is in use."""
