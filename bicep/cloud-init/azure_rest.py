#!/usr/bin/env python3
"""What a VM says to Azure before it has a release: tokens, blobs and its own deletion, by plain urllib.

Owns no decision. Runs on the Python of Ubuntu 24.04 with nothing installed, so nothing but the standard library is
imported. Nothing is retried here: whoever calls fails, and systemd starts it again.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

STORAGE_AUDIENCE = "https://storage.azure.com/"
STORAGE_VERSION = "2024-11-04"
COMPUTE_VERSION = "2025-04-01"
TIMEOUT_S = 60.0
IMDS = "http://169.254.169.254"
TARGET_FILE = Path("/etc/tranquility/target.json")
# IMDS and the emulated one are never behind a proxy, and cloud images sometimes carry proxy variables.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class AzureError(Exception):
    """A request to Azure that was refused or got no answer. The message names the request and the answer."""


@dataclass(frozen=True)
class Target:
    """Where this VM belongs: what the boot needs of /etc/tranquility/target.json."""

    identity_id: str
    blob_endpoint: str
    arm_endpoint: str
    scale_set_id: str
    imds: str

    @classmethod
    def read(cls, path: Path, environment: Mapping[str, str] = os.environ) -> Target:
        """Read the file. `AZURE_POD_IDENTITY_AUTHORITY_HOST` redirects IMDS, as it does for the Azure SDK."""
        try:
            settings = json.loads(path.read_bytes())
            group = f"/subscriptions/{settings['subscription_id']}/resourceGroups/{settings['resource_group']}"
            return cls(
                identity_id=settings["identity_id"],
                blob_endpoint=settings["blob_endpoint"],
                arm_endpoint=settings["arm_endpoint"].rstrip("/"),
                scale_set_id=f"{group}/providers/Microsoft.Compute/virtualMachineScaleSets/{settings['scale_set']}",
                imds=environment.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", IMDS).rstrip("/"),
            )
        except (ValueError, KeyError) as error:
            raise AzureError(f"{path} is not a complete target ({error!r}): deploy again") from error


def log(text: str) -> None:
    """One line to the journal and the serial console."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def request(method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> bytes:
    """Send one request and return the body of its 2xx answer.

    Raises:
        AzureError: no answer, or one that is not 2xx.
    """
    what = f"{method} {url.partition('?')[0]}"
    try:
        # The address is that of IMDS or from target.json, which a deployment wrote.
        call = urllib.request.Request(url, data=body, headers=dict(headers), method=method)  # noqa: S310
        with OPENER.open(call, timeout=TIMEOUT_S) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise AzureError(f"{what}: HTTP {error.code}: {error.read(500).decode(errors='replace')}") from error
    except OSError as error:
        raise AzureError(f"{what}: {error}") from error


def token(target: Target, audience: str) -> str:
    """A token of the VMs' identity for `audience`, from the instance metadata service."""
    query = urllib.parse.urlencode(
        {"api-version": "2018-02-01", "resource": audience, "msi_res_id": target.identity_id}
    )
    answer = request("GET", f"{target.imds}/metadata/identity/oauth2/token?{query}", {"Metadata": "true"})
    return str(json.loads(answer)["access_token"])


def vm_name(target: Target) -> str:
    """This VM's name, which is its instance id in a Flexible scale set."""
    url = f"{target.imds}/metadata/instance/compute?api-version=2021-02-01"
    return str(json.loads(request("GET", url, {"Metadata": "true"}))["name"])


def storage_headers(bearer: str) -> dict[str, str]:
    """Headers that every call of Blob Storage carries."""
    return {
        "Authorization": f"Bearer {bearer}",
        "x-ms-version": STORAGE_VERSION,
        "x-ms-date": formatdate(usegmt=True),
    }


def get_blob(target: Target, path: str, bearer: str) -> bytes:
    """The content of `path`, which starts with the container's name."""
    return request("GET", target.blob_endpoint + urllib.parse.quote(path), storage_headers(bearer))


def put_blob(target: Target, path: str, content: bytes, content_type: str, bearer: str) -> None:
    """Write `path`, over whatever is there."""
    headers = {**storage_headers(bearer), "x-ms-blob-type": "BlockBlob", "Content-Type": content_type}
    request("PUT", target.blob_endpoint + urllib.parse.quote(path), headers, content)


def delete_instance(target: Target, name: str) -> None:
    """Ask the scale set to delete the VM of this name, which also lowers its capacity by one."""
    url = f"{target.arm_endpoint}{target.scale_set_id}/delete?api-version={COMPUTE_VERSION}"
    headers = {
        "Authorization": f"Bearer {token(target, f'{target.arm_endpoint}/')}",
        "Content-Type": "application/json",
    }
    request("POST", url, headers, json.dumps({"instanceIds": [name]}).encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Leave either the old content of `path` or all of the new."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
