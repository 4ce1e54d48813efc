"""Who may open a store's folder, and what is said to those who may not."""

import os
import subprocess
import sys

import pytest

from ingest.errors import StoreHeld, StoreUnusable
from ingest.store.folder import LOCK, MARK, held
from ingest.store.server import serve


def test_a_second_opener_learns_path_pid_and_remedy(tmp_path):
    with held(tmp_path / "db"), pytest.raises(StoreHeld) as refused, held(tmp_path / "db"):
        pass
    for part in (str(tmp_path / "db"), str(os.getpid()), "stop that process"):
        assert part in str(refused.value)


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    script = (
        "import os, pathlib, sys\nfrom ingest.store.folder import held\n"
        "with held(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    dead = subprocess.run([sys.executable, "-c", script, str(tmp_path / "db")], check=False)
    assert dead.returncode == -9
    assert (tmp_path / "db" / LOCK).read_text().strip() != str(os.getpid())
    with held(tmp_path / "db"):
        assert (tmp_path / "db" / LOCK).read_text().strip() == str(os.getpid())


def test_a_store_opens_again_after_it_was_closed(tmp_path):
    for _ in range(2):
        with held(tmp_path / "db") as folder:
            assert folder.is_absolute()


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StoreUnusable, match="is no store"), held(tmp_path):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_or_a_place_below_one_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "db"):
        with pytest.raises(StoreUnusable, match="cannot use"), held(path):
            pass


@pytest.mark.parametrize(
    ("mark", "remedy"), [('{"format": 99}', "upgrade"), ("[]", "damaged"), ("nonsense", "damaged"), ("", "damaged")]
)
def test_a_mark_of_another_format_or_of_none_says_what_to_do(tmp_path, mark, remedy):
    (tmp_path / MARK).write_text(mark)
    with pytest.raises(StoreUnusable, match=remedy), held(tmp_path):
        pass


def test_a_name_that_chdb_would_read_as_options_is_refused(tmp_path):
    with pytest.raises(StoreUnusable, match="must not contain"), held(tmp_path / "a?b"):
        pass


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "example.com"])
def test_other_machines_are_not_served(tmp_path, host):
    with pytest.raises(StoreUnusable, match="without encryption"):
        serve(tmp_path / "db", host, 0, print)
    assert not (tmp_path / "db").exists()
