"""/theory: predictions beside the last measurements."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.database.measurements import latest
from api.database.sessions import reading
from api.database.tables import Experiment
from api.predictions import prediction_of
from api.shown import find
from api.web.bodies import SpecBody, sound
from api.web.errors import PROBLEMS
from ncore.meanings import MEANINGS
from ncore.presets import spec_of
from ncore.theory import Prediction, predict
from ncore.theory.comparison import Comparison, compare

router = APIRouter(tags=["theory"], responses=PROBLEMS)


class Theory(BaseModel):
    prediction: Prediction
    comparison: list[Comparison]


@router.post("/theory", response_model=Prediction)
def predict_spec(body: SpecBody) -> Prediction:
    """The prediction for a spec (or a preset with changes) without running it."""
    return predict(spec_of(sound(body)))


@router.get("/experiments/{experiment_id}/theory", response_model=Theory)
def get_theory(experiment_id: str) -> Theory:
    """The prediction for an experiment, and every seed's last measurement beside it."""
    with reading() as session:
        return theory_of(session, find(session, experiment_id))


class MeaningOut(BaseModel):
    """The meaning of a verdict, and the condition on the last measurement under which it is given."""

    verdict: str
    meaning: str
    criterion: str


class Meanings(BaseModel):
    items: list[MeaningOut]


@router.get("/verdicts", response_model=Meanings)
def list_verdicts() -> Meanings:
    """Every verdict with its meaning and its thresholds."""
    return Meanings(items=[MeaningOut(**asdict(one)) for one in MEANINGS.values()])


def theory_of(session: Session, row: Experiment) -> Theory:
    """A loop may measure collapse less often than its loss: its last measurement of collapse is compared."""
    prediction, metric = prediction_of(row.spec), "nc1" if row.source == "external" else None
    return Theory(prediction=prediction, comparison=compare(prediction, latest(session, row.id, metric)))
