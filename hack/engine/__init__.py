"""A real vLLM without a GPU, for tests: vLLM's CPU build in an environment of its own.

`python -m hack.engine build` makes it once, in the user's cache; tests in tests/engine use it.
"""
