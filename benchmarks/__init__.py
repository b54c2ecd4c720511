"""Measurements beside their baselines: ``make bench ARGS='PART … [--json FILE]'``. Figures, never pass or fail."""
