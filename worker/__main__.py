"""`python -m worker …`, console script `tranquility-worker`: what runs on a VM, and what on a laptop needs torch."""

import os

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def main() -> None:
    """Run a command, on one core: NumPy and torch read these variables once, when they are imported."""
    for name in THREADS:
        os.environ.setdefault(name, "1")
    from worker.commands import run_command

    run_command()


if __name__ == "__main__":
    main()
