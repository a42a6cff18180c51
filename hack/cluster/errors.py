"""The one error of the harness: a sentence for people."""


class ClusterError(RuntimeError):
    """Something the harness needs is missing or did not come up; the message says what to do."""
