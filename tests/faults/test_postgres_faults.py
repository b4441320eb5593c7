"""A database that loses its sessions, its room or its order, and a sequencer that was given up for dead."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_pools import environment
from creditledger.credits.state import StateView
from creditledger.errors import BusyError, IntegrityError, RollbackError, StorageError
from creditledger.ledger import postgres_session
from creditledger.ledger.disk_space import is_out_of_space
from creditledger.ledger.fsck import fsck
from creditledger.ledger.ledger import Acknowledgement, Ledger
from creditledger.ledger.postgres_session import IDLE_MS
from creditledger.ledger.postgres_store import PostgresStore
from creditledger.ledger.standby import StandbyLedger
from creditledger.ledger.store import GuessedWrongError
from ledger_pools import found, grant, registration
from postgres_server import asking, new_schema

SMALL_BYTES = 12 * 1024 * 1024
HOLDING = """
import sys, time
from creditledger.ledger.postgres_store import PostgresStore
store = PostgresStore(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
try:
    with store.write() as view:
        view.put(b"late", b"late")
except Exception as error:
    print(type(error).__name__, flush=True)
else:
    print("written", flush=True)
"""


@pytest.fixture
def url(postgres: str) -> Iterator[str]:
    made = new_schema(postgres)
    yield made
    PostgresStore.drop(made)


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    made = PostgresStore.create(url)
    with made.write() as view:
        view.put(b"before", b"1")
    yield made
    made.close()


def test_a_wrong_guess_is_found_before_it_counts(url: str) -> None:
    """A writer that was opened anew takes rows to be absent. It is told before a file is written beside them,
    else as it leaves. Nothing changed then, and a plain transaction knows better."""
    with contextlib.closing(PostgresStore.create(url)) as made, made.write() as view:
        view.put(b"there", b"1")
    with contextlib.closing(PostgresStore(url)) as made:
        with made.write() as view:
            view.put(b"warm", b"1")
        beside: list[bytes] = []
        with pytest.raises(GuessedWrongError), made.write_guessing() as view:
            guess_and_confirm(made, view, beside)
        assert beside == []
        with made.write() as view:
            assert view.get(b"there") == b"1"
    with contextlib.closing(PostgresStore(url)) as made:
        with made.write() as view:
            view.put(b"warm", b"2")
        with made.write_guessing() as view:
            assert view.get(b"nowhere") is None
            made.confirm_guesses()
            view.put(b"nowhere", b"2")
        with pytest.raises(GuessedWrongError), made.write_guessing() as view:
            view.put(b"lost", view.get(b"there") or b"absent")
        with made.read() as view:
            assert (view.get(b"nowhere"), view.get(b"lost"), view.get(b"there")) == (b"2", None, b"1")


def guess_and_confirm(store: PostgresStore, view: StateView, beside: list[bytes]) -> None:
    assert view.get(b"there") is None
    store.confirm_guesses()
    beside.append(b"a file that no transaction takes back")


def test_a_reader_may_think_and_a_writer_may_not(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for a writer that says nothing waits for so long at most; nobody waits for a reader."""
    monkeypatch.setattr(postgres_session, "WRITING_MS", 300)
    with contextlib.closing(PostgresStore.create(url)) as made:
        with made.write() as view:
            view.put(b"before", b"1")
        with made.read() as view:
            time.sleep(1)
            assert view.get(b"before") == b"1"
        with pytest.raises(StorageError, match="idle-in-transaction"):
            think_and_write(made)


def think_and_write(store: PostgresStore) -> None:
    with store.write() as view:
        time.sleep(1)
        view.get(b"after")


def rows(url: str) -> dict[bytes, bytes]:
    store = PostgresStore(url, read_only=True)
    try:
        with store.read() as view:
            return dict(view.scan(b""))
    finally:
        store.close()


def end_sequencer(url: str) -> None:
    """The server ends the session that writes, as an operator or a crash would."""
    sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%sequencer%'"
    with asking(url) as session:
        session.execute(sql)


def at_commit(url: str, action: str) -> None:
    """Have the server do something at the very commit of whoever puts a row."""
    schema = PostgresStore(url, read_only=True).url.schema
    with asking(url) as session:
        session.execute(f"CREATE FUNCTION {schema}.fail() RETURNS trigger LANGUAGE plpgsql AS $$ {action} $$")
        session.execute(
            f"CREATE CONSTRAINT TRIGGER fail AFTER INSERT OR UPDATE ON {schema}.row "
            f"DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {schema}.fail()"
        )


def test_a_session_lost_before_the_commit_changes_nothing(store: PostgresStore, url: str) -> None:
    """The store writes again once it is opened anew, not sooner."""
    with pytest.raises(StorageError), store.write() as view:  # noqa: PT012
        view.put(b"lost", b"1")
        end_sequencer(url)
        time.sleep(0.1)
        view.get(b"not known yet")
    assert rows(url) == {b"before": b"1"}
    with store.read() as view:
        assert view.get(b"before") == b"1"
    with pytest.raises(StorageError, match="ended"), store.write():
        pass
    store.reopen()
    with store.write() as view:
        view.put(b"after", b"1")
    assert rows(url) == {b"before": b"1", b"after": b"1"}


def test_a_session_lost_while_the_rows_are_sent_changes_nothing(store: PostgresStore, url: str) -> None:
    with pytest.raises(StorageError), store.write() as view:  # noqa: PT012
        view.put(b"lost", b"1")
        end_sequencer(url)
        time.sleep(0.1)
    assert rows(url) == {b"before": b"1"}


def test_a_session_lost_in_the_commit_poisons_the_store(store: PostgresStore, url: str) -> None:
    """Nobody knows what the server did: neither reading nor writing goes on before it is opened anew."""
    at_commit(url, "BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END")
    with pytest.raises(StorageError, match="commit"), store.write() as view:
        view.put(b"perhaps", b"1")
    with pytest.raises(StorageError, match="failed before"), store.read():
        pass
    with pytest.raises(StorageError, match="failed before"), store.write():
        pass
    store.reopen()
    with store.read() as view:
        assert view.get(b"before") == b"1"


def test_a_commit_that_the_server_refuses_changes_nothing(store: PostgresStore, url: str) -> None:
    """A serialization failure is an answer: the store is not poisoned."""
    at_commit(url, "BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END")
    with pytest.raises(StorageError, match="order"), store.write() as view:
        view.put(b"lost", b"1")
    with store.read() as view:
        assert dict(view.scan(b"")) == {b"before": b"1"}


def test_a_real_serialization_failure_is_one(store: PostgresStore, url: str) -> None:
    """Somebody else changes the sequencer's row while a transaction waits for it."""
    errors: list[Exception] = []

    def write() -> None:
        try:
            with store.write() as view:
                view.put(b"lost", b"1")
        except StorageError as error:
            errors.append(error)

    with asking(url) as session:
        session.execute("BEGIN")
        session.execute(f"UPDATE {store.url.schema}.sequencer SET term = term")
        writing = threading.Thread(target=write)
        writing.start()
        time.sleep(0.3)
        session.execute("COMMIT")
        writing.join()
    assert [type(error) for error in errors] == [StorageError]
    assert rows(url) == {b"before": b"1"}


def test_one_sequencer_at_a_time(store: PostgresStore, url: str) -> None:
    with pytest.raises(BusyError):
        PostgresStore(url)
    term = store.term
    store.close()
    second = PostgresStore(url)
    assert second.term == term + 1
    second.close()


def test_a_sequencer_whose_term_is_over_cannot_write(store: PostgresStore, url: str) -> None:
    """Even where its session still has the lock: the term is checked in the transaction that writes."""
    with asking(url) as session:
        session.execute(f"UPDATE {store.url.schema}.sequencer SET term = term + 1")
    with pytest.raises(StorageError, match="took over"), store.write() as view:
        view.put(b"late", b"1")
    assert rows(url) == {b"before": b"1"}


def test_a_suspended_sequencer_is_replaced_and_cannot_write_later(url: str) -> None:
    """It is stopped, not killed: its session falls silent, the server ends it, and another takes over."""
    PostgresStore.create(url).close()
    old = subprocess.Popen(
        [sys.executable, "-c", HOLDING, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    )
    try:
        assert old.stdout is not None
        assert old.stdin is not None
        assert old.stdout.readline() == b"open\n"
        time.sleep(IDLE_MS / 1_000 + 1)  # While it lives it keeps its session, however little it writes.
        with pytest.raises(BusyError):
            PostgresStore(url)
        old.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        new = PostgresStore(url, read_only=True)
        while not new.try_acquire():
            assert time.monotonic() - began < IDLE_MS / 1_000 + 2
            time.sleep(0.1)
        with new.write() as view:
            view.put(b"new", b"1")
        old.send_signal(signal.SIGCONT)
        old.stdin.write(b"go\n")
        old.stdin.flush()
        assert old.stdout.readline() == b"StorageError\n"
        assert rows(url) == {b"new": b"1"}
        new.close()
    finally:
        old.kill()
        old.communicate()


def test_a_changed_value_is_found(store: PostgresStore, url: str) -> None:
    with asking(url) as session:
        session.execute(f"UPDATE {store.url.schema}.row SET value = value || 'x'::bytea")
    with pytest.raises(IntegrityError), store.read() as view:
        view.get(b"before")


def test_a_forked_child_is_refused(store: PostgresStore) -> None:
    child = os.fork()
    if child == 0:
        try:
            with store.read():
                os._exit(1)
        except StorageError:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.loop
def test_a_full_disk_leaves_the_old_state(url: str, tmp_path: Path) -> None:
    """The rows' tablespace is a file system of 12 MiB. With room again the same process goes on."""
    with small_disk() as place:
        store = PostgresStore.create(url)
        schema, space = store.url.schema, f"space_{store.url.schema}"
        with asking(url) as session:
            session.execute(f"CREATE TABLESPACE {space} LOCATION '{place}'")
            session.execute(f"ALTER TABLE {schema}.row SET TABLESPACE {space}")
        with store.write() as view:
            view.put(b"before", b"1")
        with pytest.raises(StorageError) as raised, store.write() as view:  # noqa: PT012
            for number in range(300):
                view.put(b"much" + number.to_bytes(4, "big"), os.urandom(65_536))
        assert is_out_of_space(raised.value)
        store.reopen()
        with store.write() as view:
            view.put(b"after", b"1")
        with store.read() as view:
            assert dict(view.scan(b"")) == {b"before": b"1", b"after": b"1"}
        store.close()
        PostgresStore.drop(url)
        with asking(url) as session:
            session.execute(f"DROP TABLESPACE {space}")


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    """A file system in memory of `SMALL_BYTES`, which the server may write."""
    import pwd
    import tempfile

    place = Path(tempfile.mkdtemp(prefix="cl-small-"))
    place.chmod(0o755)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_BYTES},mode=0755", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        place.rmdir()
        pytest.skip(f"nothing can be mounted here: {done.stderr.decode()}")
    try:
        folder = place / "space"
        folder.mkdir()
        if os.geteuid() == 0:
            owner = pwd.getpwnam("pgserver")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)
        place.rmdir()


