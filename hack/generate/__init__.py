"""Generators of checked-in files: CRDs, the API reference, excerpts of Kubernetes' OpenAPI."""
