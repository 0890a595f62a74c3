"""Tasks and flows as methods: each is bound to the object or class on which it was accessed."""

import asyncio
import contextvars
import functools
import gc
import inspect
import weakref
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import pytest
from prefect import flow as prefects_flow

from resilient_tasks import Ok, resilient_flow, resilient_task
from resilient_tasks.prefect.flow import ResilientFlow
from resilient_tasks.prefect.task import ResilientTask

pytestmark = pytest.mark.usefixtures("resilient_prefect_memory")

DECORATORS = {
    "task": resilient_task,
    "task with policies": resilient_task(deadline=60),
    "flow": resilient_flow,
    "flow with policies": resilient_flow(retry=2, deadline=60),
}
KINDS = pytest.mark.parametrize("decorate", DECORATORS.values(), ids=DECORATORS.keys())


def classes(decorate, own=lambda fn: fn):
    """Make a class with each kind of method, and one that derives from it."""

    class Base:
        def __init__(self, name):
            self.name = name

        @decorate
        @own
        def get(self, x):
            return self.name, x

        @decorate
        @classmethod
        @own
        def make(cls, x):
            return cls.__name__, x

        @decorate
        @staticmethod
        @own
        def static(x):
            return x

        get_renamed = get.with_options(name="renamed")
        make_renamed = make.with_options(name="renamed").with_options(description="twice")
        static_renamed = static.with_options(name="renamed")

    class Child(Base):
        """Inherits all of it."""

    return Base, Child


def given(result):
    return asyncio.run(_awaited(result)) if inspect.isawaitable(result) else result


async def _awaited(result):
    return await result


@KINDS
def test_each_kind_of_method_is_bound_as_python_binds_it(decorate, own):
    base, child = classes(decorate, own)
    a, b = base("a"), child("b")
    calls = {
        ("a", 1): [
            lambda: a.get(1),
            lambda: base.get(a, 1),
            lambda: child.get.with_options(name="n")(a, 1),
            lambda: a.get.with_options(name="n")(1),
            lambda: a.get.with_options(name="n").with_options()(1),
            lambda: a.get_renamed(1),
        ],
        ("b", 2): [lambda: b.get(2), lambda: b.get_renamed.with_options()(x=2)],
        ("Base", 3): [
            lambda: base.make(3),
            lambda: a.make(3),
            lambda: base.make.with_options(name="n")(3),
            lambda: base.make_renamed(3),
            lambda: a.make_renamed.with_options()(x=3),
        ],
        ("Child", 4): [
            lambda: child.make(4),
            lambda: b.make(4),
            lambda: super(child, child).make(4),
            lambda: child.make.with_options(name="n")(4),
            lambda: child.make_renamed(4),
        ],
        5: [
            lambda: base.static(5),
            lambda: a.static(5),
            lambda: child.static.with_options(name="n")(5),
            lambda: b.static_renamed(x=5),
            lambda: b.static.with_options(name="n")(5),
        ],
    }

    @prefects_flow
    def around():
        return {expected: [given(call()) for call in several] for expected, several in calls.items()}

    for expected, results in around().items():
        assert results == [expected] * len(results)


@KINDS
def test_earlier_methods_keep_their_binding(decorate):
    base, child = classes(decorate)
    x, y = base("x"), base("y")
    gx, gy, mx, my = x.get, y.get, base.make, child.make
    assert [gx(1), gy(1), mx(1), my(1)] == [("x", 1), ("y", 1), ("Base", 1), ("Child", 1)]
    assert gx.with_options(name="n")(1) == ("x", 1)
    assert base.get(y, 2) == ("y", 2)


def test_methods_called_in_threads_have_their_own_instance():
    base, _ = classes(resilient_task(deadline=60))
    names = [str(number) for number in range(40)]
    methods = [base(name).get for name in names]
    contexts = [contextvars.copy_context() for _ in methods]  # with the address of the API
    with ThreadPoolExecutor(8) as pool:
        results = [*pool.map(lambda method, context: context.run(method, 1), methods, contexts)]
    assert results == [(name, 1) for name in names]


@KINDS
def test_an_instance_that_counts_as_false_is_an_instance(decorate):
    class Empty(list):
        @decorate
        def size(self):
            return len(self)

    assert Empty().size() == 0


