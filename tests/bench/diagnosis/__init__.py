"""How often diagnosis is right, and how fast: `python -m tests.bench.diagnosis`."""
