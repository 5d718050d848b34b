"""Queue and blobs to test the contract on: in memory, and those of a real Azurite."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from azure.core.credentials import TokenCredential

from tests.fakes.storage import MemoryBlobs, MemoryQueue
from worker.contract import names
from worker.contract.azure import blob_service, queue_service
from worker.contract.queue import AzureQueue, MessageQueue
from worker.contract.records import AzureBlobs, BlobStore
from worker.contract.settings import Target


@dataclass(frozen=True)
class Stores:
    """A queue and blobs, both empty."""

    queue: MessageQueue
    blobs: BlobStore


@pytest.fixture(params=["memory", "azurite"])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    """Both kinds must pass every test."""
    if request.param == "memory":
        yield Stores(MemoryQueue(time.monotonic), MemoryBlobs(time.monotonic))
        return
    target: Target = request.getfixturevalue("storage")
    credential: TokenCredential = request.getfixturevalue("credential")
    with queue_service(target, credential) as queues, blob_service(target, credential) as blobs:
        yield Stores(AzureQueue(queues.get_queue_client(names.JOBS_QUEUE)), AzureBlobs(blobs))
