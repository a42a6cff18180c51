"""Generators of checked-in files: CRDs, reference pages, and excerpts of what others publish."""
