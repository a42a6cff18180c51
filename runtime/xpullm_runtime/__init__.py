"""What runs inside the engine container: supervisor, diagnosis, report. Standard library only."""

__version__ = "0.1.0"
