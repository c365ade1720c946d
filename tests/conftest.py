"""What all suites share: the fixtures that users may import too."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = ["stagepost.testing.fixtures"]

# How long an example takes says something about the machine, not about the code. In CI Hypothesis chooses by itself a
# fixed seed; everywhere else each run looks at other examples.
settings.register_profile("stagepost", settings(), deadline=None)
settings.load_profile("stagepost")

# For trials that run the suites hundreds of times (tests/mutate): few examples, always the same ones, none remembered.
settings.register_profile("few", settings(), max_examples=8, derandomize=True, database=None, deadline=None)
