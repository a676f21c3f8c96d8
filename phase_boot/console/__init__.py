"""Renders events as text: readers of the event stream, never part of the machine."""
