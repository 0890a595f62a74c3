"""The dashboard and the alert rules ask for metrics that exist, and Prometheus answers them from a real process."""

import contextlib
import itertools
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from resilient_tasks.observe.metrics import METRICS, PREFIX, STATES

HERE = Path(__file__).resolve().parent
DOCS = HERE.parents[1] / "docs"
RULES = DOCS / "prometheus-rules.yml"
RULES_TEST = HERE / "prometheus_rules_test.yml"
DASHBOARD = json.loads((DOCS / "grafana" / "resilient-tasks.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERTS = [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
EXPRESSIONS = {
    **{f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]},
    **{rule["alert"]: rule["expr"] for rule in ALERTS},
}
each_expression = pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")

#: The samples of a histogram, by their ending.
ENDINGS = ("_bucket", "_sum", "_count")
LABEL = r'(\w+)\s*(?:=~|!~|!=|=)\s*"[^"]*"'


def metric_of(name):
    """The metric of a sample's name, and the labels that it has more."""
    own = name.removeprefix(PREFIX)
    for ending in ENDINGS:
        if own.endswith(ending) and own.removesuffix(ending) in METRICS:
            metric = METRICS[own.removesuffix(ending)]
            assert metric.kind == "histogram"
            return metric, {"le"} if ending == "_bucket" else set()
    return METRICS[own], set()


@each_expression
def test_an_expression_names_metrics_that_exist_with_those_labels(expression):
    found = re.findall(rf"({PREFIX}\w+)(?:\{{([^}}]*)\}})?", expression)
    assert found
    grouped = set(re.findall(r"\w+", " ".join(re.findall(r"(?:by|on) \(([^)]*)\)", expression))))
    labels = set()
    for name, selector in found:
        metric, more = metric_of(name)
        assert set(re.findall(LABEL, selector)) <= {*metric.labels, *more}, f"{name} has no such label: {selector}"
        labels |= {*metric.labels, *more}
    assert grouped <= labels


@each_expression
def test_an_expression_compares_labels_with_values_that_exist(expression):
    known = {"own": {"true", "false"}, "fate": {"late", "lost"}, "winner": {"first", "hedge"}, "state": set(STATES)}
    for label, given in re.findall(r'(\w+)\s*(?:=~|!=|=)\s*"([^"]*)"', expression):
        if label != "operation":
            assert set(given.split("|")) <= known[label]


class TestDashboard:
    def test_has_what_grafanas_model_asks_for(self):
        assert DASHBOARD["schemaVersion"] >= 36
        assert DASHBOARD["uid"]
        assert len(DASHBOARD["uid"]) <= 40
        assert {"title", "tags", "time", "templating", "annotations", "panels", "timezone"} <= DASHBOARD.keys()
        assert "id" not in DASHBOARD  # an import would replace the dashboard with that number

    def test_a_panel_has_a_title_a_meaning_and_an_expression(self):
        for panel in PANELS:
            assert panel["title"]
            assert panel["description"].endswith(".")
            assert panel["targets"]
            assert panel["type"] in {"stat", "timeseries"}
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["fieldConfig"]["defaults"]["unit"] in {"short", "s", "percentunit"}
            for target in panel["targets"]:
                assert {"refId", "expr", "legendFormat", "datasource"} <= target.keys()

    def test_panels_have_distinct_ids_and_do_not_overlap(self):
        everything = DASHBOARD["panels"]
        assert len({panel["id"] for panel in everything}) == len(everything)
        for panel in everything:
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        for one, other in itertools.combinations([panel["gridPos"] for panel in everything], 2):
            beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
            assert beside or below

    def test_a_legend_names_labels_that_the_expression_keeps(self):
        for panel in PANELS:
            for target in panel["targets"]:
                kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
                assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept

    def test_uses_only_variables_that_it_has(self):
        have = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"])))
        assert used - {"__rate_interval", "__range"} == have

    def test_shows_each_metric(self):
        shown = {metric_of(name)[0].name for name in re.findall(rf"{PREFIX}\w+", json.dumps(PANELS))}
        #: A counter and a histogram of the same: one of them is drawn.
        elsewhere = {"rate_adapted_total", "rate_limit_wait_seconds", "flight_wait_seconds", "flights_alone_total"}
        elsewhere |= {"hedge_answer_seconds", "store_gone_seconds", "api_away_total", "api_away_seconds"}
        elsewhere |= {"faults_injected_total", "alerts_known_total", "sink_suspensions_total"}
        assert set(METRICS) - shown == elsewhere

    def test_the_page_names_each_panel(self):
        page = (DOCS / "prometheus.md").read_text(encoding="utf-8")
        for panel in PANELS:
            assert f"| {panel['title']} | {panel['description']} |" in page


class TestRules:
    def test_an_alert_has_a_severity_and_says_what_happened(self):
        for rule in ALERTS:
            assert rule["labels"]["severity"] in {"warning", "critical"}
            assert rule["annotations"].keys() == {"summary", "description"}

    def test_the_page_names_each_alert_with_its_severity(self):
        page = (DOCS / "prometheus.md").read_text(encoding="utf-8")
        for rule in ALERTS:
            assert re.search(rf"\| `{rule['alert']}` \| .* \| {rule['labels']['severity']} \|", page)

    def test_a_command_that_an_alert_names_exists(self):
        from resilient_tasks.cli import main

        for words in re.findall(r"`resilient-tasks ([a-z ]+[a-z])", RULES.read_text(encoding="utf-8")):
            with pytest.raises(SystemExit) as ended, contextlib.redirect_stdout(None):
                main([*words.split(), "--help"])
            assert ended.value.code == 0

    @needs_promtool
    def test_promtool_accepts_them(self):
        assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))

    @needs_promtool
    def test_each_fires_where_it_should_and_not_beside_it(self, tmp_path):
        for file in (RULES, RULES_TEST):
            shutil.copy(file, tmp_path)
        assert "SUCCESS" in promtool("test", "rules", str(tmp_path / RULES_TEST.name))
        tested = RULES_TEST.read_text(encoding="utf-8")
        assert [rule["alert"] for rule in ALERTS if f"alertname: {rule['alert']}\n" not in tested] == []


