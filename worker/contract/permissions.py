"""Which right Azure asks for before it answers a request: the way from HTTP to an action and its scope.

`producer/target/permissions.py` has the operations of the code, `roles.py` beside it the rights that the template
gives. Sources: Microsoft, "Authorize with Microsoft Entra ID" (tables of the queue and blob operations).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal
from urllib.parse import parse_qsl, urlsplit

from worker.contract.resource_types import (
    ADDRESSES,
    BLOBS,
    CONTAINERS,
    DISKS,
    INTERFACES,
    MESSAGES,
    QUEUES,
    SETS,
    VMS,
    WORKFLOWS,
)

Service = Literal["queue", "blob", "arm"]


class UnknownRequest(Exception):
    """A request that no rule here names. Add its rule, and the operation that makes it."""


@dataclass(frozen=True, slots=True)
class Need:
    """One of these actions must be granted on `scope`.

    A scope is a resource id below the providers of the resource group, '' being the group itself; a `*` in it stands
    for a name that only a deployment knows.
    """

    scope: str
    any_of: tuple[str, ...]
    is_data: bool = False

    def __str__(self) -> str:
        return f"{' or '.join(self.any_of)} on {self.scope or 'the resource group'}"


# ---- From a request to its need --------------------------------------------------------------------------------------

_QUEUE_RULES: Final[tuple[tuple[str, str, str, bool, tuple[str, ...]], ...]] = (
    # method, path below the queue, query that must be there, is it a data action, one of these actions
    ("GET", "messages", "peekonly", True, (f"{MESSAGES}/read",)),
    ("GET", "messages", "", True, (f"{MESSAGES}/process/action",)),
    ("POST", "messages", "", True, (f"{MESSAGES}/add/action", f"{MESSAGES}/write")),
    ("DELETE", "messages", "", True, (f"{MESSAGES}/delete",)),
    ("PUT", "messages/.+", "", True, (f"{MESSAGES}/write",)),
    ("DELETE", "messages/.+", "", True, (f"{MESSAGES}/process/action", f"{MESSAGES}/delete")),
    ("GET|HEAD", "", "comp", False, (f"{QUEUES}/read",)),
)
_BLOB_RULES: Final[tuple[tuple[str, str, str, bool, tuple[str, ...]], ...]] = (
    ("GET", "", "comp", True, (f"{BLOBS}/read",)),
    ("GET|HEAD", "", "", False, (f"{CONTAINERS}/read",)),
    ("GET|HEAD", ".+", "", True, (f"{BLOBS}/read",)),
    ("PUT", ".+", "", True, (f"{BLOBS}/write",)),
    ("DELETE", ".+", "", True, (f"{BLOBS}/delete",)),
)
_ARM_RULES: Final[tuple[tuple[str, str, str], ...]] = (
    ("GET", f"{SETS}/[^/]+", f"{SETS}/read"),
    ("PATCH", f"{SETS}/[^/]+", f"{SETS}/write"),
    ("POST", f"{SETS}/[^/]+/delete", f"{SETS}/delete/action"),
    ("GET", f"{VMS}(/[^/]+)?", f"{VMS}/read"),
    ("GET", f"{VMS}/[^/]+/instanceView", f"{VMS}/instanceView/read"),
    ("POST", f"{VMS}/[^/]+/simulateEviction", f"{VMS}/simulateEviction/action"),
    ("GET", "Microsoft.Compute/locations/[^/]+/usages", "Microsoft.Compute/locations/usages/read"),
    ("GET", DISKS, f"{DISKS}/read"),
    ("GET", INTERFACES, f"{INTERFACES}/read"),
    ("GET", ADDRESSES, f"{ADDRESSES}/read"),
    ("GET", f"{WORKFLOWS}/[^/]+", f"{WORKFLOWS}/read"),
    ("GET", f"{WORKFLOWS}/[^/]+/runs(/[^/]+)?", f"{WORKFLOWS}/runs/read"),
)


def need_of_storage_url(service: Service, endpoint: str, method: str, url: str) -> Need:
    """Return what Azure checks before it answers a request to a storage account, with the account's name.

    `endpoint` is that of the account: `https://NAME.blob.core.windows.net`, or locally `https://HOST:PORT/NAME`.

    Raises:
        UnknownRequest: nothing in this project makes such a request.
    """
    account, asked = urlsplit(endpoint), urlsplit(url)
    base = account.path.rstrip("/")
    name = base.strip("/") or account.netloc.partition(".")[0]
    query = dict(parse_qsl(asked.query, keep_blank_values=True))
    need = need_of_request(service, method, asked.path.removeprefix(base), query)
    return replace(need, scope=need.scope.replace("storageAccounts/*", f"storageAccounts/{name}"))


def need_of_request(service: Service, method: str, path: str, query: Mapping[str, str]) -> Need:
    """Return what Azure checks before it answers a request.

    `path` begins with a slash: for storage it is below the account (`/jobs/messages`), for ARM the whole path.

    Raises:
        UnknownRequest: nothing in this project makes such a request.
    """
    if service == "arm":
        return _need_of_arm(method, path)
    holder, _, rest = path.strip("/").partition("/")
    parent, rules = (
        ("queueServices/default/queues", _QUEUE_RULES)
        if service == "queue"
        else ("blobServices/default/containers", _BLOB_RULES)
    )
    for methods, below, key, is_data, any_of in rules:
        if re.fullmatch(methods, method) and re.fullmatch(below, rest) and (not key or key in query):
            return Need(f"Microsoft.Storage/storageAccounts/*/{parent}/{holder}", any_of, is_data)
    raise UnknownRequest(f"{method} {path} of the {service} service")


def _need_of_arm(method: str, path: str) -> Need:
    _, marker, resource = path.partition("/providers/")
    for rule_method, pattern, action in _ARM_RULES:
        if marker and method == rule_method and re.fullmatch(pattern, resource, re.IGNORECASE):
            return Need("", (action,))
    raise UnknownRequest(f"{method} {path} of Azure Resource Manager")
