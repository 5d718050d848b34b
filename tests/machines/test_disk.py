"""What is made different on a machine's disk stays on it."""

from pathlib import Path

import pytest

from producer.emulator.errors import EmulatorError
from producer.emulator.nspawn.disk import furnish, inside
from producer.emulator.nspawn.spec import NspawnSpec


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "etc").mkdir(parents=True)
    return tmp_path / "root"


def test_a_link_that_leads_out_of_the_disk_is_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (root / "opt").symlink_to(tmp_path / "ours")
    with pytest.raises(EmulatorError, match="leads out of the machine's disk"):
        furnish(root, NspawnSpec("vm", {"/opt/file": "content"}))
    assert list((tmp_path / "ours").iterdir()) == []


def test_a_link_within_the_disk_is(root: Path) -> None:
    (root / "usr" / "lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    assert inside(root, "/lib/file") == root / "usr" / "lib" / "file"


def test_a_file_that_is_a_link_is_replaced_and_not_what_it_leads_to(root: Path, tmp_path: Path) -> None:
    ours = tmp_path / "hosts"
    ours.write_text("ours")
    (root / "etc" / "hosts").symlink_to(ours)
    furnish(root, NspawnSpec("vm", {"/etc/hosts": "the machine's"}))
    assert ours.read_text() == "ours"
    assert (root / "etc" / "hosts").read_text() == "the machine's"


def test_nothing_that_is_enabled_here_is_enabled_there(root: Path) -> None:
    wants = root / "etc" / "systemd" / "system" / "multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "postgresql.service").symlink_to("/lib/systemd/system/postgresql.service")
    (root / "etc" / "rc5.d").mkdir()
    (root / "etc" / "rc5.d" / "S01ssh").touch()
    furnish(root, NspawnSpec("vm", {}, links={"/etc/systemd/system/mine.service": "/opt/mine.service"}))
    assert [path.name for path in (root / "etc" / "systemd" / "system").iterdir()] == ["mine.service"]
    assert list((root / "etc" / "rc5.d").iterdir()) == []


def test_what_that_machine_has_not_is_removed_by_pattern(root: Path) -> None:
    (root / "usr" / "lib" / "python3.11" / "ensurepip").mkdir(parents=True)
    furnish(root, NspawnSpec("vm", {}, removed=("/usr/lib/python3*/ensurepip",)))
    assert list((root / "usr" / "lib" / "python3.11").iterdir()) == []


def test_a_spec_survives_the_way_to_its_supervisor() -> None:
    spec = NspawnSpec("vm", {"/a": "b"}, {"/c": "/d"}, ("/e*",), {"/f": "/g"})
    assert NspawnSpec.from_json(spec.to_json()) == spec
