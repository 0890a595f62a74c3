"""`explain` of a flow: every way in which its code can name a task is followed, or listed as not followed."""

import importlib
import sys
import textwrap

import pytest

from resilient_tasks import explain

pytestmark = pytest.mark.filterwarnings("ignore:Default value")  # pydantic's, of a task as a parameter's default

#: The modules of a project.
PROJECT = {
    "shop/__init__.py": "",
    "shop/tasks.py": """
        from resilient_tasks import resilient, resilient_task

        @resilient_task(timeout=1)
        def fetch(month): return month

        @resilient(timeout=2)
        def load(month): return month

        def helper(month): return fetch(month)
    """,
    "shop/other.py": """
        from resilient_tasks import resilient_task

        @resilient_task(timeout=3)
        def fetch(month): return month

        @resilient_task(timeout=4)
        def unused(month): return month
    """,
    "shop/later.py": """
        from resilient_tasks import resilient_task

        @resilient_task(timeout=5)
        def late(month): return month
    """,
    "lazy/__init__.py": """
        def __getattr__(name):
            import shop.later
            return getattr(shop.later, name)
    """,
    "sibling.py": """
        from shop.tasks import fetch

        def deep(month): return deeper(month)
        def deeper(month): return fetch(month)
    """,
    "fails_at_import.py": "raise SystemExit(3)\n",
}

HEAD = """
    import functools
    import shop.other, shop.tasks
    from collections import deque
    from prefect import flow, task
    from resilient_tasks import resilient, resilient_flow, resilient_task
    from shop.tasks import fetch, load
"""