@pytest.fixture
def pool(url: str, tmp_path: Path) -> Path:
    with found(tmp_path / "pool", store=url) as ledger:
        ledger.append(registration(ledger.id, "alice"))
    return tmp_path / "pool"


def test_a_ledger_that_lost_its_session_in_the_commit_goes_on_when_opened_anew(pool: Path, url: str) -> None:
    """Whatever the server did, the record is there once after it is sent again."""
    with Ledger.open(pool) as ledger:
        submission = grant(ledger.id, "alice", 5, 7)
        size = ledger.size
        at_commit(url, "BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END")
        with pytest.raises(StorageError):
            ledger.append(submission)
    with asking(url) as session:
        session.execute(f"DROP FUNCTION {PostgresStore(url, read_only=True).url.schema}.fail CASCADE")
    with Ledger.open(pool) as ledger:
        assert ledger.append(submission).index == size
        assert ledger.size == size + 1


def test_a_writer_killed_in_its_commit_leaves_all_or_nothing(pool: Path, url: str) -> None:
    """The server finishes or undoes what it was told; whoever sends the record again has it once."""
    at_commit(url, "BEGIN PERFORM pg_sleep(0.6); RETURN NULL; END")
    with Ledger.open(pool, read_only=True) as ledger:
        size, submission = ledger.size, grant(ledger.id, "alice", 5, 7)
    program = (
        "import sys; from creditledger.ledger.ledger import Ledger; "
        "from creditledger.records.entry import Submission; ledger = Ledger.open(sys.argv[1]); "
        "print('open', flush=True); ledger.append(Submission.decode(bytes.fromhex(sys.argv[2])))"
    )
    words = [sys.executable, "-c", program, str(pool), submission.encode().hex()]
    writer = subprocess.Popen(words, stdout=subprocess.PIPE, env=environment())
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"open\n"
    time.sleep(0.8)
    writer.kill()
    writer.communicate()
    with asking(url) as session:
        session.execute(f"DROP FUNCTION {PostgresStore(url, read_only=True).url.schema}.fail CASCADE")
    with Ledger.open(pool) as ledger:
        assert ledger.append(submission).index == size
        assert ledger.size == size + 1
    assert fsck(pool).problem == ""


