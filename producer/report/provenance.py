"""Where the numbers come from: releases, machines, versions and hashes."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import yaml

from producer.report.gather import Gathered
from producer.session import Session
from worker.contract.base import sha256_hex


@dataclass(frozen=True)
class Provenance:
    """What a reader needs to judge, and to make again, what a report says."""

    facts: tuple[tuple[str, str], ...]
    """(name, value): this report, the plan, the target."""
    versions: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    """Part of the fingerprint → its values with the number of runs that finished there."""
    configuration: str
    """What all sets share, as YAML."""
    inexact: int
    """Finished runs of which some resume was not bit by bit."""


def provenance(gathered: Gathered, session: Session, made_at: str) -> Provenance:
    """Return the provenance of a sweep's results.

    Args:
        gathered: the sweep.
        session: where it was read.
        made_at: UTC, ISO 8601.
    """
    plan = gathered.sweep.plan
    results = [details.result for _, details in gathered.jobs() if details.result]
    releases = Counter(release for job in gathered.sweep.jobs for release in job.releases)
    facts = [
        ("Report made", f"{made_at[:16].replace('T', ' ')} UTC by tranquility {_own_version()}"),
        ("Target", _target(session)),
        ("Enqueued by", plan.enqueued_by or "unknown"),
        ("Plan", f"SHA-256 {sha256_hex(plan.canonical())}"),
        ("Releases", _counted(releases.items(), "job") or "none yet"),
        ("Trainer", ", ".join(sorted({configuration.trainer for configuration in plan.configurations}))),
    ]
    common = plan.common.model_dump(mode="json", exclude_none=True)
    return Provenance(
        tuple(facts),
        tuple(_versions(result.fingerprint for result in results)),
        yaml.safe_dump(common, sort_keys=False, default_flow_style=None, allow_unicode=True),
        sum(not result.exact for result in results),
    )


def _versions(fingerprints: Iterable[Mapping[str, str]]) -> list[tuple[str, tuple[tuple[str, int], ...]]]:
    counts: dict[str, Counter[str]] = {}
    for fingerprint in fingerprints:
        for name, value in fingerprint.items():
            counts.setdefault(name, Counter())[value] += 1
    return [(name, tuple(values.most_common())) for name, values in counts.items()]


def _counted(items: Iterable[tuple[Any, int]], noun: str) -> str:
    return ", ".join(f"{value} ({count} {noun}{'' if count == 1 else 's'})" for value, count in sorted(items))


def _own_version() -> str:
    try:
        return version("tranquility")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "(not installed)"


def _target(session: Session) -> str:
    target = session.target
    if target.kind == "local":
        return "a fleet on this machine"
    where = f" in {target.location}" if target.location else ""
    return f"Azure{where}, {target.vm_size or 'VM size unknown'}, {target.slots_per_instance} slots a VM"
