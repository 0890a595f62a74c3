"""The command line: its output, its files, its exit codes."""

import json
import subprocess
import sys

import pandas as pd
import pandera.pandas as pa
import pytest

from resilient_tasks import Quarantine
from resilient_tasks.cli import main
from resilient_tasks.cli.printing import print_table
from resilient_tasks.validation.split import split

SCHEMA = pa.DataFrameSchema({"carrier": pa.Column(str, pa.Check.isin(["UA"])), "miles": pa.Column(int, pa.Check.gt(0))})


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules_of_flights.py").write_text(
        "import pandera.pandas as pa\n"
        "Flights = pa.DataFrameSchema({'carrier': pa.Column(str, pa.Check.isin(['UA'])),"
        " 'miles': pa.Column(int, pa.Check.gt(0))})\n"
        "Gates = pa.DataFrameSchema({'gate': pa.Column(str)})\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "rules_of_flights", raising=False)
    store = Quarantine("bad rows")
    frame = pd.DataFrame({"carrier": ["UA", "??", "UA"], "miles": [1, 2, -3]})
    store.write(split(frame, SCHEMA), operation="fetch", batch="b1", schema=SCHEMA)
    return store


@pytest.fixture
def run(store, capsys):
    """Run one command on the quarantine, and return its exit code, what it printed, and its errors."""

    def run(*words):
        code = main(["quarantine", *words, "--at", "bad rows"])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_list_shows_each_batch_and_how_many_of_its_rows_wait(run):
    code, out, _ = run("list")
    head, row, last = out.splitlines()
    assert code == 0
    assert head.split() == ["batch", "operation", "when", "rows", "waiting", "path"]
    assert row.split()[:2] == ["b1", "fetch"]
    assert last == "1 batch, 2 rows wait"
    assert json.loads(run("list", "--json")[1])[0]["waiting"] == 2
    assert json.loads(run("list", "--json", "--operation", "other")[1]) == []
    assert json.loads(run("list", "--json", "--since", "2999-01-01")[1]) == []


def test_show_says_why(run):
    code, out, _ = run("show", "b1")
    assert code == 0
    assert "miles: greater_than(0) (-3)" in out
    assert out.splitlines()[-1] == "2 of 2 rows wait"
    assert json.loads(run("show", "b1", "--json")[1])[0]["values"] == {"carrier": "??", "miles": 2}


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_rows_are_saved_to_a_file_corrected_there_and_replayed(run, store, tmp_path, ending):
    assert run("show", "b1", "--to", f"rows.{ending}")[:2] == (
        0, f"2 rows in rows.{ending}: correct them, then replay with --rows rows.{ending}\n",
    )  # fmt: skip
    file = tmp_path / f"rows.{ending}"
    file.write_text(file.read_text().replace("??", "UA"))
    code, out, _ = run("replay", "b1", "--schema", "rules_of_flights:Flights", "--rows", f"rows.{ending}")
    assert (code, out.splitlines()[0]) == (1, "1 row released, 1 still waits")
    assert "miles: greater_than(0) (-3)" in out
    file.write_text(file.read_text().replace("-3", "3"))
    code, out, _ = run("replay", "b1", "--schema", "rules_of_flights:Flights", "--rows", f"rows.{ending}", "--json")
    assert (code, json.loads(out)) == (0, {"released": 1, "waiting": 0, "failing": [], "frame_errors": []})
    assert store.release("fetch")["miles"].tolist() == [2, 3]


def test_rows_go_to_parquet_and_come_back(run, tmp_path):
    assert run("show", "b1", "--to", "rows.parquet")[0] == 0
    frame = pd.read_parquet(tmp_path / "rows.parquet")
    frame.assign(carrier="UA", miles=frame["miles"].abs()).to_parquet(tmp_path / "rows.parquet")
    code, out, _ = run("replay", "b1", "--schema", "rules_of_flights:Flights", "--rows", "rows.parquet")
    assert (code, out.splitlines()[0]) == (0, "2 rows released, 0 still wait")


def test_an_unreadable_cell_is_reported_by_row_and_column(run, tmp_path):
    run("show", "b1", "--to", "rows.csv")
    file = tmp_path / "rows.csv"
    file.write_text(file.read_text().replace("??", "UA").replace("-3", "three"))
    code, out, _ = run("replay", "b1", "--schema", "rules_of_flights:Flights", "--rows", "rows.csv")
    assert (code, out.splitlines()[0]) == (1, "1 row released, 1 still waits")
    assert "2    miles: cannot be read as int64 ('three')" in out


def test_unchanged_validates_uncorrected_rows_again(run, monkeypatch):
    replay = ("replay", "b1", "--schema", "rules_of_flights:Flights", "--json")
    assert json.loads(run(*replay)[1])["failing"][0]["reasons"][0]["check"] == "isin(['UA'])"
    assert json.loads(run(*replay, "--unchanged")[1])["released"] == 0


def test_a_replay_that_could_validate_no_row_says_so(run):
    code, out, _ = run("replay", "b1", "--schema", "rules_of_flights:Gates")
    assert code == 1
    assert "no row could be validated: column 'gate' is missing" in out


