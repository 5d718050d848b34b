"""Access tokens of the emulated tenant: who a request comes from. Authorisation is not decided here."""

import os
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import azure.core.credentials
import jwt

ARM_AUDIENCE = "https://management.azure.com"
STORAGE_AUDIENCE = "https://storage.azure.com"
LIFETIME = timedelta(hours=24)
"""What Azure's managed identities get."""

_ALGORITHM = "HS256"


@dataclass(frozen=True)
class Identity:
    """A user-assigned managed identity, as the directory knows it."""

    name: str
    resource_id: str
    client_id: str
    principal_id: str
    tenant_id: str

    def is_called(self, *, client_id: str | None, object_id: str | None, resource_id: str | None) -> bool:
        """Whether a token request that names an identity in one of these three ways means this one."""
        return (
            client_id == self.client_id
            or object_id == self.principal_id
            or (resource_id is not None and resource_id.casefold() == self.resource_id.casefold())
        )


@dataclass(frozen=True)
class Principal:
    """Who sent a request, as its token says. `vm_id` is the resource id of the VM that asked for the token, if any."""

    object_id: str
    client_id: str
    tenant_id: str
    identity_resource_id: str
    vm_resource_id: str | None


@dataclass(frozen=True)
class AccessToken:
    """A bearer token and when it was issued and ends, as IMDS hands it out (all times UTC)."""

    text: str
    audience: str
    issued: datetime
    expires: datetime


class InvalidToken(Exception):
    """The bearer token is not one of ours, is for another audience, or has expired."""


class TokenAuthority:
    """Issues tokens and reads them back. The signing key is a file, so that tokens outlive a restart of the emulator.

    Azurite decodes the same tokens and checks issuer, audience and times (not the signature).
    """

    def __init__(self, key: bytes, now: Callable[[], datetime], lifetime: timedelta = LIFETIME) -> None:
        self._key = key
        self._now = now
        self._lifetime = lifetime

    @classmethod
    def in_folder(cls, folder: Path, now: Callable[[], datetime], lifetime: timedelta = LIFETIME) -> "TokenAuthority":
        """The authority whose key is `token.key` of `folder`; the key is made the first time."""
        file = folder / "token.key"
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return cls(file.read_bytes(), now, lifetime)
        key = secrets.token_bytes(32)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(key)
        return cls(key, now, lifetime)

    def issue(self, identity: Identity, audience: str, vm_resource_id: str | None = None) -> AccessToken:
        """A token for `identity` that is good at `audience` (a resource such as `https://storage.azure.com`)."""
        issued = self._now().replace(microsecond=0)
        expires = issued + self._lifetime
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{identity.tenant_id}/",
            # Entra backdates by five minutes too, so that a clock a little behind does not refuse the token.
            "iat": issued - timedelta(minutes=5),
            "nbf": issued - timedelta(minutes=5),
            "exp": expires,
            "appid": identity.client_id,
            "idtyp": "app",
            "oid": identity.principal_id,
            "sub": identity.principal_id,
            "tid": identity.tenant_id,
            "uti": uuid.uuid4().hex,
            "ver": "1.0",
            "xms_mirid": identity.resource_id,
        }
        if vm_resource_id is not None:
            claims["xms_az_rid"] = vm_resource_id
        return AccessToken(jwt.encode(claims, self._key, _ALGORITHM), audience, issued, expires)

    def principal(self, token: str, audience: str) -> Principal:
        """Who `token` speaks for. InvalidToken says why it is refused."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                audience=[audience, f"{audience}/"],
                options={"require": ["aud", "exp", "nbf", "iat", "oid"], "verify_exp": False, "verify_nbf": False},
            )
        except jwt.InvalidTokenError as error:
            raise InvalidToken(str(error)) from error
        self._check_times(claims["nbf"], claims["exp"])
        return Principal(
            object_id=claims["oid"],
            client_id=claims["appid"],
            tenant_id=claims["tid"],
            identity_resource_id=claims["xms_mirid"],
            vm_resource_id=claims.get("xms_az_rid"),
        )

    def _check_times(self, not_before: float, expires: float) -> None:
        # By our own clock, which tests move; PyJWT reads the system's.
        now = self._now().timestamp()
        if now < not_before:
            raise InvalidToken("the token is not valid yet")
        if now >= expires:
            raise InvalidToken("the token has expired")


class DirectCredential:
    """A credential for Azure's clients that asks the tenant directly, without the way through IMDS."""

    def __init__(self, tokens: TokenAuthority, identity: Identity) -> None:
        self._tokens = tokens
        self._identity = identity

    def get_token(self, *scopes: str, **_: Any) -> azure.core.credentials.AccessToken:
        """A token for the one scope, such as `https://storage.azure.com/.default`."""
        (scope,) = scopes
        token = self._tokens.issue(self._identity, scope.removesuffix("/.default"))
        return azure.core.credentials.AccessToken(token.text, int(token.expires.timestamp()))
