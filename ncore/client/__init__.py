"""The client of a running service."""

from ncore.client.bodies import body_of
from ncore.client.client import Client
from ncore.client.resources import Experiment, ExperimentFailed, Sweep
from ncore.client.transport import ApiError, NotReached
from ncore.status import ENDED

__all__ = ["ENDED", "ApiError", "Client", "Experiment", "ExperimentFailed", "NotReached", "Sweep", "body_of"]
