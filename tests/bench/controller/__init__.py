"""A fleet on simulated nodes: how fast, how quiet, how soon a cause is told."""
