"""What runs inside the engine container: supervisor, diagnosis, report. Standard library only."""
