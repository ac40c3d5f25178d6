"""The client of a running service, and the logger of loops of one's own."""

from ncore.client.bodies import body_of
from ncore.client.client import Client
from ncore.client.loop import LoggedRun, start
from ncore.client.resources import Experiment, ExperimentFailed, Sweep
from ncore.client.transport import ApiError, NotReached
from ncore.status import ENDED

__all__ = [
    "ENDED",
    "ApiError",
    "Client",
    "Experiment",
    "ExperimentFailed",
    "LoggedRun",
    "NotReached",
    "Sweep",
    "body_of",
    "start",
]
