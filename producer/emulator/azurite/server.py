"""One Azurite process: started on loopback ports, known by its URLs, stopped so that it keeps all it was told."""

import fcntl
import os
import queue
import re
import secrets
import subprocess
import threading
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

from producer.emulator.azurite.installation import entry_script, find_node
from producer.emulator.certificates import Certificates
from producer.emulator.errors import EmulatorError, FolderInUse
from producer.emulator.ports import LOOPBACK, RememberedPorts

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0

_LISTENING = re.compile(r"Azurite (Blob|Queue|Table) service is successfully listening at https://127\.0\.0\.1:(\d+)")


class Azurite:
    """Azurite on a data folder. Use it as a context manager, or pair `start` with `stop`.

    The accounts' keys are random and told to nobody: as with shared keys off, only tokens open them.
    """

    def __init__(
        self,
        home: Path,
        data_dir: Path,
        certificates: Certificates,
        *accounts: str,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """`home` is where `install` put Azurite; `data_dir` keeps blobs, messages, ports and the log.

        `accounts` are the storage accounts that it answers for. `ended` is called, by a thread of its own, when it ends
        without `stop`.
        """
        self._home = home
        self._data_dir = data_dir
        self._certificates = certificates
        self._accounts = accounts
        self._ended = ended
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def blob_url(self, account: str) -> str:
        """The blob endpoint of `account`; known while it runs."""
        return self._url("Blob", account)

    def queue_url(self, account: str) -> str:
        """The queue endpoint of `account`; known while it runs."""
        return self._url("Queue", account)

    @property
    def pid(self) -> int:
        """The Node process; known while it runs."""
        if self._process is None:
            raise EmulatorError("Azurite is not running: call start() first.")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started, and neither stopped nor ended by itself."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_file(self) -> Path:
        """What it says."""
        return self._data_dir / "azurite.log"

    def start(self) -> None:
        """Return when it listens. The ports are those of the last time where they are still free.

        Raises FolderInUse, or EmulatorError with Azurite's own last lines when it does not come up.
        """
        if self._process is not None:
            raise EmulatorError(f"Azurite already runs on {self._data_dir}: call stop() first.")
        self._data_dir.mkdir(parents=True, exist_ok=True)
        remembered = RememberedPorts(self._data_dir)
        with _lock(self._data_dir) as lock:
            last = {"Blob": remembered.last("blob"), "Queue": remembered.last("queue")}
            problem = self._launch(last, lock)
            if problem is not None and "EADDRINUSE" in problem:
                problem = self._launch({"Blob": 0, "Queue": 0}, lock)
        if problem is not None:
            raise EmulatorError(f"Azurite did not start on {self._data_dir}:\n{problem}\nIts log: {self.log_file}")
        remembered.remember("blob", self._ports["Blob"])
        remembered.remember("queue", self._ports["Queue"])

    def stop(self) -> None:
        """End it in order: SIGTERM makes it write its store, which it does only every 5 s otherwise. Safe to repeat."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            raise EmulatorError(
                f"Azurite did not stop within {STOP_TIMEOUT_S:.0f} s and was killed; "
                f"the last seconds of {self._data_dir} may be lost."
            ) from error
        finally:
            self._release(process)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, ports: dict[str, int], lock: IO[str]) -> str | None:
        """Start the process and wait until it listens; else what it said."""
        process = subprocess.Popen(
            self._command(ports),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment(),
            cwd=self._data_dir,
            start_new_session=True,  # Ctrl-C in the terminal is ours to act on, in our order
            pass_fds=(lock.fileno(),),  # the folder stays locked until Azurite itself is gone
            text=True,
        )
        self._process = process
        lock.write(f"{process.pid}\n")
        lock.flush()
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(
            target=self._copy_output, args=(process, lines), name="azurite-log", daemon=True
        )
        self._reader.start()
        problem = self._await_listening(lines)
        if problem is not None:
            process.kill()
            process.wait()
            self._process = None
            self._release(process)
        return problem

    def _await_listening(self, lines: "queue.SimpleQueue[str | None]") -> str | None:
        ports: dict[str, int] = {}
        said: list[str] = []
        while len(ports) < 3:
            try:
                line = lines.get(timeout=START_TIMEOUT_S)
            except queue.Empty:
                return "\n".join([*said, f"nothing more within {START_TIMEOUT_S:.0f} s"])
            if line is None:
                return "\n".join(said)
            said.append(line)
            if found := _LISTENING.search(line):
                ports[found.group(1)] = int(found.group(2))
        self._ports = ports
        return None

    def _command(self, ports: dict[str, int]) -> list[str]:
        hosts = [f"--{service}Host={LOOPBACK}" for service in ("blob", "queue", "table")]
        return [
            str(find_node().node),
            f"--require={Path(__file__).with_name('with_parent.js')}",
            str(entry_script(self._home).absolute()),
            f"--location={self._data_dir.absolute()}",
            *hosts,
            f"--blobPort={ports['Blob']}",
            f"--queuePort={ports['Queue']}",
            "--tablePort=0",
            "--oauth=basic",
            f"--cert={self._certificates.certificate_file.absolute()}",
            f"--key={self._certificates.key_file.absolute()}",
            # azure-storage-blob and -queue speak a newer service version than Azurite 3.35 knows.
            "--skipApiVersionCheck",
            "--disableTelemetry",
            "--silent",
        ]

    def _environment(self) -> dict[str, str]:
        keys = (f"{account}:{b64encode(secrets.token_bytes(64)).decode()}" for account in self._accounts)
        return os.environ | {"AZURITE_ACCOUNTS": ";".join(keys)}

    def _copy_output(self, process: subprocess.Popen[str], lines: "queue.SimpleQueue[str | None]") -> None:
        with self.log_file.open("a", encoding="utf-8") as log:
            for line in process.stdout or ():
                log.write(line)
                log.flush()
                lines.put(line.rstrip())
        lines.put(None)
        process.wait()
        if self._process is process and self._ports:
            self._ended()

    def _release(self, process: subprocess.Popen[str]) -> None:
        if process.stdin is not None:
            process.stdin.close()  # ends whatever of it still runs: see with_parent.js
        if self._reader is not None:
            self._reader.join()
        if process.stdout is not None:
            process.stdout.close()

    def _url(self, service: str, account: str) -> str:
        if self._process is None:
            raise EmulatorError("Azurite is not running: call start() first.")
        return f"https://{LOOPBACK}:{self._ports[service]}/{account}"


def _lock(data_dir: Path) -> IO[str]:
    """The folder's lock, held by whoever has the file open: this process, then Azurite alone.

    An Azurite whose emulator was killed is still writing its store: that one is waited for.
    """
    lock = (data_dir / "azurite.lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        owner, *node = lock.read().split() or ["0"]
        if _is_alive(int(owner)):
            lock.close()
            raise FolderInUse(
                f"A fleet already runs on {data_dir} (process {owner}). Use it, stop it, or choose another folder."
            ) from error
        for pid in node:
            _await_end(int(pid))
        fcntl.flock(lock, fcntl.LOCK_EX)
    lock.seek(0)
    lock.truncate()
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, ValueError):
        return False


def _await_end(pid: int) -> None:
    try:
        process = psutil.Process(pid)
        process.wait(STOP_TIMEOUT_S)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        process.kill()
