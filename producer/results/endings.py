"""Jobs that ended without a result, in words: which, why, where to look, and how to run them again."""

from collections.abc import Iterator

from producer.results.progress import JobProgress, State, SweepProgress
from producer.words import plural

BAD: tuple[State, ...] = ("failed", "poisoned")


def bad_endings(sweep: SweepProgress) -> Iterator[str]:
    """Yield a sentence for the failed jobs and one for the poisoned ones."""
    for state in BAD:
        bad = [job for job in sweep.jobs if job.state == state]
        if bad:
            one, them = bad[0], "it" if len(bad) == 1 else "them"
            yield (
                f"{plural(len(bad), 'job')} {state} ({_reasons(bad)}). tranquility logs {sweep.sweep}/{one.id[:6]} "
                f"shows more; tranquility retry {sweep.sweep} runs {them} again."
            )


def cancelled(sweep: SweepProgress) -> Iterator[str]:
    """Yield a sentence for the cancelled jobs."""
    jobs = [job for job in sweep.jobs if job.state == "cancelled"]
    if jobs:
        again = f"tranquility retry {sweep.sweep} --cancelled brings {'it' if len(jobs) == 1 else 'them'} back"
        yield f"{plural(len(jobs), 'job')} cancelled ({_reasons(jobs)}). {again}."


def _reasons(jobs: list[JobProgress]) -> str:
    reasons = list(dict.fromkeys(job.reason.rstrip(".") or "no reason given" for job in jobs))
    more = f"; and {plural(len(reasons) - 1, 'other reason')}" if len(reasons) > 1 else ""
    return reasons[0] + more
