"""Scenarios behave the same with `@flow` and with `@resilient_flow` under idle policies."""

from __future__ import annotations  # as users write it: Prefect still has to find the types

import asyncio
import functools
import inspect

import cloudpickle
import pytest
from prefect import allow_failure, flow, get_run_logger, runtime, task
from prefect.exceptions import ParameterBindError, ParameterTypeError
from prefect.flows import load_flow_from_entrypoint
from prefect.states import Cancelled, Completed
from prefect.states import Failed as FailedState

from resilient_tasks import Retry, explain, resilient_flow
from resilient_tasks.prefect.flow import ResilientFlow


def stands_in_for_nothing(*_, **__):
    raise AssertionError("what fails here are bugs")


idle = functools.partial(resilient_flow, retry=3, deadline=60, fallback=stands_in_for_nothing)


def ours(fn=None, /, **options):
    """Be used as `@flow` is: bare, or with its keywords."""
    return idle(**options) if fn is None else idle()(fn)


def same_as_prefect(scenario):
    """Run the scenario both ways; it returns everything that a user can observe."""
    expected = scenario(flow)
    assert scenario(ours) == expected
    return expected


def outcome_in(state):
    """Describe a state, without parts that differ from run to run."""
    result = state.result(raise_on_failure=False)
    return state.type.value, state.name, state.message, repr(result)


def calling(fn):
    def called():
        return fn()

    return called


def raised_by(call):
    try:
        return call()
    except Exception as error:
        return type(error).__name__, str(error)


@task
def double(x):
    return 2 * x


@task
def broken():
    raise ConnectionError("refused")


def test_a_flow_has_the_attributes_of_a_prefect_flow():
    def scenario(decorator):
        @decorator
        def monthly_report(month: int, *more: str, year: int = 2013) -> str:
            """Report on a month."""
            return f"{month} {year} {more}"

        @decorator
        async def later(): ...

        named = decorator(name="report", description="of the month", timeout_seconds=3, log_prints=True)(
            monthly_report.fn
        )
        return [
            (
                item.name,
                item.description,
                item.version,
                item.isasync,
                item.isgenerator,
                item.retries,
                item.timeout_seconds,
                item.log_prints,
                item._entrypoint,
                item.parameters.model_dump(),
                item.__name__,
                item.__qualname__,
                item.__module__,
                item.__doc__,
                str(inspect.signature(item)),
                str(inspect.signature(item.fn)),
            )
            for item in (monthly_report, later, named)
        ] + [
            monthly_report.fn(7, "x"),
            raised_by(lambda: monthly_report(mont=7)),
            monthly_report.validate_parameters({"month": "7"}),
        ]

    *_, bare, error, parameters = same_as_prefect(scenario)
    assert bare == "7 2013 ('x',)"
    assert error[0] == ParameterBindError.__name__
    assert parameters["month"] == 7


def test_fn_is_the_bare_function_outside_of_the_engine():
    @resilient_flow(retry=Retry(attempts=3, on=Exception, wait=0))
    def once():
        calls.append(1)
        raise ValueError

    calls = []
    with pytest.raises(ValueError):
        once.fn()
    assert len(calls) == 1


def test_a_flow_is_drawn_as_prefect_draws_it():
    drawn = task(viz_return_value=2)(double.fn)

    def scenario(decorator):
        @decorator
        def report():
            return drawn(drawn(1))

        return report.generate_mermaid_graph()

    assert "double" in same_as_prefect(scenario)


FLOWS = """
from {where} as flow

@flow(name="report"{policies})
def report(x: int = 1):
    return x

class Reports:
    @flow
    def monthly(self): ...
"""


def test_a_worker_finds_the_flow_by_its_entrypoint(tmp_path):
    def scenario(where, policies=""):
        file = tmp_path / "flows.py"
        file.write_text(FLOWS.format(where=where, policies=policies), encoding="utf-8")
        found = load_flow_from_entrypoint(f"{file}:report"), load_flow_from_entrypoint(f"{file}:Reports.monthly")
        return found, [(item.name, item.parameters.model_dump()) for item in found]

    found, ended = scenario("resilient_tasks import resilient_flow", ", retry=3")
    assert ended == scenario("prefect import flow")[1]
    assert all(isinstance(item, ResilientFlow) for item in found)
    assert "retry: 3" in explain(found[0])


