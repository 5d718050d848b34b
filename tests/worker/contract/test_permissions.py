"""From the address of a request to what it needs, on Azure and on this machine."""

import pytest

from worker.contract.permissions import Service, UnknownRequest, need_of_storage_url

MESSAGES = "Microsoft.Storage/storageAccounts/queueServices/queues/messages"
BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"


@pytest.mark.parametrize(
    ("service", "endpoint", "method", "path", "need"),
    [
        (
            "queue",
            "https://tranq1.queue.core.windows.net/",
            "GET",
            "/jobs/messages?visibilitytimeout=120",
            f"{MESSAGES}/process/action on Microsoft.Storage/storageAccounts/tranq1/queueServices/default/queues/jobs",
        ),
        (
            "blob",
            "https://127.0.0.1:1/tranq1",
            "PUT",
            "/sweeps/s/plan.json",
            f"{BLOBS}/write on Microsoft.Storage/storageAccounts/tranq1/blobServices/default/containers/sweeps",
        ),
        (
            "blob",
            "https://127.0.0.1:1/tranq1/",
            "GET",
            "/control?restype=container&comp=list&prefix=",
            f"{BLOBS}/read on Microsoft.Storage/storageAccounts/tranq1/blobServices/default/containers/control",
        ),
    ],
)
def test_a_need_names_the_account(service: Service, endpoint: str, method: str, path: str, need: str) -> None:
    assert str(need_of_storage_url(service, endpoint, method, endpoint.rstrip("/") + path)) == need


def test_a_request_that_nothing_here_makes_has_no_need() -> None:
    with pytest.raises(UnknownRequest):
        need_of_storage_url("queue", "https://a.queue.core.windows.net", "PUT", "https://a.queue.core.windows.net/jobs")
