"""Plasma: runs the jobs of the booted OS, and proves it by receipts. Never part of the seed."""
