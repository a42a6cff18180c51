"""xpullm: a Kubernetes operator for LLM inference on Intel GPUs."""
