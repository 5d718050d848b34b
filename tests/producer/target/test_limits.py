"""Claims about what a subscription allows."""

from collections.abc import Mapping

import pytest

from producer.target.limits import (
    Clamped,
    Permission,
    Size,
    Usage,
    clamp,
    missing,
    offer_doubt,
    offer_trouble,
    size_troubles,
)
from tests.fakes.cloud import CONTRIBUTOR, OWNER, ROLE_ADMINISTRATOR, size, usage

F8 = Size.of(size())
WRITE_ROLES = "Microsoft.Authorization/roleAssignments/write"
DEFINE_ROLES = "Microsoft.Authorization/roleDefinitions/write"
WRITE_SETS = "Microsoft.Compute/virtualMachineScaleSets/write"


def usages(**numbers: tuple[int, int]) -> Mapping[str, Usage]:
    return {name: Usage(name, *both) for name, both in numbers.items()}


@pytest.mark.parametrize(
    ("found", "maximum", "by"),
    [
        ({}, 10, ""),
        ({"lowPriorityCores": (0, 80)}, 10, ""),
        ({"lowPriorityCores": (0, 79)}, 9, "lowPriorityCores"),
        ({"lowPriorityCores": (0, 3)}, 0, "lowPriorityCores"),
        ({"lowPriorityCores": (70, 80)}, 1, "lowPriorityCores"),
        ({"lowPriorityCores": (90, 80)}, 0, "lowPriorityCores"),
        ({"lowPriorityCores": (0, 80), "PublicIPAddresses": (4, 10)}, 6, "PublicIPAddresses"),
        ({"lowPriorityCores": (0, 24), "IPv4StandardSkuPublicIpAddresses": (4, 10)}, 3, "lowPriorityCores"),
        ({"cores": (0, 8)}, 10, ""),  # those are of regular VMs
    ],
)
def test_the_maximum_is_cut_by_the_tightest_quota_and_says_by_which(
    found: Mapping[str, tuple[int, int]], maximum: int, by: str
) -> None:
    cut = clamp(10, [F8], usages(**found), spot=True, addresses=True, own=0)
    assert cut.maximum == maximum
    assert (by in cut.by) if by else cut == Clamped(10)


def test_vms_of_ones_own_are_not_counted_against_oneself() -> None:
    found = usages(lowPriorityCores=(40, 80), PublicIPAddresses=(5, 10))
    assert clamp(10, [F8], found, spot=True, addresses=True, own=5).maximum == 10
    assert clamp(10, [F8], found, spot=True, addresses=True, own=4).maximum == 9


def test_a_gateway_needs_no_addresses_and_regular_vms_no_spot_quota() -> None:
    found = usages(lowPriorityCores=(0, 8), PublicIPAddresses=(0, 1), cores=(0, 100), StandardFalsv6Family=(0, 32))
    assert clamp(10, [F8], found, spot=True, addresses=False, own=0).maximum == 1
    cut = clamp(10, [F8], found, spot=False, addresses=False, own=0)
    assert (cut.maximum, "StandardFalsv6Family" in cut.by) == (4, True)


def test_a_mix_is_reckoned_with_its_largest_size() -> None:
    mix = [F8, Size.of(size("Standard_F16als_v6", vCPUs="16"))]
    assert clamp(10, mix, usages(lowPriorityCores=(0, 80)), spot=True, addresses=True, own=0).maximum == 5


@pytest.mark.parametrize(("vcpus", "each", "cores"), [("8", "1", 8), ("8", "2", 4), ("1", "2", 1)])
def test_a_size_has_as_many_workers_as_physical_cores(vcpus: str, each: str, cores: int) -> None:
    assert Size.of(size(vCPUs=vcpus, vCPUsPerCore=each)).cores == cores


@pytest.mark.parametrize(
    ("document", "word"),
    [
        (size(restricted="NotAvailableForSubscription"), "NotAvailableForSubscription"),
        (size(LowPriorityCapable="False"), "spot"),
        (size(CpuArchitectureType="Arm64"), "Arm64"),
        (size(HyperVGenerations="V1"), "generation 2"),
        (size(TrustedLaunchDisabled="True"), "trusted launch"),
        (size(AcceleratedNetworkingEnabled="False"), "accelerated networking"),
    ],
)
def test_what_a_size_lacks_is_said(document: Mapping[str, object], word: str) -> None:
    (trouble,) = size_troubles(Size.of(document), spot=True, ephemeral=None)
    assert word in trouble
    assert "Standard_F8als_v6" in trouble


def test_a_size_that_is_only_missing_in_some_zones_will_do() -> None:
    assert not size_troubles(F8, spot=True, ephemeral=None)
    assert size_troubles(F8, spot=True, ephemeral="NvmeDisk")
    assert not size_troubles(Size.of(size(EphemeralOSDiskSupported="True")), spot=True, ephemeral="NvmeDisk")
    assert not size_troubles(Size.of(size(LowPriorityCapable="False")), spot=False, ephemeral=None)


@pytest.mark.parametrize(
    ("kind", "trouble", "doubt"),
    [
        ("PayAsYouGo_2014-09-01", False, False),
        ("EnterpriseAgreement_2014-09-01", False, False),
        ("FreeTrial_2014-09-01", True, False),
        ("AzureForStudents_2018-01-01", True, False),
        ("MSDN_2014-09-01", False, True),
        ("", False, False),
    ],
)
def test_a_kind_of_subscription_has_spot_vms_or_not_or_nobody_knows(kind: str, trouble: bool, doubt: bool) -> None:
    assert (bool(offer_trouble(kind)), bool(offer_doubt(kind))) == (trouble, doubt)


@pytest.mark.parametrize(
    ("documents", "lacking"),
    [
        ([OWNER], ()),
        ([CONTRIBUTOR], (WRITE_ROLES, DEFINE_ROLES)),
        ([CONTRIBUTOR, ROLE_ADMINISTRATOR], (DEFINE_ROLES,)),
        ([ROLE_ADMINISTRATOR], (DEFINE_ROLES, WRITE_SETS)),
        ([], (WRITE_ROLES, DEFINE_ROLES, WRITE_SETS)),
    ],
)
def test_rights_add_up_and_what_one_role_excludes_another_may_give(
    documents: list[Mapping[str, list[str]]], lacking: tuple[str, ...]
) -> None:
    found = [Permission(frozenset(one["actions"]), frozenset(one["notActions"])) for one in documents]
    assert missing(found, (WRITE_ROLES, DEFINE_ROLES, WRITE_SETS)) == lacking


def test_numbers_come_as_text_or_not() -> None:
    assert Usage.of(usage("x", "3", "10")) == Usage.of(usage("x", 3, 10)) == Usage("x", 3, 10)