def test_a_bound_method_supports_submit_map_and_outcome():
    base, child = classes(resilient_task(deadline=60))
    a, b = base("a"), base("b")

    @resilient_flow
    def around():
        ga, gb, ma, mb = a.get, b.get, base.make, child.make
        return (
            [ga.submit(1).result(), gb.submit(1).result(), ma.submit(1).result(), mb.submit(1).result()],
            [*ga.map([1, 2]).result(), *gb.map([1]).result(), *ma.map([1]).result(), *mb.map([1]).result()],
            [ga.outcome(1), gb.outcome(1), ma.outcome(1), mb.outcome(1), a.static.outcome(1)],
        )

    results = [("a", 1), ("b", 1), ("Base", 1), ("Child", 1)]
    submitted, mapped, outcomes = around()
    assert submitted == results
    assert mapped == [("a", 1), ("a", 2), *results[1:]]
    assert [(type(each), each.value) for each in outcomes] == [(Ok, value) for value in (*results, 1)]


def test_a_background_run_has_the_instance_of_its_method():
    base, child = classes(resilient_task(deadline=60))
    sent = []

    def sends(bound):
        bound.__dict__["apply_async"] = lambda args, kwargs, **_: sent.append((bound.fn, args, kwargs))
        return bound

    a, b = base("a"), base("b")
    for bound in [sends(a.get), sends(b.get), sends(child.make)]:
        bound.delay(7)
    assert [inspect.unwrap(fn).__name__ for fn, *_ in sent] == ["get", "get", "make"]
    assert [fn.__dict__.get("__prefect_self__", fn.__dict__.get("__prefect_cls__")) for fn, *_ in sent] == [a, b, child]


@KINDS
def test_a_bound_method_has_the_type_and_attributes_of_the_unbound_one(decorate):
    base, _ = classes(decorate)
    instance = base("a")
    method, unbound = instance.get, base.get
    assert type(method) is type(unbound)
    assert type(method) in {ResilientTask, ResilientFlow}
    assert (method.ismethod, unbound.ismethod, instance.make.ismethod) == (True, False, False)
    assert (base.make.isclassmethod, base.make.with_options().isclassmethod) == (True, True)
    assert (instance.static.isstaticmethod, base.static.with_options().isstaticmethod) == (True, True)
    assert inspect.signature(method.fn) == inspect.signature(unbound.fn)
    for name in ("name", "task_key", "source_code", "_entrypoint", "__qualname__", "__module__", "__doc__"):
        assert getattr(method, name, None) == getattr(unbound, name, None)
    assert method.fn.__code__ is unbound.fn.__code__
    assert method.fn(base("other"), 1) == ("other", 1)


@KINDS
def test_a_bound_method_is_not_bound_again(decorate):
    base, child = classes(decorate)

    class Borrows:
        get = base("lent").get
        make = child.make
        renamed = child.make.with_options(name="renamed")

    assert (Borrows().get(1), Borrows.make(1), Borrows().renamed(1)) == (("lent", 1), ("Child", 1), ("Child", 1))


@KINDS
def test_hooks_added_through_a_method_apply_to_all(decorate):
    base, _ = classes(decorate)
    ended = []

    @base.make.on_completion
    def hook(_made, _run, state):
        ended.append(state.name)

    base.make(1)
    assert ended == ["Completed"]


@KINDS
def test_a_bound_method_survives_pickling(decorate):
    base, child = classes(decorate)
    for method, expected in ((base("a").get, ("a", 1)), (child.make, ("Child", 1))):
        assert cloudpickle.loads(cloudpickle.dumps(method))(1) == expected


@KINDS
def test_an_instance_is_not_kept_once_its_methods_are_gone(decorate):
    base, _ = classes(decorate)
    instance = base("a")
    assert instance.get.name  # bound and released
    kept = weakref.ref(instance)
    del instance
    gc.collect()
    assert kept() is None


def test_methods_need_not_be_plain_functions():
    def plain(_self, month, year):
        return month, year

    class Monthly:
        fetch = resilient_task(functools.partial(plain, year=2013), name="fetch", deadline=60)

    assert Monthly().fetch(7) == (7, 2013)
    assert Monthly().fetch.with_options(name="other")(8) == (8, 2013)
