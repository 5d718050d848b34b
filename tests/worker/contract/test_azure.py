"""Requests and their errors: each is a sign that an outage is not a hang (rule 5), and each error is one of ours."""

import pytest
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError, ServiceRequestError
from azure.identity import CredentialUnavailableError

from worker.contract.arm import fleet_errors
from worker.contract.azure import blob_service, queue_service, storage_errors
from worker.contract.errors import FleetError, StorageUnavailable
from worker.contract.names import JOBS_QUEUE, SWEEPS
from worker.contract.settings import Target


def test_an_answer_is_told_whatever_it_says(storage: Target, credential: TokenCredential) -> None:
    returned: list[int] = []
    with blob_service(storage, credential, lambda: returned.append(1)) as blobs:
        blobs.get_container_client(SWEEPS).get_container_properties()
        assert len(returned) == 1
        with pytest.raises(ResourceNotFoundError):
            blobs.get_blob_client(SWEEPS, "absent").download_blob()
        assert len(returned) == 2
    with queue_service(storage, credential, lambda: returned.append(1)) as queues:
        queues.get_queue_client(JOBS_QUEUE).get_queue_properties()
        assert len(returned) == 3


def test_a_request_without_an_answer_is_told_at_each_try(storage: Target, credential: TokenCredential) -> None:
    returned: list[int] = []
    nowhere = storage.model_copy(update={"blob_endpoint": "https://127.0.0.1:9/nobody"})
    with blob_service(nowhere, credential, lambda: returned.append(1)) as blobs:
        with pytest.raises(ServiceRequestError):
            blobs.get_service_properties(retry_total=0)
        assert len(returned) == 1


SILENT = [
    (ServiceRequestError(""), "ServiceRequestError"),
    (ServiceRequestError("\nno route\nto it"), "no route"),
    (CredentialUnavailableError("\n"), "No token: CredentialUnavailableError"),
]


@pytest.mark.parametrize(("error", "said"), SILENT)
def test_an_error_that_says_nothing_is_one_of_ours_all_the_same(error: AzureError, said: str) -> None:
    with pytest.raises(StorageUnavailable) as stored, storage_errors("blob", "https://account"):
        raise error
    with pytest.raises(FleetError) as fleet, fleet_errors():
        raise error
    assert (stored.value.detail, fleet.value.detail) == (said, said)


def test_an_answer_without_a_status_is_not_called_none() -> None:
    with pytest.raises(StorageUnavailable) as caught, storage_errors("queue", "https://account"):
        raise HttpResponseError("The answer broke off.")
    assert caught.value.detail == "The answer broke off."