@pytest.mark.usefixtures("resilient_prefect")
class TestOnAServer:
    def test_a_run_proceeds_as_under_prefect(self):
        def scenario(decorator):
            seen = []

            @decorator(name="child", persist_result=True)
            def child(x: int):
                return {"doubled": double(x)}

            @decorator(flow_run_name="report-{month}")
            def parent(month: int, year: int = 2013):
                get_run_logger().debug("begun")
                seen.append((runtime.flow_run.name, runtime.flow_run.flow_name, month, year))
                states = [double(1, return_state=True), child(2, return_state=True)]
                return [double.submit(child(month)["doubled"]), *states, {"deep": (double.submit(5),)}]

            parent.on_completion(lambda _flow, run, state: seen.append((run.name, state.name)))
            state = parent("7", return_state=True)
            result = state.result()
            values = [result[0].result(), result[1].result(), result[2].result(), result[3]["deep"][0].result()]
            return state.type.value, state.name, state.message, values, seen

        *_, values, seen = same_as_prefect(scenario)
        assert values == [28, 2, {"doubled": 4}, 10]
        assert seen == [("report-7", "parent", 7, 2013), ("report-7", "Completed")]

    def test_returned_states_end_a_flow_as_under_prefect(self):
        returned = [
            lambda: Completed(message="mine", name="Done", data=3),
            lambda: FailedState(message="mine"),
            lambda: Cancelled(message="mine"),
            lambda: (broken.submit(), double.submit(2)),
            lambda: double(allow_failure(double.submit(3)), return_state=True) and ValueError("as a value"),
        ]

        def scenario(decorator):
            ended = []
            for value in returned:
                run = decorator(name="returns")(calling(value))
                type_, name, message, _ = outcome_in(run(return_state=True))
                ended.append((type_, name, message))
            return ended

        ended = same_as_prefect(scenario)
        assert ended[0] == ("COMPLETED", "Done", "mine")
        assert ended[3] == ("FAILED", "Failed", "1/2 states failed.")

    def test_failures_and_hooks_and_retries_are_prefects(self):
        def scenario(decorator):
            seen = []

            def fails(x: int):
                seen.append(("called", x))
                raise ValueError("bug")

            hooks = {
                f"on_{when}": [lambda _flow, _run, state: seen.append(state.name)] for when in ("failure", "running")
            }
            run = decorator(name="fails", **hooks)(fails)
            seen += [outcome_in(run(1, return_state=True)), raised_by(lambda: run(2))]
            seen.append(raised_by(lambda: run("x"))[0])
            return seen

        seen = same_as_prefect(scenario)
        assert seen[-1] == ParameterTypeError.__name__
        assert ("called", 1) in seen
        assert seen.count("Failed") == 3  # including that of bad parameters

    def test_methods_and_async_flows_and_generators_are_prefects(self):
        def scenario(decorator):
            class Report:
                scale = 10

                def __init__(self):
                    self.base = 100

                @decorator
                def plain(self, x: int):
                    return self.base + x

                @decorator
                @classmethod
                def of_class(cls, x: int):
                    return cls.scale + x

                @decorator
                @staticmethod
                def static(x: int):
                    return x

                @decorator
                async def later(self, x: int):
                    return self.base + await asyncio.to_thread(lambda: x)

            report = Report()
            return report.plain("1"), Report.of_class(2), Report.static(3), asyncio.run(report.later(4))

        assert same_as_prefect(scenario) == (101, 12, 3, 104)

    def test_a_generator_flow_yields_its_items(self):
        def items():
            yield double(1)
            yield 3
            return 4

        async def later():
            yield 1

        async def listed(run):
            return [item async for item in run()]

        def scenario(decorator):
            return list(decorator(items)()), asyncio.run(listed(decorator(later)))

        assert scenario(resilient_flow(deadline=60)) == scenario(flow) == ([2, 3], [1])

    def test_an_interrupt_passes_through_every_policy(self):
        def scenario(decorator):
            seen = []

            @decorator(on_crashed=[lambda _flow, _run, state: seen.append((state.name, state.message))])
            def report():
                seen.append("called")
                raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                report()
            return seen

        assert same_as_prefect(scenario) == ["called", ("Crashed", "Execution was aborted by an interrupt signal.")]

    def test_a_pickled_flow_keeps_its_policies(self):
        calls = []

        @resilient_flow(retry=Retry(attempts=2, wait=0), on_unobserved="warn")
        def report():
            calls.append(1)
            raise ConnectionError("refused")

        other = cloudpickle.loads(cloudpickle.dumps(report))
        assert isinstance(other, ResilientFlow)
        assert other.conditions.on_unobserved == "warn"
        error = other(return_state=True).result(raise_on_failure=False)
        assert "gave up after attempt 2" in error.__notes__[0]
