"""Turning a signed artifact and places where it may be into bytes that hash to it."""

from phase_boot.download.artifact import obtain
from phase_boot.download.context import Errand, Unobtainable
from phase_boot.download.source_discovery import Company
from phase_boot.download.tracker_client import Circle

__all__ = ["Circle", "Company", "Errand", "Unobtainable", "obtain"]
