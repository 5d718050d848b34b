"""The episodes of a training run, read off its replay rows: no state of its own to checkpoint, so a resume is exact."""

import csv
import io

import numpy as np

from worker.snapshot.replay_rows import ReplayRows

COLUMNS = ("step", "return", "length")


def episodes_csv(rows: ReplayRows) -> bytes:
    """Return the episodes that ended within `rows` and began there, a line each: last step, return, length.

    An episode whose first rows a full ring buffer has overwritten is left out.
    """
    ends = np.flatnonzero(rows.dones) + 1
    sums = np.concatenate(([0.0], np.cumsum(rows.rewards, dtype=np.float64)))
    starts = np.concatenate(([0], ends))[: len(ends)]
    if rows.first_row:
        starts, ends = starts[1:], ends[1:]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for start, end in zip(starts, ends, strict=True):
        writer.writerow((rows.first_row + end, f"{sums[end] - sums[start]:.6f}", end - start))
    return text.getvalue().encode()
