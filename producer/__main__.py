"""`python -m producer …`, console script `tranquility`."""

import importlib.util
import sys
from pathlib import Path


def main() -> None:
    """Run a command, if the package `worker` that it needs is our own.

    `python -m` puts the current folder first, and a file of the user's may be called worker.py.
    """
    found = importlib.util.find_spec("worker")
    ours = Path(__file__).parents[1] / "worker" / "__init__.py"
    if found is None or found.origin is None or Path(found.origin) != ours:
        where = found.origin if found else "nothing"
        sys.stderr.write(f"tranquility needs its own package `worker`, and finds {where}. Use: tranquility …\n")
        raise SystemExit(2)
    from producer.program import run

    run()


if __name__ == "__main__":
    main()
