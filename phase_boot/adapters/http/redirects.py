"""Checks redirects before they are followed (RFC 9110 section 15.4, docs/adr/0011-redirects.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from phase_boot.adapters.http import captive_portal
from phase_boot.console.lines import printable
from phase_boot.content.cid import Cid
from phase_boot.ports.fetcher import FetchFailed
from phase_boot.trust.ipns_name import IpnsName
from phase_boot.url import DISTANCE, BadUrl, Scope, Url

PAGE: Final = 200
NAMESPACES: Final[Mapping[str, Callable[[str], object]]] = MappingProxyType(
    {"ipfs": Cid.parse, "ipns": IpnsName.parse}
)
"""The first segments of a gateway's paths, and how the second one is read."""
ROOT: Final = ("", "/")
SHOWN: Final = 120
"""Characters of a redirect target in a message, at most."""


class Redirects:
    """The redirects of one request, each checked before it is followed."""

    def __init__(self, url: Url, *, limit: int, document: bool) -> None:
        """Start at ``url``.

        Args:
            url: the first URL.
            limit: redirects that are followed, at most.
            document: whether no hash of the content is known before the request.
        """
        self.url = url
        self.farthest: Scope | None = None
        """Scope of the farthest server so far; None before the first redirect."""
        self.moved: list[str] = []
        """Targets on another host, in order."""
        self._limit = limit
        self._document = document
        self._seen = {str(url)}
        self._plain = url.scheme == "http"

    def follow(self, location: str | None, scope: Scope) -> None:
        """Follow the redirect in a response to `url` from a server of ``scope``.

        Raises:
            Intercepted: a captive portal may have responded in place of the server.
            FetchFailed: the redirect is not permitted; the text has its target.
        """
        if not location:
            raise FetchFailed("it redirects without saying where to", retryable=False)
        try:
            target = self.url.join(location)
        except BadUrl as error:
            if self._document and self._plain and not location.startswith("/"):
                raise captive_portal.sent_elsewhere(_shown(location)) from error
            raise FetchFailed(
                f"it redirects to {_shown(location)}, which is refused: {error}", retryable=False
            ) from error
        self._check(target)
        elsewhere = target.host != self.url.host and not is_subdomain_of(self.url, target)
        self.farthest = max(filter(None, (self.farthest, scope)), key=DISTANCE.__getitem__)
        check_scope(target.scope, self.farthest, str(target))
        self._seen.add(str(target))
        if elsewhere:
            self.moved.append(str(target))
        self.url = target

    def check_page(self, status: int, kind: str) -> None:
        """Refuse a web page from another host after a request over plain HTTP.

        Raises:
            Intercepted: a captive portal redirected the request.
        """
        if self._plain and self.moved and status == PAGE and kind == "text/html":
            raise captive_portal.sent_elsewhere(_shown(self.moved[-1]))

    def _check(self, target: Url) -> None:
        shown = _shown(str(target))
        if (
            self._document
            and self._plain
            and target.host != self.url.host
            and not is_subdomain_of(self.url, target)
        ):
            raise captive_portal.sent_elsewhere(shown)
        if not self._limit:
            raise FetchFailed(
                f"it redirects to {shown}, and no redirect is followed here", retryable=False
            )
        if self.url.scheme == "https" and target.scheme != "https":
            raise FetchFailed(
                f"it redirects from https to {shown}, which is not encrypted; make it lead to an "
                "https URL",
                retryable=False,
            )
        if str(target) in self._seen:
            raise FetchFailed(f"it redirects in a loop, to {shown}", retryable=False)
        if len(self._seen) > self._limit:
            raise FetchFailed(
                f"it redirects more than {self._limit} times, last to {shown}", retryable=False
            )


def is_subdomain_of(gateway: Url, target: Url) -> bool:
    """Return whether a gateway sends to the subdomain that it has for the requested CID or name.

    See https://specs.ipfs.tech/http-gateways/subdomain-gateway/: a request for ``/ipfs/CID/PATH``
    may be redirected to ``/PATH`` of ``CID.ipfs.HOST``, and one for ``/ipns/NAME/PATH`` to that of
    ``NAME.ipns.HOST``, which is the same server.
    """
    start, namespace, root, path = (*gateway.path.split("/", 3), "", "", "")[:4]
    parse = NAMESPACES.get(namespace)
    try:
        if parse is None or start:
            return False
        host = f"{parse(root)}.{namespace}.{gateway.host}"
    except ValueError:
        return False
    places = [f"/{path}"] if path else ROOT
    return any(replace(gateway, host=host, path=place) == target for place in places)


def check_scope(scope: Scope, farthest: Scope, target: str) -> None:
    """Refuse a target that is nearer than the redirecting server.

    Raises:
        FetchFailed: the target is nearer.
    """
    if scope is not Scope.NAME and DISTANCE.get(scope, -1) < DISTANCE[farthest]:
        raise FetchFailed(
            f"it redirects to {_shown(target)}, an address that a server farther away may not "
            "send us to",
            retryable=False,
        )


def _shown(text: str) -> str:
    return printable(text)[:SHOWN]
