"""Every request counts as a sign that an outage is not a hang: answered, refused, and without any answer (rule 5)."""

import pytest
from azure.core.credentials import TokenCredential
from azure.core.exceptions import ResourceNotFoundError, ServiceRequestError

from worker.contract.azure import blob_service, queue_service
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
