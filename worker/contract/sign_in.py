"""Whoever is signed in on a laptop, as a credential that says what to do where nobody is."""

import re
from typing import Any, Final

from azure.core.credentials import AccessToken, TokenCredential
from azure.core.exceptions import ClientAuthenticationError

from worker.contract.errors import NotSignedIn

_OF_THE_CLI: Final = re.compile(r"^\s*AzureCliCredential: (.+)$", re.MULTILINE)


class SignedIn:
    """A credential of azure-identity. The SDK does not try again what it raises: nobody signs in within seconds."""

    def __init__(self, identity: TokenCredential) -> None:
        self._identity = identity

    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **options: Any,
    ) -> AccessToken:
        """Return a token for `scopes`. Raises NotSignedIn, with what the Azure CLI said."""
        try:
            return self._identity.get_token(
                *scopes, claims=claims, tenant_id=tenant_id, enable_cae=enable_cae, **options
            )
        except ClientAuthenticationError as error:
            # A chain tells of all its members, of which most are nothing to this person.
            said = _OF_THE_CLI.search(error.message)
            raise NotSignedIn(f"It says: {said[1] if said else error.message.splitlines()[0]}") from error
