"""The levers that `ladder.toml` names: each answers a proposal, or why it stays where it is."""
