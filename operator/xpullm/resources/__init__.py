"""Plan → the Kubernetes objects that serve it. Pure: dicts out, nothing read but the arguments."""
