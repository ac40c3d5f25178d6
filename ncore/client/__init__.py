"""The client of a running service."""

from ncore.client.client import Client, Experiment, ExperimentFailed, Sweep
from ncore.client.transport import ApiError, NotReached

__all__ = ["ApiError", "Client", "Experiment", "ExperimentFailed", "NotReached", "Sweep"]
