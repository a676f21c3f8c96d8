"""Turning a signed artifact and places where it may be into bytes that hash to it."""

from phase_boot.download.artifact import fetch_artifact
from phase_boot.download.context import ArtifactUnavailable, Errand
from phase_boot.download.source_discovery import SourceDiscovery
from phase_boot.download.tracker_client import TrackerClient

__all__ = ["ArtifactUnavailable", "Errand", "SourceDiscovery", "TrackerClient", "fetch_artifact"]
