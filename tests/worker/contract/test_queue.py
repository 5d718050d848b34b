"""What every queue must do; the one in memory passes the same tests as the real one."""

import threading

import pytest
from azure.core.credentials import TokenCredential

from tests.worker.contract.conftest import Stores
from worker.contract import names
from worker.contract.azure import queue_service
from worker.contract.errors import MessageGone, StorageUnavailable
from worker.contract.queue import AzureQueue, Message, MessageQueue
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Target

LONG_S = 600


def received(queue: MessageQueue, visibility_timeout_s: int = LONG_S) -> Message:
    message = queue.receive(visibility_timeout_s)
    assert message is not None
    return message


def when_visible(queue: MessageQueue) -> Message:
    """Wait until a message can be received again."""
    runtime = RealRuntime()
    while (message := queue.receive(LONG_S)) is None:
        runtime.wait(runtime.event(), 0.05)
    return message


@pytest.mark.parametrize("text", ["{}", '<a & "b">ü€\U0001f680</a>', "x" * 16_000])
def test_a_message_comes_as_it_was_sent(stores: Stores, text: str) -> None:
    stores.queue.send(text)
    message = received(stores.queue)
    assert (message.text, message.dequeue_count) == (text, 1)


def test_a_message_never_expires(storage: Target, credential: TokenCredential) -> None:
    with queue_service(storage, credential) as queues:
        client = queues.get_queue_client(names.JOBS_QUEUE)
        AzureQueue(client).send("text")
        (message,) = client.peek_messages()
    assert message.expires_on is not None
    assert message.expires_on.year == 9999  # the service's own limit is 7 days


@pytest.mark.parametrize("text", ["x" * 65_536, "é" * 32_768])
def test_a_message_of_64_kib_of_utf_8_comes_and_a_larger_one_is_refused(stores: Stores, text: str) -> None:
    stores.queue.send(text)
    with pytest.raises(StorageUnavailable, match="413"):
        stores.queue.send(text + "x")
    assert received(stores.queue).text == text
    assert stores.queue.count() == 1


def test_a_received_message_is_hidden_and_still_counted(stores: Stores) -> None:
    stores.queue.send("text")
    received(stores.queue)
    assert stores.queue.receive(LONG_S) is None
    assert stores.queue.count() == 1


def test_an_empty_queue_gives_nothing(stores: Stores) -> None:
    assert stores.queue.receive(LONG_S) is None
    assert stores.queue.count() == 0


def test_a_hidden_message_comes_back_with_a_new_receipt_and_a_higher_count(stores: Stores) -> None:
    sent = stores.queue.send("text")
    first = received(stores.queue, 1)
    second = when_visible(stores.queue)
    assert second.receipt.message_id == first.receipt.message_id == sent.message_id
    assert second.receipt.pop_receipt != first.receipt.pop_receipt
    assert second.dequeue_count == 2
    with pytest.raises(MessageGone):
        stores.queue.renew(first.receipt, LONG_S)
    with pytest.raises(MessageGone):
        stores.queue.delete(first.receipt)
    stores.queue.delete(second.receipt)


def test_a_renewal_changes_the_receipt_and_the_old_one_is_no_good(stores: Stores) -> None:
    stores.queue.send("text")
    message = received(stores.queue)
    renewed = stores.queue.renew(message.receipt, LONG_S)
    assert renewed.message_id == message.receipt.message_id
    for spoil in (lambda: stores.queue.renew(message.receipt, LONG_S), lambda: stores.queue.delete(message.receipt)):
        with pytest.raises(MessageGone):
            spoil()
    assert stores.queue.receive(LONG_S) is None
    stores.queue.delete(renewed)
    assert stores.queue.count() == 0


def test_a_renewal_keeps_the_text(stores: Stores) -> None:
    stores.queue.send("text")
    stores.queue.renew(received(stores.queue).receipt, 0)
    assert received(stores.queue).text == "text"


def test_a_renewal_of_0_s_gives_the_message_back_at_once(stores: Stores) -> None:
    stores.queue.send("text")
    stores.queue.renew(received(stores.queue).receipt, 0)
    assert received(stores.queue).dequeue_count == 2


def test_a_message_whose_time_is_over_stays_its_holders_until_somebody_receives_it(stores: Stores) -> None:
    stores.queue.send("text")
    message = received(stores.queue, 1)
    runtime = RealRuntime()
    runtime.wait(runtime.event(), 1.2)
    stores.queue.delete(stores.queue.renew(message.receipt, LONG_S))
    assert stores.queue.count() == 0


def test_a_deleted_message_is_gone_for_everybody(stores: Stores) -> None:
    stores.queue.send("text")
    message = received(stores.queue)
    stores.queue.delete(message.receipt)
    for again in (lambda: stores.queue.delete(message.receipt), lambda: stores.queue.renew(message.receipt, 1)):
        with pytest.raises(MessageGone):
            again()
    assert stores.queue.receive(LONG_S) is None


def test_the_receipt_of_a_send_deletes_a_message_that_nobody_received(stores: Stores) -> None:
    """This is how a cancel takes messages back (rule 8)."""
    sent = stores.queue.send("text")
    stores.queue.delete(sent)
    assert stores.queue.count() == 0


def test_the_receipt_of_a_send_is_no_good_once_somebody_received_the_message(stores: Stores) -> None:
    sent = stores.queue.send("text")
    message = received(stores.queue)
    with pytest.raises(MessageGone):
        stores.queue.delete(sent)
    stores.queue.delete(message.receipt)


def test_every_message_is_received_by_one_only(stores: Stores) -> None:
    texts = [f"text {number}" for number in range(40)]
    for text in texts:
        stores.queue.send(text)
    found: list[str] = []

    def receive() -> None:
        while (message := stores.queue.receive(LONG_S)) is not None:
            found.append(message.text)

    threads = [threading.Thread(target=receive) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(texts)
