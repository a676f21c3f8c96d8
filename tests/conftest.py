"""What all tests share: examples are never judged by how long they take."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A virtual machine may be running on the other core: slowness is no failure.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
