"""What is committed is what the Bicep compiler makes of the sources, without a warning, and what it refuses.

The compiler is taken from $BICEP, the PATH, or shared/tools/bicep beside the repository.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.needs import unavailable

REPOSITORY = Path(__file__).parents[2]
BICEP = REPOSITORY / "bicep"
SOURCES = sorted([BICEP / "main.bicep", *(BICEP / "modules").glob("*.bicep")])
PARAMETERS = [BICEP / "main.bicepparam", *sorted((BICEP / "snapshots").glob("*.bicepparam"))]
CASES = [path for path in PARAMETERS if path.stem not in {"base", "main"}]


def find_compiler() -> str | None:
    """The compiler, or None where this machine has none."""
    beside = REPOSITORY.parent / "shared" / "tools" / "bicep" / "bicep"
    return os.environ.get("BICEP") or shutil.which("bicep") or (str(beside) if beside.exists() else None)


class Compiler:
    """One compiler process, spoken to by JSON-RPC: started once, it answers in half a second instead of five."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.calls = 0

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.calls += 1
        request = {"jsonrpc": "2.0", "id": self.calls, "method": f"bicep/{method}", "params": [arguments]}
        body = json.dumps(request).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()
        length = 0
        while header := self.process.stdout.readline().strip():
            name, _, value = header.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        answer: dict[str, Any] = json.loads(self.process.stdout.read(length))
        return answer

    def snapshot(self, path: Path) -> dict[str, Any]:
        metadata = {
            "tenantId": None,
            "subscriptionId": "00000000-0000-0000-0000-000000000001",
            "resourceGroup": "rg",
            "location": "westeurope",
            "deploymentName": None,
        }
        return self.call("getSnapshot", path=str(path), metadata=metadata, externalInputs=[])


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compiler]:
    """The running compiler."""
    program = find_compiler()
    if program is None:
        unavailable("no Bicep compiler: set $BICEP, or install it as `bicep`")
    home = tmp_path_factory.mktemp("home")
    given = {"TRANQUILITY_SSH_PUBLIC_KEY": f"ssh-ed25519 {'A' * 64}", "TRANQUILITY_IMAGE_VERSION": "24.04.202608010"}
    environment = {**os.environ, **given, "HOME": str(home), "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"}
    with subprocess.Popen(
        [program, "jsonrpc", "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        yield Compiler(process)
        process.terminate()


def test_the_sources_compile_without_a_warning_to_the_committed_template(compiler: Compiler) -> None:
    answer = compiler.call("compile", path=str(BICEP / "main.bicep"))["result"]
    assert answer["diagnostics"] == []
    assert json.loads(answer["contents"]) == json.loads((BICEP / "main.json").read_text())


def test_the_users_parameters_are_the_defaults_and_what_has_none(compiler: Compiler) -> None:
    answer = compiler.call("compileParams", path=str(BICEP / "main.bicepparam"), parameterOverrides={})["result"]
    assert answer["diagnostics"] == []
    given = {name: entry["value"] for name, entry in json.loads(answer["parameters"])["parameters"].items()}
    parameters = json.loads((BICEP / "main.json").read_text())["parameters"]
    assert {"sshPublicKey", "imageVersion"} <= {name for name in given if "defaultValue" not in parameters[name]}
    defaults = {name: value for name, value in given.items() if "defaultValue" in parameters[name]}
    assert defaults == {name: parameters[name]["defaultValue"] for name in defaults}


def test_the_sources_are_formatted(compiler: Compiler) -> None:
    for path in [*SOURCES, *PARAMETERS]:
        assert compiler.call("format", path=str(path))["result"]["contents"] == path.read_text(), path.name


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_the_committed_snapshot_is_what_azure_would_be_sent(compiler: Compiler, case: Path) -> None:
    made = json.loads(compiler.snapshot(case)["result"]["snapshot"])
    assert made == json.loads(case.with_suffix(".snapshot.json").read_text())


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        (
            "param vms = { sizes: ['Standard_D8ads_v6', 'D'], slotsPerInstance: 4, ephemeral: 'NvmeDisk'}",
            "refuses an ephemeral OS disk in an instance mix",
        ),
        ("param customRoles = false\nparam wakeEnabled = false", "nothing would clear a forgotten set"),
    ],
)
def test_what_azure_would_refuse_late_is_refused_at_once(
    compiler: Compiler, tmp_path: Path, parameters: str, complaint: str
) -> None:
    up = os.path.relpath(BICEP, tmp_path)
    case = tmp_path / "case.bicepparam"
    case.write_text(
        f"using '{up}/main.bicep'\nextends '{up}/snapshots/base.bicepparam'\nparam capacity = 0\n{parameters}\n"
    )
    assert complaint in compiler.snapshot(case)["error"]["data"]["message"]


WRONG = [
    [
        "param vms = { sizes: [], slotsPerInstance: 8 }",
        "param price = { priority: 'low' }",
        "param way = { mode: 'none' }",
    ],
    ["param vms = { sizes: ['a', 'b', 'c', 'd', 'e', 'f'], slotsPerInstance: 8 }", "param reach = { mode: 'closed' }"],
    ["param vms = { sizes: ['a'], slotsPerInstance: 0 }", "param price = { priority: 'regular', maxPrice: '1' }"],
    [
        "param vms = { sizes: ['a'], slotsPerInstance: 8, ephemeral: 'FloppyDisk' }",
        "param operators = [{ objectId: 'me', kind: 'User' }]",
        "param checkpointRetentionDays = 29",
        "param wakeIntervalMinutes = 0",
        "param maxInstances = 0",
        "param prefix = 'much-too-long-a-prefix'",
        "param nothing = 1",
    ],
]


@pytest.mark.parametrize("lines", WRONG, ids=range(len(WRONG)))
def test_a_wrong_parameter_does_not_compile(compiler: Compiler, tmp_path: Path, lines: list[str]) -> None:
    up = os.path.relpath(BICEP, tmp_path)
    case = tmp_path / "case.bicepparam"
    case.write_text("\n".join([f"using '{up}/main.bicep'", f"extends '{up}/snapshots/base.bicepparam'", *lines]))
    diagnostics = compiler.call("compileParams", path=str(case), parameterOverrides={})["result"]["diagnostics"]
    complained = {
        diagnostic["range"]["start"]["line"] - 2 for diagnostic in diagnostics if "case" in diagnostic["source"]
    }
    assert [line for number, line in enumerate(lines) if number not in complained] == []


def test_every_parameter_and_output_is_described() -> None:
    template = json.loads((BICEP / "main.json").read_text())
    modules = [resource["properties"]["template"] for resource in template["resources"].values()]
    modules += [
        nested["properties"]["template"]
        for module in modules
        for nested in module["resources"].values()
        if nested["type"] == "Microsoft.Resources/deployments"
    ]
    for part in [template, *modules]:
        assert part["metadata"]["description"]
        for group in ("parameters", "outputs"):
            for name, entry in part.get(group, {}).items():
                assert entry.get("metadata", {}).get("description"), name


def test_every_rule_of_the_linter_that_is_configured_is_an_error() -> None:
    rules = json.loads((BICEP / "bicepconfig.json").read_text())["analyzers"]["core"]["rules"]
    assert {rule["level"] for rule in rules.values()} == {"error"}
    assert len(rules) > 30
