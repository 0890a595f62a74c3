"""Champion and challenger in MLflow's model registry, in one folder, without a server.

Every call goes through a client that names its own database, so MLflow's process-wide settings (tracking URI,
active run) are neither read nor changed, and worker threads do not meet there.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow reads it once, while it is imported

import mlflow.sklearn
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from model import Model

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "flight-times"
ALIAS = "champion"

# MLflow stores a model in the skops format, which loads only types that are named: these make up the booster.
_TRUSTED_TYPES = [
    "numpy.dtype",
    "sklearn._loss._loss.CyHalfSquaredError",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.link.Interval",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
]
_opening = Lock()
# CPython 3.11 can raise SystemError where two threads parse source at once (gh-106905), and reading a model does: numpy
# parses the header of each array.
_reading = Lock()


@dataclass(frozen=True)
class Champion:
    """The model that serves: its registry version, and the month that it was trained on ("2013-07")."""

    model: Model
    version: int
    month: str


@dataclass(frozen=True)
class Registry:
    """A model registry in a folder: `mlflow.db` and `models/`.

    It holds nothing but the path, so it crosses to other threads and processes. To look at it:
    `mlflow ui --backend-store-uri sqlite:///<folder>/mlflow.db`.
    """

    folder: Path

    def champion(self) -> Champion | None:
        """Return the model that the alias points to, or None before the first promotion."""
        try:
            found = self._client().get_model_version_by_alias(NAME, ALIAS)
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                return None  # no model yet, or no alias yet
            raise
        with _reading:
            pipeline = mlflow.sklearn.load_model(found.source)
        return Champion(Model(pipeline), int(found.version), found.tags["month"])

    def register(self, model: Model, month: str, metrics: Mapping[str, float]) -> int:
        """Store a model as a new version, with a run that holds its metrics, and return the version's number.

        The alias stays where it is: registering changes nothing for those who use the champion.
        """
        client = self._client()
        run = client.create_run(_experiment(client, self.folder), run_name=month)
        for name, value in metrics.items():
            client.log_metric(run.info.run_id, name, value)
        with TemporaryDirectory() as folder:
            path = str(Path(folder, "model"))
            with _reading:  # saving reads what it wrote
                mlflow.sklearn.save_model(
                    model.pipeline,
                    path,
                    pip_requirements=_requirements(),  # inferring them takes MLflow 10 to 20 s
                    skops_trusted_types=_TRUSTED_TYPES,
                )
            client.log_artifacts(run.info.run_id, path, "model")
        client.set_terminated(run.info.run_id)
        source = f"{run.info.artifact_uri}/model"
        made = client.create_model_version(NAME, source, run_id=run.info.run_id, tags={"month": month})
        return int(made.version)

    def promote(self, version: int) -> None:
        """Make a version the champion by one move of the alias: readers see the old one or the new one."""
        self._client().set_registered_model_alias(NAME, ALIAS, str(version))

    def _client(self) -> MlflowClient:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        # It warns of each model that is stored where there is no pip, as in environments that uv makes.
        logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
        folder = self.folder.resolve()
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        with _opening:  # the first to come creates the tables and both names; the others find them
            folder.mkdir(parents=True, exist_ok=True)
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            _experiment(client, folder)
            if not client.search_registered_models(f"name = '{NAME}'"):
                client.create_registered_model(NAME)
        return client


def decide(champion_rmse: float, challenger_rmse: float, margin: float = 0.02) -> bool:
    """Say whether the challenger replaces the champion: only if its error is smaller by more than `margin`.

    Both errors must come from the same flights. An error that is not a number never wins.
    """
    return challenger_rmse < champion_rmse * (1 - margin)


def _experiment(client: MlflowClient, folder: Path) -> str:
    found = client.get_experiment_by_name(NAME)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(NAME, artifact_location=(folder / "models").as_uri()))


def _requirements() -> list[str]:
    return [f"{name}=={installed(name)}" for name in ("scikit-learn", "skops", "pandas")]
