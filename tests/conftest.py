"""What every test run has: hypothesis without a clock of its own, so that a busy machine changes no verdict."""

from __future__ import annotations

import hypothesis

hypothesis.settings.register_profile(
    "pitd",
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.differing_executors],
)
hypothesis.settings.load_profile("pitd")
