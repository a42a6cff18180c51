"""Single files out of published packages, without downloading or importing the packages."""
