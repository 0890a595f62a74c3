"""Models in MLflow's registry, and one MLflow run for each month, in one folder, without a server.

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
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from model import Model

from resilient_tasks.validation.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow.entities.model_registry import ModelVersion

NAME = "flight-times"
CHAMPION = "champion"
#: The newest model that was registered, whether it was promoted or not.
CHALLENGER = "challenger"
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}
_PROFILE = "profile.json"

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


class NoSuchVersionError(LookupError):
    """The registry has no model of that version, or one that this flow did not register."""


@dataclass(frozen=True)
class Stored:
    """A model in the registry.

    Attributes:
        model: what predicts.
        version: its number in the registry.
        month: the month that it was trained on, "2013-07".
        trained_until: the newest day that it was trained on, "2013-07-24".
    """

    model: Model
    version: int
    month: str
    trained_until: str


@dataclass(frozen=True)
class Registry:
    """A model registry in a folder: `mlflow.db` and `models/`.

    It holds nothing but the path, so it crosses to other threads and processes. To look at it:
    `mlflow ui --backend-store-uri sqlite:///<folder>/mlflow.db`.
    """

    folder: Path

    @classmethod
    def of_this_run(cls) -> Registry:
        """Return the registry in the folder that the environment names, in any process."""
        return cls(Path(os.environ["FLIGHT_TIMES_OUT"], "registry"))

    def client(self) -> MlflowClient:
        """Return a client of this registry's own database."""
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        # It warns at each stored model if there is no pip, as in environments that uv makes.
        logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
        folder = self.folder.resolve()
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        with _opening:  # the first thread creates the tables and both names; the others find them
            folder.mkdir(parents=True, exist_ok=True)
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            _experiment(client, folder)
            if not client.search_registered_models(f"name = '{NAME}'"):
                client.create_registered_model(NAME)
        return client

    def under(self, alias: str) -> int | None:
        """Return the version that an alias points to, or None."""
        try:
            return int(self.client().get_model_version_by_alias(NAME, alias).version)
        except MlflowException as error:
            if error.error_code in _ABSENT:
                return None
            raise

    def champion(self) -> Stored | None:
        """Return the model that serves, or None before the first promotion."""
        version = self.under(CHAMPION)
        return None if version is None else self.stored(version)

    def stored(self, version: int) -> Stored:
        """Return the model of a version.

        Raises:
            NoSuchVersionError: There is none, or another program registered it.
        """
        found = self._registered_here(version)
        with _reading:
            pipeline = mlflow.sklearn.load_model(found.source)
        return Stored(Model(pipeline), int(found.version), found.tags["month"], found.tags["trained_until"])

    def profile(self, version: int) -> Profile:
        """Return the profile of the month that a version was trained on, to compare later months with."""
        with TemporaryDirectory() as folder:
            return Profile.load(self.client().download_artifacts(str(self._found(version).run_id), _PROFILE, folder))

    def tags(self, version: int) -> Mapping[str, str]:
        """Return a version's tags from its registration: its month, its verdict, and the reason.

        Raises:
            NoSuchVersionError: There is none.
        """
        return dict(self._found(version).tags)

    def check(self, version: int) -> None:
        """Check that this flow can use a version as its champion.

        Raises:
            NoSuchVersionError: There is none, or another program registered it.
        """
        self._registered_here(version)

    def versions(self) -> list[int]:
        """Return the numbers of all versions, the oldest first."""
        return sorted(int(each.version) for each in self.client().search_model_versions(f"name = '{NAME}'"))

    def of_run(self, key: str) -> int | None:
        """Return the version that was registered under the key of a run, or None."""
        client = self.client()
        found = client.search_model_versions(f"name = '{NAME}' and tags.key = '{key}'")
        return int(found[0].version) if found else None

    def register(self, key: str, model: Model, profile: Profile, tags: Mapping[str, str]) -> int:
        """Store a model as a new version in the MLflow run of `key`, and return the version's number.

        The alias `challenger` moves to it, and `champion` stays where it is: registering changes nothing for those who
        use the champion. Under a key that is known nothing is stored again: a repeated attempt changes nothing.

        Args:
            key: Names the run: one month of one flow run.
            model: What is stored.
            profile: Of the flights that it was trained on.
            tags: What is noted of the version: "month" and "trained_until" at least.
        """
        if (known := self.of_run(key)) is not None:
            return known
        client = self.client()
        run_id = self.run(key, tags["month"])
        with TemporaryDirectory() as folder:
            path = str(Path(folder, "model"))
            with _reading:  # saving reads what it wrote
                mlflow.sklearn.save_model(
                    model.pipeline,
                    path,
                    pip_requirements=_requirements(),  # inferring them takes MLflow 10 to 20 s
                    skops_trusted_types=_TRUSTED_TYPES,
                )
            client.log_artifacts(run_id, path, "model")
            profile.save(Path(folder, _PROFILE))
            client.log_artifact(run_id, str(Path(folder, _PROFILE)))
        source = f"{client.get_run(run_id).info.artifact_uri}/model"
        made = client.create_model_version(NAME, source, run_id=run_id, tags={**tags, "key": key})
        client.set_registered_model_alias(NAME, CHALLENGER, made.version)
        return int(made.version)

    def run(self, key: str, month: str) -> str:
        """Return the id of the MLflow run of `key`, creating it on first use."""
        client = self.client()
        experiment = _experiment(client, self.folder)
        found = client.search_runs([experiment], f"tags.key = '{key}'")
        if found:
            return str(found[0].info.run_id)
        return str(client.create_run(experiment, run_name=month, tags={"key": key, "month": month}).info.run_id)

    def record(
        self,
        key: str,
        month: str,
        *,
        metrics: Mapping[str, float],
        params: Mapping[str, object],
        tags: Mapping[str, str],
        files: Mapping[str, str],
    ) -> None:
        """Record a month's results in its MLflow run, and end the run; idempotent.

        Args:
            key: Names the run.
            month: "2013-07".
            metrics, params, tags: What MLflow compares.
            files: Texts by the name of their file, among the run's artifacts.
        """
        client = self.client()
        run_id = self.run(key, month)
        client.log_batch(
            run_id,
            # One time for all attempts: MLflow keeps the same value at the same time once.
            metrics=[Metric(name, float(value), timestamp=0, step=int(month[-2:])) for name, value in metrics.items()],
            params=[Param(name, str(value)) for name, value in params.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        for name, text in files.items():
            client.log_text(run_id, text, name)
        client.set_terminated(run_id)

    def _found(self, version: int) -> ModelVersion:
        client = self.client()
        try:
            return client.get_model_version(NAME, str(version))
        except MlflowException as error:
            if error.error_code not in _ABSENT:
                raise
        listed = ", ".join(map(str, self.versions())) or "none yet"
        raise NoSuchVersionError(f"there is no version {version} of {NAME}; there are: {listed}")

    def _registered_here(self, version: int) -> ModelVersion:
        found = self._found(version)
        for tag in ("month", "trained_until"):
            if tag not in found.tags:
                raise NoSuchVersionError(f"version {version} was not registered by this flow: its tag {tag} is missing")
        return found


def _experiment(client: MlflowClient, folder: Path) -> str:
    found = client.get_experiment_by_name(NAME)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(NAME, artifact_location=(folder / "models").as_uri()))


def _requirements() -> list[str]:
    return [f"{name}=={installed(name)}" for name in ("scikit-learn", "skops", "pandas")]
