"""Settings: the target that commands and workers act on, and every duration of the protocol."""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.contract.base import Frozen

Seconds = Annotated[float, Field(gt=0)]


class Target(Frozen):
    """Where a sweep runs: written by `local up` or `deploy`, read by every command and every worker."""

    kind: Literal["local", "azure"]
    subscription_id: str
    resource_group: str
    scale_set: str
    location: str = ""
    blob_endpoint: str
    queue_endpoint: str
    arm_endpoint: str = "https://management.azure.com"
    identity_id: str = ""
    """Resource id of the VMs' identity; empty on a laptop, which uses `az login`."""
    imds_endpoint: str = ""
    """The emulator's token endpoint; empty on Azure."""
    ca_file: Path | None = None
    """Certificate authority of the local endpoints."""
    max_instances: Annotated[int, Field(ge=1, le=1000)] = 10
    slots_per_instance: Annotated[int, Field(ge=1, le=256)] = 1
    vm_size: str = ""
    wake: str = ""
    """Name of the Logic App that raises and clears the set while nobody else does; empty where none runs."""
    checkpoint_retention_days: Annotated[int, Field(ge=1)] = 90
    """The account deletes a checkpoint that nobody touched for so long: far above any pause of a sweep."""
    price_usd: Annotated[float, Field(gt=0)] | None = None
    """What one VM costs an hour, spot; without it spend is reckoned at the regular price, as an upper bound."""
    regular_price_usd: Annotated[float, Field(gt=0)] | None = None
    """The regular price of one VM an hour; without it that of the release's price table."""
    release: str = ""
    time_scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    """All durations of the protocol times this: a fleet on one machine runs with a tenth."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a target file."""
        return cls.model_validate(json.loads(path.read_text()))


class Durations(Frozen):
    """Every duration of the protocol, checked against each other; the defaults are for Azure."""

    visibility_timeout_s: Seconds = 120
    lease_renewal_s: Seconds = 40
    manifest_write_s: Seconds = 60
    """The manifest is written at least so often."""
    commit_s: Seconds = 60
    """From one checkpoint to the next."""
    idle_receive_min_s: Seconds = 1
    idle_receive_max_s: Seconds = 2
    slot_report_s: Seconds = 120
    pulse_s: Seconds = 60
    tick_s: Seconds = 30
    read_to_write_s: Seconds = 30
    """What a producer read is too old to scale by after so long: a laptop may sleep between read and write."""
    zero_looks_apart_s: Seconds = 60
    idle_before_retire_s: Seconds = 300
    dead_after_s: Seconds = 600
    boot_grace_s: Seconds = 1500
    first_receive_after_pulse_s: Seconds = 60
    fruitless_s: Seconds = 3600
    """Without a commit for so long, a VM drains itself and a producer stops raising."""
    storage_patience_s: Seconds = 3600
    """Without a successful manifest write for so long, a worker gives its job up."""
    stop_deadline_s: Seconds = 20
    """From an eviction notice to the last commit."""
    watchdog_s: Seconds = 120
    retry_base_s: Seconds = 15
    """A message whose job met a storage error is hidden for retry_base_s × 2ⁿ …"""
    retry_max_s: Seconds = 900
    """… and at most so long."""
    flag_lifetime_s: Seconds = 86_400
    budget_look_s: Seconds = 300
    """So often a slot counts what its sweep has cost, where there is a budget."""

    @model_validator(mode="after")
    def _ratios(self) -> Self:
        rules = {
            "lease_renewal_s must be at most a third of visibility_timeout_s": self.lease_renewal_s * 3
            <= self.visibility_timeout_s * 1.001,
            "manifest_write_s must be at most half of visibility_timeout_s": self.manifest_write_s * 2
            <= self.visibility_timeout_s * 1.001,
            "idle_receive_min_s must be at most idle_receive_max_s": self.idle_receive_min_s <= self.idle_receive_max_s,
            "commit_s must be at most 2.5 times visibility_timeout_s": self.commit_s <= 2.5 * self.visibility_timeout_s,
            "zero_looks_apart_s must be at least half of visibility_timeout_s": self.zero_looks_apart_s * 2
            >= self.visibility_timeout_s * 0.999,
            "dead_after_s must be at least 5 times visibility_timeout_s": self.dead_after_s
            >= 5 * self.visibility_timeout_s * 0.999,
            "dead_after_s must be at least 3 times tick_s and 4 times slot_report_s": self.dead_after_s
            >= max(3 * self.tick_s, 4 * self.slot_report_s) * 0.999,
            "boot_grace_s must be at least 2 times dead_after_s": self.boot_grace_s >= 2 * self.dead_after_s,
            "idle_before_retire_s must be at least 2 times visibility_timeout_s": self.idle_before_retire_s
            >= 2 * self.visibility_timeout_s * 0.999,
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise ValueError("; ".join(broken))
        return self

    def scaled(self, factor: float) -> "Durations":
        """Return these durations times `factor`; what Azure counts in whole seconds never goes below 1 s."""
        values = {name: value * factor for name, value in self.model_dump().items()}
        # A slow machine needs real time to import torch, to answer a request or to write a last commit.
        for floor, names in (
            (2.0, ("visibility_timeout_s",)),
            (10.0, ("stop_deadline_s", "read_to_write_s")),
            (30.0, ("watchdog_s",)),
        ):
            for name in names:
                values[name] = max(values[name], min(floor, getattr(self, name)))
        return Durations.model_validate(values)


class WorkerSettings(BaseSettings):
    """What a worker is told by its unit: environment variables `TRANQUILITY_…`."""

    model_config = SettingsConfigDict(env_prefix="TRANQUILITY_", frozen=True)

    target: Path
    """The target file of this VM."""
    vm: str = ""
    """Name of this VM; asked of the instance metadata where it is empty."""
    booted_s: float = 0.0
    """When this VM booted, by the clock that goes on while it sleeps; 0 is right for a whole machine."""
    runtime_directory: Path = Field(default=Path("/run/tranquility"), validation_alias="RUNTIME_DIRECTORY")
    """Files that the processes of one VM share: the eviction notice, and what each slot works on."""
    first_pulse: Path | None = None
    """Where whoever booted this VM noted its first pulse; where there is no such note, the slots make one."""
    durations: Durations | None = None
    """Overrides the target's durations, as JSON."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"

    def protocol(self, target: Target) -> Durations:
        """Return the durations to keep to."""
        return self.durations or Durations().scaled(target.time_scale)
