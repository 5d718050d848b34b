"""The command that makes a run again: from the sweep file, where it still plans that job, else from the job itself."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from producer.sweep.document import parse_document
from producer.sweep.environment import CannotExamine
from producer.sweep.planning import make_plan
from producer.sweep.sweep_file import parse_sweep_file
from worker.contract.errors import InputError
from worker.contract.plan import Plan, PlannedJob


@dataclass(frozen=True)
class Command:
    """How to make one run again."""

    text: str
    file_name: str
    """The file that the command reads."""
    file_url: str
    """The same file, as a data: URL."""


@dataclass(frozen=True)
class Reproduction:
    """The commands of a sweep's runs."""

    plan: Plan
    numbers: Mapping[str, int]
    """Job → its place in the plan that the sweep file makes today."""
    sweep_file: str
    sweep_url: str

    def command(self, planned: PlannedJob) -> Command:
        """Return the command of a job."""
        number = self.numbers.get(planned.id)
        if number is not None:
            text = f"tranquility train {self.sweep_file} --job {number}"
            return Command(text, self.sweep_file, self.sweep_url)
        name = f"{planned.id}.json"
        url = data_url("application/json", self.plan.job(planned).encode().encode())
        return Command(f"tranquility train {name}", name, url)


def reproduction(plan: Plan) -> Reproduction:
    """Return the commands of a plan's jobs."""
    name = f"{plan.sweep}.yaml"
    return Reproduction(plan, _numbers(plan, name), name, data_url("application/yaml", plan.source.encode()))


def _numbers(plan: Plan, name: str) -> Mapping[str, int]:
    """Plan the stored sweep file anew: after an --update the file no longer names every job, or in another order."""
    if not plan.source:
        return {}
    try:
        document = parse_document(name, plan.source.encode())
        again = make_plan(parse_sweep_file(document), document, look=_refuse).plan
    except InputError:
        return {}
    return {planned.id: number for number, planned in enumerate(again.jobs)}


def _refuse(*_: Any) -> NoReturn:
    # `train` takes no unproven environment from a file either; it does from a job, which carries the proof.
    raise CannotExamine("A report examines no environment.")


def data_url(kind: str, body: bytes) -> str:
    """Return `body` as a data: URL."""
    return f"data:{kind};base64,{base64.b64encode(body).decode()}"