def promtool(*arguments):
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def free_port():
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        return there.getsockname()[1]


@contextlib.contextmanager
def ended(process):
    """End a process that this test started, whatever happens."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


class Server:
    """Prometheus, which scrapes one process ten times a second, with the rules as they are but without their waits."""

    def __init__(self, folder, scraped):
        self.port = free_port()
        rules = re.sub(r"for: \d+m", "for: 0s", RULES.read_text(encoding="utf-8"))
        (folder / "rules.yml").write_text(rules)
        config = {
            "global": {"scrape_interval": "100ms", "scrape_timeout": "100ms", "evaluation_interval": "100ms"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "worker", "static_configs": [{"targets": [f"127.0.0.1:{scraped}"]}]}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.log = (folder / "log").open("w")
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            stdout=self.log,
            stderr=self.log,
        )

    def get(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:  # it is http
            answered = json.load(answer)
        assert answered["status"] == "success"
        return answered["data"]

    def query(self, expression):
        """The values by labels; of an expression of the dashboard with its variables replaced."""
        for variable, value in {"$operation": ".*", "$__rate_interval": "1m", "$__range": "1h"}.items():
            expression = expression.replace(variable, value)
        result = self.get("query", query=expression)["result"]
        return {tuple(sorted(each["metric"].items())): float(each["value"][1]) for each in result}

    def wait_for(self, what):
        """Return the first true answer of `what`."""
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                if answer := what():
                    return answer
            assert time.monotonic() < until, f"nothing of this in 60 s: {what.__name__}"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Prometheus after it has seen two batches of failures."""
    worker = subprocess.Popen(
        [sys.executable, str(HERE / "scraped_process.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with ended(worker):
        port = int(worker.stdout.readline())
        server = Server(tmp_path_factory.mktemp("prometheus"), port)
        with ended(server.process), server.log:
            for number in (1, 2):
                worker.stdin.write("\n")
                worker.stdin.flush()
                assert worker.stdout.readline() == "done\n"
                failed = f'sum(resilient_tasks_calls_failed_total{{operation="fetch"}}) == {5 * number}'
                server.wait_for(lambda failed=failed: server.query(failed))
            yield server


@needs_prometheus
class TestInPrometheus:
    def test_what_happened_is_what_is_counted(self, server):
        def total(expression):
            (value,) = server.query(f"sum({PREFIX}{expression})").values()
            return value

        fetch = '{operation="fetch"}'
        assert total(f"calls_failed_total{fetch}") == 10
        assert total(f"calls_degraded_total{fetch}") == 6
        assert total(f"calls_recovered_total{fetch}") == 4
        assert total(f"retries_total{fetch}") == 2 * (1 + 2 + 2 * 8)
        assert total(f"retry_wait_seconds_sum{fetch}") == 2 * total(f"retry_wait_seconds_count{fetch}")
        assert total("rows_quarantined_total") == 4
        assert total('breaker_circuits{breaker="api",state="open"}') == 1
        assert total("api_states_total") == 10

    @pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
    def test_each_panel_shows_something(self, server, panel):
        for target in panel["targets"]:
            assert server.wait_for(lambda target=target: server.query(target["expr"])), target["expr"]

    def test_the_shares_at_the_top_are_right(self, server):
        """Of the calls, 10 failed, 8 were degraded, 4 recovered; Prometheus extrapolates each in the same way."""
        stats = {panel["title"]: panel["targets"][0]["expr"] for panel in PANELS if panel["type"] == "stat"}
        (failing,) = server.query(stats["Failed calls, of those in trouble"]).values()
        (replaced,) = server.query(stats["Calls with a fallback's result, of those in trouble"]).values()
        assert failing == pytest.approx(10 / 22, abs=0.1)
        assert replaced == pytest.approx(8 / 22, abs=0.1)

    def test_alerts_fire_with_their_words(self, server):
        def firing():
            alerts = server.get("alerts")["alerts"]
            return {each["labels"]["alertname"]: each for each in alerts if each["state"] == "firing"}

        expected = {rule["alert"] for rule in ALERTS} - {"ResilientTasksCallsFail", "ResilientTasksFallbacks"}
        found = server.wait_for(lambda: expected <= firing().keys() and firing())
        assert found["ResilientTasksCircuitOpen"]["labels"]["breaker"] == "api"
        summary = found["ResilientTasksRetriesMultiplied"]["annotations"]["summary"]
        assert summary == "load: nested retries allow 15 attempts"
        assert found["ResilientTasksSinkSuspended"]["labels"]["sink"] == "journal"
        assert found["ResilientTasksStoreLost"]["labels"]["store"] == "redis"

    def test_the_metrics_have_their_kinds_and_help(self, server):
        about = server.wait_for(lambda: server.get("metadata"))
        for name, metric in METRICS.items():
            (found,) = about[PREFIX + name.removesuffix("_total")]  # its name in OpenMetrics
            assert (found["type"], found["help"]) == (metric.kind, metric.help)
