"""Tokens of the emulated tenant."""

import stat
from datetime import timedelta
from pathlib import Path

import pytest

from producer.emulator.tokens import (
    ARM_AUDIENCE,
    STORAGE_AUDIENCE,
    DirectCredential,
    Identity,
    InvalidToken,
    TokenAuthority,
)
from tests.fakes.hand_clock import HandClock


@pytest.fixture
def authority(clock: HandClock) -> TokenAuthority:
    return TokenAuthority(b"a key of the tests, of 32 bytes or more", clock)


def test_a_token_tells_who_it_speaks_for(authority: TokenAuthority, identity: Identity) -> None:
    principal = authority.principal(authority.issue(identity, ARM_AUDIENCE, "/vm").text, ARM_AUDIENCE)
    assert principal.object_id == identity.principal_id
    assert principal.client_id == identity.client_id
    assert principal.identity_resource_id == identity.resource_id
    assert principal.vm_resource_id == "/vm"


def test_a_slash_at_the_end_of_an_audience_means_nothing(authority: TokenAuthority, identity: Identity) -> None:
    token = authority.issue(identity, f"{ARM_AUDIENCE}/").text
    assert authority.principal(token, ARM_AUDIENCE).object_id == identity.principal_id


def test_a_token_for_another_audience_is_refused(authority: TokenAuthority, identity: Identity) -> None:
    with pytest.raises(InvalidToken, match=r"[Aa]udience"):
        authority.principal(authority.issue(identity, STORAGE_AUDIENCE).text, ARM_AUDIENCE)


def test_a_token_ends(authority: TokenAuthority, identity: Identity, clock: HandClock) -> None:
    token = authority.issue(identity, ARM_AUDIENCE).text
    clock.pass_s(86_399)
    assert authority.principal(token, ARM_AUDIENCE)
    clock.pass_s(1)
    with pytest.raises(InvalidToken, match="expired"):
        authority.principal(token, ARM_AUDIENCE)


def test_a_token_of_tomorrow_is_not_valid_today(
    authority: TokenAuthority, identity: Identity, clock: HandClock
) -> None:
    clock.pass_s(86_400)
    token = authority.issue(identity, ARM_AUDIENCE).text
    clock.pass_s(-86_400)
    with pytest.raises(InvalidToken, match="not valid yet"):
        authority.principal(token, ARM_AUDIENCE)


def test_tokens_outlive_the_emulator_and_their_key_is_its_owners_alone(
    identity: Identity, clock: HandClock, tmp_path: Path
) -> None:
    token = TokenAuthority.in_folder(tmp_path, clock).issue(identity, ARM_AUDIENCE).text
    assert TokenAuthority.in_folder(tmp_path, clock).principal(token, ARM_AUDIENCE)
    assert stat.S_IMODE((tmp_path / "token.key").stat().st_mode) == 0o600
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(InvalidToken):
        TokenAuthority.in_folder(other, clock).principal(token, ARM_AUDIENCE)


def test_a_short_lifetime_is_kept(identity: Identity, clock: HandClock) -> None:
    short = TokenAuthority(b"a key of the tests, of 32 bytes or more", clock, timedelta(minutes=5))
    token = short.issue(identity, ARM_AUDIENCE)
    assert token.expires - token.issued == timedelta(minutes=5)
    clock.pass_s(300)
    with pytest.raises(InvalidToken, match="expired"):
        short.principal(token.text, ARM_AUDIENCE)


def test_a_credential_that_asks_directly_gets_the_same(
    authority: TokenAuthority, identity: Identity, clock: HandClock
) -> None:
    token = DirectCredential(authority, identity).get_token("https://storage.azure.com/.default")
    assert authority.principal(token.token, STORAGE_AUDIENCE).object_id == identity.principal_id
    assert token.expires_on == int(clock.now.timestamp()) + 86_400
