"""The permissions of the library's folder in the user's home."""

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
    """The folder, by default and as set in the environment."""
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


def test_files_created_there_are_for_the_owner_only(folder, umask):
    if umask == 0o177:
        folder.parent.mkdir(exist_ok=True)
        folder.parent.chmod(0o700)
    store = written()
    assert rights(folder) == 0o700
    assert set(files(folder).values()) == {0o600}
    store.close()


def test_wider_permissions_of_existing_files_are_narrowed(folder):
    folder.mkdir(parents=True)
    store = written()
    for path in (folder, *folder.iterdir()):
        path.chmod(0o777 if path.is_dir() else 0o666)
    other = written()
    assert rights(folder) == 0o700
    assert set(files(folder).values()) == {0o600}
    other.close()
    store.close()


def test_a_configured_folder_with_other_files_keeps_its_permissions(tmp_path, monkeypatch):
    monkeypatch.setenv("RESILIENT_TASKS_HOME", str(tmp_path))
    (tmp_path / "other").write_text("")
    tmp_path.chmod(0o755)
    store = written()
    assert rights(tmp_path) == 0o755
    assert rights(tmp_path / "incidents.db") == 0o600
    store.close()


def test_a_file_elsewhere_gets_the_permissions_of_the_umask(tmp_path, monkeypatch):
    monkeypatch.setenv("RESILIENT_TASKS_HOME", str(tmp_path / "home"))
    before = os.umask(0o022)
    try:
        store = SQLiteStore(f"sqlite:///{tmp_path / 'shared.db'}")
        store.connect()
    finally:
        os.umask(before)
    assert rights(tmp_path / "shared.db") == 0o644
    store.close()
