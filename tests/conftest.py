"""What all tests share: how hypothesis searches."""

import os

from hypothesis import HealthCheck, settings

# No example has a time limit, as machines differ. On CI the same examples run every time, so that
# a change fails for what it changed.
settings.register_profile("all", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("all"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "all")
