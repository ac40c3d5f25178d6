"""The client, where scripts written for the first version look for it; its place is `ncore.client`."""

from ncore.client import ApiError, Client, Experiment, ExperimentFailed, NotReached, Sweep

__all__ = ["ApiError", "Client", "Experiment", "ExperimentFailed", "NotReached", "Sweep"]