def test_a_corrected_file_without_one_of_the_columns_is_refused_by_its_name(run, tmp_path):
    (tmp_path / "rows.json").write_text('[{"__quarantine_row": 1, "miles": 2}]')
    code, _, err = run("replay", "b1", "--schema", "rules_of_flights:Flights", "--rows", "rows.json")
    assert code == 2
    assert "carrier" in err


def test_purge_says_what_it_removes(run, store):
    assert run("purge", "--older-than", "0")[:2] == (0, "0 batches removed, 0 rows wait\n")
    assert run("purge", "--older-than", "0", "--waiting", "--dry-run")[1].endswith(
        "1 batch would be removed, 2 rows wait\n"
    )
    assert store.rows() == 2
    assert run("purge", "--older-than", "0", "--waiting")[0] == 0
    assert store.list() == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["show", "b9"], "There is no batch b9"),
        (["show", "b9"], "`resilient-tasks quarantine list` shows its batches"),
        (["replay", "b1", "--schema", "Flights"], "--schema is MODULE:NAME"),
        (["replay", "b1", "--schema", "nowhere:Flights"], "There is no schema nowhere:Flights"),
        (["replay", "b1", "--schema", "rules_of_flights:Other"], "There is no schema rules_of_flights:Other"),
        (["replay", "b1", "--schema", "rules_of_flights:pa"], "A schema is a pandera DataFrameSchema"),
        (["replay", "b1", "--schema", "rules_of_flights:Flights", "--rows", "none.csv"], "No such file"),
        (["show", "b1", "--to", "rows.txt"], "none of .csv, .json and .parquet"),
    ],
)
def test_a_command_that_cannot_be_run_prints_one_sentence_and_exits_with_2(run, words, sentence):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.splitlines()) == 1


LONG = "a path/" * 12


def test_a_row_of_a_table_is_one_line_in_a_pipe(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    print_table(("batch", "path"), [("b1", LONG), ("ねこ", "[bold]:cat:[/bold]"), ("b3", 101 * "x")])
    assert capsys.readouterr().out.splitlines() == [
        "batch  path",
        f"b1     {LONG}",
        "ねこ   [bold]:cat:[/bold]",  # a wide character takes two columns
        f"b3     {99 * 'x'}…",
    ]


def test_a_terminal_folds_long_cells_in_their_column(monkeypatch, capsys):
    for name, value in {"COLUMNS": "40", "FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    print_table(("batch", "path"), [("b1", LONG)])
    _, *lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert [line[:5].strip() for line in lines] == ["b1", *[""] * (len(lines) - 1)]
    assert "".join(line[7:] for line in lines).replace(" ", "") == LONG.replace(" ", "")


def test_an_unknown_command_exits_with_2(run):
    with pytest.raises(SystemExit) as exit_:
        run("burn")
    assert exit_.value.code == 2


def test_help_loads_nothing_heavy():
    program = (
        "import sys\n"
        "from resilient_tasks.cli import main\n"
        "try: main(['quarantine', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'pandas', 'polars', 'pyarrow', 'pandera', 'prefect', 'fsspec'} & sys.modules.keys()\n"
        "sys.exit(len(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "replay" in done.stdout


class TestWhatIsNotThere:
    def test_a_folder_that_is_not_there_is_an_error(self, store, capsys):
        for words in (["list"], ["show", "b1"], ["replay", "b1", "--schema", "rules_of_flights:Flights"]):
            assert main(["quarantine", *words, "--at", "no such folder"]) == 2
            assert "There is no quarantine at no such folder: --at names the folder" in capsys.readouterr().err
        assert main(["quarantine", "purge", "--older-than", "30d", "--at", "no such folder"]) == 2
        assert main(["quarantine", "list", "--at", "memory://no-such-bucket/quarantine"]) == 2

    def test_the_usual_folder_may_not_be_there_yet(self, store, capsys):
        assert main(["quarantine", "list"]) == 0
        out, err = capsys.readouterr()
        assert out == "0 batches, 0 rows wait\n"
        assert err == "There is no quarantine at quarantine yet: --at names another one.\n"

    @pytest.mark.parametrize(
        ("age", "code"), [("30d", 0), ("1.5", 0), ("12h", 0), ("soon", 2), ("-1", 2), ("2 moons", 2)]
    )
    def test_purge_takes_an_age_with_its_unit_or_days(self, run, age, code):
        found, _, err = run("purge", "--older-than", age)
        assert (found, "such as 90, 10m, 2h or 1d" in err) == (code, code == 2)

    def test_an_age_without_a_unit_is_days(self, store, monkeypatch):
        asked = []
        monkeypatch.setattr(Quarantine, "purge", lambda self, age, **_: asked.append(age.days) or [])
        main(["quarantine", "purge", "--older-than", "30", "--at", "bad rows"])
        main(["quarantine", "purge", "--older-than", "2w", "--at", "bad rows"])
        assert asked == [30, 14]

    def test_a_day_that_is_none_is_an_error(self, run):
        code, _, err = run("list", "--since", "yesterday")
        assert (code, "--since takes a day such as 2013-07-31" in err) == (2, True)
