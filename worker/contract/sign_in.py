"""Whoever is signed in on a laptop, as a credential that says what to do where nobody is."""

import re
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from azure.core.credentials import AccessToken, TokenCredential
from azure.core.exceptions import ClientAuthenticationError

from worker.contract.errors import NotSignedIn, first_line

RENEWED_BEFORE_S: Final = 300.0
"""Of a token's end: as azure-core does."""
_OF_THE_CLI: Final = re.compile(r"^\s*AzureCliCredential: (.+)$", re.MULTILINE)


class SignedIn:
    """A credential of azure-identity. The SDK does not try again what it raises: nobody signs in within seconds.

    A token is asked for once, and shared by all clients and threads: each question is a process of the Azure CLI, which
    takes a second on a fast machine, and times out where many begin at once.
    """

    def __init__(self, identity: TokenCredential, now_s: Callable[[], float] = time.time) -> None:
        self._identity = identity
        self._now_s = now_s
        self._lock = threading.Lock()
        self._tokens: dict[tuple[str, ...], AccessToken] = {}
        self._refused = ""
        self._refusals = 0

    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        **options: Any,
    ) -> AccessToken:
        """Return a token for `scopes`. Raises NotSignedIn, with what the Azure CLI said."""
        refusals = self._refusals
        with self._lock:
            if self._refusals > refusals:
                raise NotSignedIn(self._refused)  # it was asked while we waited
            known = self._tokens.get(scopes)
            if known is not None and not claims and known.expires_on - self._now_s() > RENEWED_BEFORE_S:
                return known
            asked = {"claims": claims, "tenant_id": tenant_id, "enable_cae": enable_cae, **options}
            self._tokens[scopes] = self._ask(scopes, asked)
            return self._tokens[scopes]

    def _ask(self, scopes: tuple[str, ...], asked: dict[str, Any]) -> AccessToken:
        try:
            return self._identity.get_token(*scopes, **asked)
        except ClientAuthenticationError as error:
            # A chain tells of all its members, of which most are nothing to this person.
            said = _OF_THE_CLI.search(error.message)
            self._refused = f"It says: {said[1] if said else first_line(error)}"
            self._refusals += 1
            raise NotSignedIn(self._refused) from error
