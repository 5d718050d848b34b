"""The trainers of this release: the one door from a slot to torch."""

from worker.slot import Trainers


def sac_trainers() -> Trainers:
    """Return how jobs are trained here. Imports torch, which takes seconds."""
    from worker.training.fingerprint import fingerprint
    from worker.training.trainer import SacRun, import_the_rest

    import_the_rest()
    return Trainers(build=SacRun, fingerprint=fingerprint())