#: The module of a flow named `run`, and the names of the parts that are found.
FOLLOWED = {
    "a dotted module": (
        "@flow\ndef run():\n    shop.tasks.fetch.submit(1)\n    shop.other.unused",
        "fetch, other.unused",
    ),
    "a dotted module that has a task of the same name": (
        "@flow\ndef run(): shop.other.fetch(1), shop.tasks.load(1)",
        "other.fetch, load",
    ),
    "a module of another name": ("import shop.tasks as t\n@flow\ndef run(): t.load(1)", "load"),
    "a helper of a dotted module": ("@flow\ndef run(): shop.tasks.helper(1)", "fetch"),
    "an import in the body": ("@flow\ndef run():\n    from shop.later import late as x\n    x(1)", "late"),
    "a module that the body imports": ("@flow\ndef run():\n    import shop.later\n    shop.later.late(1)", "late"),
    "a renamed module of the body": ("@flow\ndef run():\n    import shop.later as x\n    x.late.submit(1)", "late"),
    "an import of the body used in a comprehension": (
        "@flow\ndef run():\n    from shop import later\n    return [later.late(m) for m in range(3)]",
        "late",
    ),
    "a name that a module looks up when it is asked": ("import lazy\n@flow\ndef run(): lazy.late(1)", "late"),
    "a partial": ("part = functools.partial(fetch, 1)\n@flow\ndef run(): part()", "fetch"),
    "a partial made in the body": ("@flow\ndef run(): functools.partial(fetch, 1)()", "fetch"),
    "a partial of a helper, with a task as argument": (
        (
            "def both(one, other): return one(other)\npart = functools.partial(both, fetch, other=load)\n"
            "@flow\ndef run(): part()"
        ),
        "fetch, load",
    ),
    "containers in containers": (
        "ALL = {'a': [fetch, (load,)], 'b': {'c': deque([shop.other.unused])}}\n@flow\ndef run(): ALL['a'][0](1)",
        "fetch, load, other.unused",
    ),
    "a container that contains itself": ("ALL = [fetch]\nALL.append(ALL)\n@flow\ndef run(): ALL[0](1)", "fetch"),
    "a task of Prefect's own": ("@task\ndef own(): return load(1)\n@flow\ndef run(): own.submit()", "own"),
    "a method of its own class": (
        (
            "class C:\n    @resilient_task(timeout=1)\n    def one(self): ...\n    def help(self): self.two()\n"
            "    @classmethod\n    def made(cls): return cls.TASKS\n    TASKS = {1: fetch}\n"
            "    @resilient_task(timeout=1)\n    def two(self): ...\n"
            "    @flow\n    def run(self):\n        self.one()\n        self.help()\n        self.made()\nrun = C.run"
        ),
        "C.one, C.two, fetch",
    ),
    "a method of the class above": (
        (
            "class B:\n    def help(self): fetch(1)\n"
            "class C(B):\n    def help(self): load(1)\n    @flow\n    def run(self): super().help()\nrun = C.run"
        ),
        "fetch",
    ),
    "an object that the method's object holds": (
        (
            "class In:\n    @resilient_task(timeout=1)\n    def read(self): ...\n"
            "class C:\n    def __init__(self): self.inner = In()\n"
            "    @flow\n    def run(self): self.inner.read()\nrun = C.run"
        ),
        "In.read",
    ),
    "an object that the class of a method declares": (
        (
            "class In:\n    @resilient_task(timeout=1)\n    def read(self): ...\nclass C:\n"
            "    inner: 'In'\n    size: int\n    @flow\n    def run(self): self.inner.read(), self.size.bit_length()\n"
            "run = C.run"
        ),
        "In.read",
    ),
    "an object made in the body": (
        (
            "class In:\n    @resilient_task(timeout=1)\n    def read(self): ...\n"
            "@flow\ndef run():\n    client = In()\n    client.read()"
        ),
        "In.read",
    ),
    "an object in a list": (
        (
            "class In:\n    @resilient_task(timeout=1)\n    def read(self): ...\nALL = [In()]\n"
            "@flow\ndef run():\n    for each in ALL:\n        each.read()"
        ),
        "In.read",
    ),
    "an attribute of an object": (
        (
            "class In:\n    def __init__(self): self.tasks = [fetch]\n    def go(self): return self.tasks[0](1)\n"
            "runner = In()\n@flow\ndef run(): runner.go()"
        ),
        "fetch",
    ),
    "a callable object": (
        "class In:\n    def __call__(self): return fetch(1)\nrunner = In()\n@flow\ndef run(): runner()",
        "fetch",
    ),
    "a property": (
        "class In:\n    @property\n    def first(self): return fetch\nrunner = In()\n@flow\ndef run(): runner.first(1)",
        "fetch",
    ),
    "helpers of a sibling module, as deep as they call": (
        "from sibling import deep\n@flow\ndef run(): deep(1)",
        "fetch",
    ),
    "a task behind another decorator": (
        (
            "def logged(fn):\n    @functools.wraps(fn)\n    def inner(*a): return fn(*a)\n    return inner\n"
            "loud = logged(load)\n@flow\ndef run(): loud(1)"
        ),
        "load",
    ),
    "a parameter's default": ("@flow\ndef run(go=fetch): go(1)", "fetch"),
    "functions that call each other": (
        "def a(): b()\ndef b(): a(), fetch(1)\n@flow\ndef run(): a()",
        "fetch",
    ),
    "more names than one byte counts": (
        (
            "names = [f'x{n}' for n in range(300)]\nexec('def long():\\n' + ''.join(f'    {n}\\n' for n in names)"
            " + '    shop.tasks.fetch(1)')\n@flow\ndef run(): long()"
        ),
        "fetch",
    ),
    "a global that raises whatever is asked of it": (
        (
            "class Proxy:\n    def __getattribute__(self, name): raise RuntimeError('outside of a request')\n"
            "proxy = Proxy()\n@flow\ndef run():\n    proxy.user\n    fetch(1)"
        ),
        "fetch",
    ),
}