def test_a_repeat_is_found_though_its_row_was_taken_to_be_absent(pool: Path, url: str) -> None:
    """The sequencer that comes after has read none of the rows: it asks, and answers with the first index."""
    with Ledger.open(pool) as ledger:
        first = ledger.append(grant(ledger.id, "alice", 5, 7))
    with Ledger.open(pool) as ledger:
        ledger.append(grant(ledger.id, "alice", 5, 8))
        again = ledger.append(grant(ledger.id, "alice", 5, 7))
    assert (again.index, again.leaf_hash, again.repeated) == (first.index, first.leaf_hash, True)


def test_a_database_put_back_is_refused(pool: Path, url: str) -> None:
    """The head beside the front end is newer than the restored rows."""
    kept = rows(url)
    with Ledger.open(pool) as ledger:
        ledger.append(grant(ledger.id, "alice", 5, 7))
    restore(url, kept)
    for read_only in (True, False):
        with pytest.raises(RollbackError):
            Ledger.open(pool, read_only=read_only)


def test_a_standby_refuses_a_database_put_back_once_it_has_answered(
    pool: Path, url: str, tmp_path: Path
) -> None:
    """What it answered was another's commit; its own head was moved on for it."""
    writing = Path(shutil.copytree(pool, tmp_path / "writing"))
    kept = rows(url)
    with StandbyLedger.open(pool) as standby, Ledger.open(writing) as ledger:
        ledger.append(grant(ledger.id, "alice", 5, 7))
        standby.move_head_on()
    restore(url, kept)
    with pytest.raises(RollbackError):
        StandbyLedger.open(pool)


def test_a_standby_takes_over_once_the_writer_is_gone(pool: Path, url: str, tmp_path: Path) -> None:
    other = Path(shutil.copytree(pool, tmp_path / "other"))
    with StandbyLedger.open(other) as standby:
        with Ledger.open(pool) as writer:
            assert not standby.take_over()
            with pytest.raises(StorageError):
                standby.append(grant(writer.id, "alice", 1, 1))
        assert standby.take_over()
        assert isinstance(standby.append(grant(standby.id, "alice", 1, 1)), Acknowledgement)


def restore(url: str, kept: dict[bytes, bytes]) -> None:
    store = PostgresStore(url)
    with store.write() as view:
        for key in [key for key, _ in view.scan(b"")]:
            view.delete(key)
        for key, value in kept.items():
            view.put(key, value)
    store.close()


def test_a_url_that_is_none_is_refused_without_its_password() -> None:
    with pytest.raises(StorageError) as raised:
        PostgresStore("postgresql://me:secret@localhost/db?schema=No-Name", read_only=True)
    assert "secret" not in str(raised.value) + raised.value.found
    with pytest.raises(StorageError):
        PostgresStore("postgresql://me:secret@127.0.0.1:1/db", read_only=True)
