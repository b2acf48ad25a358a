"""Which settings hold for every test? Reproducible property tests, nothing else."""

import os

from hypothesis import settings

# A slow machine is not a wrong program: pytest-timeout bounds a test, not hypothesis.
settings.register_profile("default", deadline=None, max_examples=100)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

pytest_plugins = ("support.fixtures",)
