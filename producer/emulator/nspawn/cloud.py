"""A bare machine, as the image of a VM is before anything of ours is on it: it gets the custom data of the set.

cloud-init finds it as a seed of its NoCloud datasource. Everything that it asks has its real name: the network of the
machine has nothing but those addresses. Only the authority of the certificates is added, as a drop-in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from producer.emulator.fleet import Endpoints, Machine
from producer.emulator.nspawn.image import JOURNAL, NO_ENSUREPIP, UNITS
from producer.emulator.nspawn.spec import NspawnSpec

SEED: Final = "/var/lib/cloud/seed/nocloud"
CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"
IMDS: Final = "169.254.169.254:80"
ADDRESSES: Final = {"blob_endpoint": "192.0.2.1", "queue_endpoint": "192.0.2.2", "arm_endpoint": "192.0.2.3"}
"""Of the real names, by their field in a target; RFC 5737 keeps these addresses for examples."""
IMAGE: Final = "datasource_list: [NoCloud]\nlocale: C.UTF-8\nssh_genkeytypes: [ed25519]\n"
"""What belongs to the image, and not to custom data: this one has no other locale, and no time for RSA."""
STAGES: Final = ("cloud-init-local", "cloud-init", "cloud-config", "cloud-final")


@dataclass(frozen=True)
class BareImage:
    """Says what every machine of the set is made of before cloud-init runs."""

    target: Mapping[str, Any]
    """The deployed target, for its names."""
    custom_data: bytes

    def spec(self, machine: Machine, endpoints: Endpoints) -> NspawnSpec:
        """Return the machine of a VM that boots now."""
        here = {
            "blob_endpoint": endpoints.blob_url,
            "queue_endpoint": endpoints.queue_url,
            "arm_endpoint": endpoints.arm_url,
        }
        names = {field: str(urlsplit(self.target[field]).hostname) for field in ADDRESSES}
        hosts = "".join(f"{ADDRESSES[field]} {name}\n" for field, name in names.items())
        trusted = "[Manager]\nDefaultEnvironment=" + " ".join(
            f"{name}={CERTIFICATES}" for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
        )
        return NspawnSpec(
            hostname=machine.vm.name.replace("_", "-"),
            files={
                "/etc/hosts": f"127.0.0.1 localhost\n{hosts}",
                "/etc/cloud/cloud.cfg.d/99-image.cfg": IMAGE,
                "/etc/systemd/journald.conf.d/emulator.conf": JOURNAL,
                "/etc/systemd/system.conf.d/authority.conf": f"{trusted}\n",
                CERTIFICATES: endpoints.ca_file.read_text("ascii"),
                f"{SEED}/meta-data": f"instance-id: {machine.vm.vm_id}\nlocal-hostname: {machine.vm.name}\n",
                f"{SEED}/user-data": self.custom_data.decode(),
            },
            links={
                f"{UNITS}/default.target": "/lib/systemd/system/multi-user.target",
                **{
                    f"{UNITS}/cloud-init.target.wants/{one}.service": f"/lib/systemd/system/{one}.service"
                    for one in STAGES
                },
            },
            removed=(NO_ENSUREPIP, "/var/lib/cloud/*"),
            leads={
                IMDS: _address(machine.imds_url),
                **{f"{ADDRESSES[field]}:443": _address(here[field]) for field in here},
            },
        )


def real_names(target: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the host names that a machine of this target asks for."""
    return tuple(str(urlsplit(target[field]).hostname) for field in ADDRESSES)


def _address(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}"