#: The module of a flow named `run`, and what it lists as not followed.
LISTED = {
    "a parameter": ("@flow\ndef run(load): load(1)", "load, which is a parameter"),
    "a task that a parameter holds": ("@flow\ndef run(load): load.submit(1)", "load, which is a parameter"),
    "an item of a parameter": ("@flow\ndef run(loads): loads[0](1)", "loads, which is a parameter"),
    "every item of a parameter": (
        "@flow\ndef run(loads):\n    for each in loads:\n        each.submit(1)",
        "loads, which is a parameter",
    ),
    "what a function returns": ("def make(): return 1\n@flow\ndef run(): make()(1)", "what make(...) returns"),
    "what a function returned": (
        "def make(): return 1\n@flow\ndef run():\n    made = make()\n    made.submit(1)",
        "what make(...) returns",
    ),
    "getattr": ("@flow\ndef run(): getattr(shop, 'x')(1)", "what getattr(...) returns"),
    "getattr in a helper": (
        "def help(): return getattr(shop, 'x')(1)\n@flow\ndef run(): help()",
        "what getattr(...) returns, in help",
    ),
    "importlib": (
        "import importlib\n@flow\ndef run(): importlib.import_module('shop.tasks').fetch(1)",
        "what importlib.import_module(...) returns",
    ),
    "a deployment": (
        "from prefect.deployments import run_deployment\n@flow\ndef run(): run_deployment('a/b')",
        "what run_deployment(...) returns",
    ),
    "options": (
        "@flow\ndef run(): fetch.with_options(timeout=9)(1)",
        "the options that fetch is given inside the flow (with_options)",
    ),
    "a task that the body makes": (
        "@flow\ndef run():\n    @resilient_task(timeout=1)\n    def inner(): ...\n    inner()",
        "inner, which is decorated inside the flow",
    ),
    "a function that the body decorates": (
        "def help(): ...\n@flow\ndef run(): resilient(retry=3)(help)()",
        "what resilient(...) returns",
    ),
    "a module that cannot be imported": (
        "@flow\ndef run():\n    import fails_at_import\n    fails_at_import.go()",
        "fails_at_import, which cannot be imported: SystemExit: 3",
    ),
    "a module that is not there": (
        "@flow\ndef run():\n    from not_there_at_all import go\n    go()",
        "not_there_at_all, which cannot be imported: ModuleNotFoundError: No module named 'not_there_at_all'",
    ),
    "a method of a class that is made in a function": (
        (
            "def made():\n    class C:\n        def one(self): ...\n        @flow\n        def run(self): self.one()\n"
            "    return C.run\nrun = made()"
        ),
        "self.one, which is a method of a class inside a function",
    ),
    "a method that its class does not have": (
        "class C:\n    @flow\n    def run(self): self.one()\nrun = C.run",
        "self.one, which the class C does not have",
    ),
    "a function that a method's object holds": (
        "class C:\n    def __init__(self, go): self.go = go\n    @flow\n    def run(self): self.go()\nrun = C.run",
        "self.go, which the class C does not have",
    ),
    "an attribute that an object computes": (
        "class C:\n    def __getattr__(self, name): return fetch\nc = C()\n@flow\ndef run(): c.go(1)",
        "go, which C.__getattr__ returns",
    ),
    "code without its source": (
        "exec('def secret(): pass')\nrun = flow(secret)",
        "calls that its source would show: the source is not available",
    ),
}


@pytest.fixture
def explained(tmp_path, monkeypatch):
    for name, source in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)
    before = {*sys.modules}

    def explained(body):
        (tmp_path / "my_flows.py").write_text(f"{textwrap.dedent(HEAD)}\n{body}\n")
        importlib.invalidate_caches()
        return explain(importlib.import_module("my_flows").run)

    yield explained
    for name in {*sys.modules} - before:
        if name.partition(".")[0] in {"shop", "sibling", "lazy", "my_flows"}:
            del sys.modules[name]


@pytest.mark.parametrize(("body", "names"), FOLLOWED.values(), ids=FOLLOWED)
def test_a_task_is_found_that_a_flow_names_as(explained, body, names):
    found = explained(body)
    assert ", ".join(named(part) for part in found.parts) == names


def named(part):
    return f"other.{part.name}" if part.thing.__module__ == "shop.other" else part.name


def test_a_task_of_prefects_own_is_explained_with_its_retries_and_what_it_calls(explained):
    found = explained(
        "@task(retries=2)\ndef own(): return tried()\n@flow\ndef run(): own()\n@resilient(retry=3)\ndef tried(): ..."
    )
    assert [[part.name, [inner.name for inner in part.parts]] for part in found.parts] == [["own", ["tried"]]]
    assert [remark.code for remark in found.remarks] == ["nested-retries"]


def test_what_cannot_be_followed_in_a_task_of_prefects_own_is_listed(explained):
    found = explained("@task\ndef own(load): return load()\n@flow\ndef run(): own.submit(fetch)")
    assert found.not_found == ("load, which is a parameter, in own",)


def test_a_dataclass_and_an_enum_are_not_listed_as_code_without_its_source(explained):
    found = explained(
        "import dataclasses, enum\n@dataclasses.dataclass\nclass Options:\n    size: int = 1\n"
        "class Colour(enum.Enum):\n    RED = 1\n@flow\ndef run(): Options(2), Colour.RED, fetch(1)"
    )
    assert ([part.name for part in found.parts], found.not_found) == (["fetch"], ())


@pytest.mark.parametrize(("body", "listed"), LISTED.values(), ids=LISTED)
def test_what_cannot_be_followed_is_listed(explained, body, listed):
    assert explained(body).not_found == (listed,)
