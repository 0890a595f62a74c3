"""A model of the running script validates everything in another process, too, whichever way it gets there.

cloudpickle sends such a model by value and loses what pandera's decorators noted on its check methods and parsers: in
the other process it would accept every row, and say nothing.
"""

import copy
import json
import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import cloudpickle
import pandera.pandas as pa
import pandera.polars as pap
import pytest
from pydantic import BaseModel

from resilient_tasks import PolicyError, Validate
from resilient_tasks.validation.schemas import fingerprint
from tests.policies import models_of_a_script as script

SCRIPT = Path(script.__file__)
ROOT = SCRIPT.parents[2]


def run(*command):
    """Run a fresh interpreter, and return what it wrote."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


RECEIVER = textwrap.dedent("""
    import json, pickle, sys
    from pathlib import Path
    from resilient_tasks import Pipeline
    from resilient_tasks.validation.schemas import fingerprint

    folder, found = Path(sys.argv[1]), {}

    def told(outcome):
        return str(getattr(outcome, "error", "accepted"))

    for file in sorted(folder.glob("*.*pickle")):
        name, what, _ = file.name.split(".")
        thing = pickle.loads(file.read_bytes())
        make, data = pickle.loads((folder / f"{name}.data").read_bytes())
        if what == "policy":
            found[file.name] = told(Pipeline(thing).outcome(lambda: make(data)))
            found[f"{name}.fingerprint"] = fingerprint(thing.output)
        elif what == "plain":
            found[file.name] = told(Pipeline(thing).outcome(lambda: make(data)))
        elif what == "argument":
            found[file.name] = told(Pipeline(thing).outcome(lambda frame: frame, make(data)))
        elif what == "pipeline":
            found[file.name] = told(thing.outcome(lambda: make(data)))
        else:
            found[file.name] = told(thing.outcome())
    print(json.dumps(found))
""")


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sent")
    run(SCRIPT, "send", folder)
    return folder


@pytest.fixture(scope="module")
def received(sent):
    return json.loads(run("-c", RECEIVER, sent))


@pytest.mark.parametrize("case", script.CASES)
@pytest.mark.parametrize(
    "what", ["policy.cloudpickle", "argument.cloudpickle", "pipeline.cloudpickle", "function.cloudpickle"]
)
def test_a_fresh_interpreter_finds_the_same(received, case, what):
    *_, said = script.CASES[case]
    assert said in received[f"{case}.{what}"]


@pytest.mark.parametrize("case", ["pandas", "inherited", "own", "polars"])
def test_plain_pickle_takes_the_functions_of_a_model_too(received, case):
    *_, said = script.CASES[case]
    assert said in received[f"{case}.plain.pickle"]


@pytest.mark.parametrize("case", script.CASES)
def test_the_schema_has_the_same_fingerprint_there(received, sent, case):
    assert received[f"{case}.fingerprint"] == (sent / f"{case}.fingerprint").read_text()


def test_each_schema_of_several_crosses(sent):
    error = script.of_several(pickle.loads((sent / "several").read_bytes()))
    assert "result['a']: 1 of 1 row invalid: n above_the_least" in error
    assert "result['c']: 1 of 1 row invalid" in error


@pytest.fixture(scope="module")
def crossed():
    return json.loads(run(SCRIPT, "here"))


@pytest.mark.parametrize("case", script.CASES)
def test_so_does_a_process_that_was_spawned(crossed, case):
    *_, said = script.CASES[case]
    assert said in crossed[f"spawn {case}"]
    assert "result['a']: 1 of 1 row invalid" in crossed["spawn several"]


@pytest.mark.parametrize("model", ["None", "OfPolars"], ids=["named", "given"])
def test_so_does_a_function_in_a_process_of_its_own_that_validates_by_a_model(crossed, model):
    assert "above_the_least" in crossed[f"process {model}"]


class TestByName:
    def test_a_model_that_the_other_side_can_import_crosses_by_its_name(self):
        for dumps in (pickle.dumps, cloudpickle.dumps):
            sent = dumps(Validate(output={"a": script.OfPandas, "b": script.OfPydantic}))
            assert pickle.loads(sent).output == {"a": script.OfPandas, "b": script.OfPydantic}
            assert b"above_the_least" not in sent

    def test_not_where_its_module_crosses_by_value(self):
        cloudpickle.register_pickle_by_value(script)
        try:
            sent = cloudpickle.dumps(Validate(output=script.OfPandas))
        finally:
            cloudpickle.unregister_pickle_by_value(script)
        assert script.judged(pickle.loads(sent), *script.CASES["pandas"][1:3])[1] == 1

    def test_a_copy_in_this_process_is_the_policy_itself(self):
        class Here(pa.DataFrameModel):
            n: int

        policy = Validate(output=Here)
        assert copy.copy(policy) is copy.deepcopy(policy) is policy

    def test_the_policy_shows_what_the_user_wrote(self):
        policy = Validate(output=script.OfPandas)
        assert policy.output is script.OfPandas
        assert "OfPandas" in repr(policy)
        assert fingerprint(policy.output) == fingerprint(script.OfPandas.to_schema())


class Later(pa.DataFrameModel):
    n: "DefinedLater"  # noqa: F821  # on purpose


class LaterRecord(BaseModel):
    n: "DefinedLater"  # noqa: F821  # as above


class Tree(pap.DataFrameModel):
    child: "Tree"


class Misspelt(pa.DataFrameModel):
    n: int

    @pa.check("m")
    def small(cls, series):
        return series < 9


@pytest.mark.parametrize("where", [lambda model: {"output": model}, lambda model: {"input": {"frame": model}}])
@pytest.mark.parametrize(
    ("model", "why"),
    [
        (Later, "name 'DefinedLater' is not defined"),
        (LaterRecord, "DefinedLater"),
        (Tree, "it contains itself"),
        (Misspelt, "Check small is assigned to a non-existing field 'm'"),
    ],
)
def test_a_model_that_is_no_schema_yet_is_refused_at_decoration(where, model, why):
    with pytest.raises(PolicyError, match=f"The model {model.__name__} cannot be made a schema .*{why}"):
        Validate(**where(model))


class Node(BaseModel):
    children: list["Node"] = []


def test_a_model_that_names_itself_is_complete():
    assert Validate(output=Node).output is Node
