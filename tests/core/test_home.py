"""The folder at home, as the operating system shows it."""

import os
import stat

import pytest

from resilient_tasks.core import home
from resilient_tasks.state.sqlite import SQLiteStore

pytestmark = pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")


def rights(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o177])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture(params=["usual", "named"])
def folder(request, tmp_path, monkeypatch):
    """The folder, as it is by default and as the environment names it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    if request.param == "usual":
        monkeypatch.delenv("RESILIENT_TASKS_HOME", raising=False)
        return tmp_path / ".resilient_tasks"
    monkeypatch.setenv("RESILIENT_TASKS_HOME", str(tmp_path / "named" / "folder"))
    return tmp_path / "named" / "folder"


def written():
    store = SQLiteStore(f"sqlite:///{home.folder() / 'incidents.db'}")
    store.connect()
    store.swap("key", store.get("key"), b"value")
    return store


def files(folder):
    found = {path.name: rights(path) for path in folder.iterdir()}
    assert {"incidents.db", "incidents.db-wal", "incidents.db-shm"} <= found.keys()
    return found


def test_what_is_made_there_is_for_its_owner_alone(folder, umask):
    if umask == 0o177:
        folder.parent.mkdir(exist_ok=True)
        folder.parent.chmod(0o700)
    store = written()
    assert rights(folder) == 0o700
    assert set(files(folder).values()) == {0o600}
    store.close()


def test_what_is_there_and_wider_is_narrowed(folder):
    folder.mkdir(parents=True)
    store = written()
    for path in (folder, *folder.iterdir()):
        path.chmod(0o777 if path.is_dir() else 0o666)
    other = written()
    assert rights(folder) == 0o700
    assert set(files(folder).values()) == {0o600}
    other.close()
    store.close()


def test_a_named_folder_that_holds_other_things_keeps_its_rights(tmp_path, monkeypatch):
    monkeypatch.setenv("RESILIENT_TASKS_HOME", str(tmp_path))
    (tmp_path / "other").write_text("")
    tmp_path.chmod(0o755)
    store = written()
    assert rights(tmp_path) == 0o755
    assert rights(tmp_path / "incidents.db") == 0o600
    store.close()


def test_a_file_that_the_user_names_elsewhere_has_the_rights_that_the_umask_gives(tmp_path, monkeypatch):
    monkeypatch.setenv("RESILIENT_TASKS_HOME", str(tmp_path / "home"))
    before = os.umask(0o022)
    try:
        store = SQLiteStore(f"sqlite:///{tmp_path / 'shared.db'}")
        store.connect()
    finally:
        os.umask(before)
    assert rights(tmp_path / "shared.db") == 0o644
    store.close()
