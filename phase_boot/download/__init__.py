"""Downloads signed artifacts from untrusted sources, and verifies every byte by its hash.

`fetch_artifact` is the entry point. It takes a `DownloadContext` (ports, store, policy) and
`Sources` (mirrors, gateways, discovery, tracker). The package knows no state and no adapter.
"""

from phase_boot.download.artifact import fetch_artifact
from phase_boot.download.context import ArtifactUnavailable, DownloadContext
from phase_boot.download.peer_search import PeerSearch
from phase_boot.download.provider_search import ProviderSearch
from phase_boot.download.sources import SourceDiscovery, Sources
from phase_boot.download.tracker_client import TrackerClient

__all__ = [
    "ArtifactUnavailable",
    "DownloadContext",
    "PeerSearch",
    "ProviderSearch",
    "SourceDiscovery",
    "Sources",
    "TrackerClient",
    "fetch_artifact",
]
