"""A whole Slurm on this machine: munge, MariaDB, slurmdbd, slurmctld and slurmd on loopback, four fake GPUs.

Nothing of it is a stand-in but the GPUs themselves, which are links to /dev/null."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("munged", "mariadbd", "mariadb-install-db", "slurmdbd", "slurmctld", "slurmd", "sbatch", "sacct")
GPUS = 4
CLUSTER = "test"
_DATABASE_USER = "slurm"
_DATABASE_SECRET = "local"


def is_installed() -> bool:
    """Whether every daemon is here, and the rights to run them."""
    return os.geteuid() == 0 and all(shutil.which(program) for program in PROGRAMS)


def eventually(found: Callable[[], bool], *, seconds: float = 30.0, what: str = "it") -> None:
    """Wait until ``found`` says yes. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not found():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come about in {seconds} s")
        time.sleep(0.1)


@dataclass(slots=True)
class SlurmCluster:
    """The daemons below one folder, and what a member or an administrator types."""

    folder: Path
    extra: Sequence[str] = ()
    """Lines for slurm.conf."""
    accounts: Sequence[str] = ("lab1", "lab2", "lab3")
    _daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _ports: dict[str, int] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self) -> None:
        """Up to an idle node. Takes about six seconds."""
        for name in ("state", "spool", "log", "run", "db"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        (self.folder / "run").chmod(0o755)  # munge refuses a socket that others cannot reach
        self._ports = dict(zip(("ctld", "slurmd", "dbd", "maria"), _free_ports(4), strict=True))
        self._configure()
        self._start_munge()
        self._start_database()
        self._start("slurmdbd", "slurmdbd", "-D")
        eventually(lambda: self._says("sacctmgr", "-n", "list", "cluster"), what="slurmdbd")
        self._admit()
        self.start_controller(clean=True)
        self.start_node()

    def stop(self) -> None:
        """End every daemon by its own process id, the node's jobs first."""
        if "slurmctld" in self._daemons:
            self.command("scancel", "--user=root", "--full", check=False)
        for name in ("slurmd", "slurmctld", "slurmdbd", "mariadbd", "munged"):
            self.end(name)

    def end(self, name: str, *, how: signal.Signals = signal.SIGTERM) -> None:
        """One daemon, with a signal."""
        daemon = self._daemons.pop(name, None)
        if daemon is None:
            return
        daemon.send_signal(how)
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def start_controller(self, *, clean: bool = False) -> None:
        self._start("slurmctld", "slurmctld", "-D", *(["-c"] if clean else []))
        eventually(lambda: self._says("scontrol", "ping"), what="slurmctld")

    def start_node(self) -> None:
        self._start("slurmd", "slurmd", "-D", "-N", _host())
        eventually(self.is_idle, what="an idle node")

    def is_idle(self) -> bool:
        return self.command("sinfo", "-h", "-o", "%t", check=False).strip() == "idle"

    def command(self, *words: str, check: bool = True, seconds: float = 20.0) -> str:
        """What one of Slurm's programs prints."""
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, timeout=seconds, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)}: {done.returncode} {done.stdout} {done.stderr}")
        return done.stdout

    def sbatch(self, *options: str, script: str = "sleep 1") -> int:
        """Submit as a member does; the job's number."""
        given = ("--parsable", "--output=/dev/null", "--chdir=/tmp", *options, f"--wrap={script}")
        return int(self.command("sbatch", *given).split(";")[0])

    def job(self, number: int | str) -> dict[str, str]:
        """What `scontrol show job` says, word by word; empty once the controller has forgotten it."""
        said = self.command("scontrol", "-o", "show", "job", str(number), check=False)
        return dict(word.split("=", 1) for word in said.split() if "=" in word)

    def state(self, number: int | str) -> str:
        return self.job(number).get("JobState", "")

    def elapsed(self, number: int | str) -> int:
        """Seconds that it has run so far."""
        said = self.job(number).get("RunTime", "00:00:00").split(":")
        return int(said[-1]) + 60 * int(said[-2])

    def elapsed_row(self, number: int | str) -> int:
        """Seconds that accounting says its only attempt ran."""
        ((elapsed,),) = self.rows(number, "ElapsedRaw")
        return int(elapsed)

    def processes(self, words: str) -> list[str]:
        """The numbers of the processes with just this command line."""
        wanted = words.replace(" ", "\0").encode() + b"\0"
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                found += [path.parent.name] if path.read_bytes() == wanted else []
        return found

    def node(self, state: str) -> None:
        """An administrator sets the node's state."""
        # A node that came back by itself is not resumed: that is an error to Slurm.
        self.command(
            "scontrol", "update", f"NodeName={_host()}", f"State={state}", "Reason=test", check=False
        )

    def as_member(self, *words: str, check: bool = True) -> str:
        """What somebody without rights gets to see, errors included."""
        done = subprocess.run(
            ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *words],
            env=self.environment, capture_output=True, text=True, timeout=20, check=False, cwd="/tmp",
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{words}: {done.stdout} {done.stderr}")
        return (done.stdout + ("" if check else done.stderr)).strip()

    def rows(self, number: int | str, *fields: str) -> list[list[str]]:
        """The accounting rows of a job, one for each attempt."""
        wanted = ",".join(fields or ("DBIndex", "State", "ElapsedRaw", "AllocTRES"))
        said = self.command("sacct", "-D", "-X", "-n", "-P", "-j", str(number), f"--format={wanted}")
        return [line.split("|") for line in said.splitlines()]

    def _start(self, name: str, *words: str) -> None:
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                words, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def _says(self, *words: str) -> bool:
        try:
            done = subprocess.run(words, env=self.environment, capture_output=True, timeout=5, check=False)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0 and b"DOWN" not in done.stdout

    def _configure(self) -> None:
        devices = [self.folder / f"gpu{number}" for number in range(GPUS)]
        for device in devices:
            device.symlink_to("/dev/null")  # a GRES takes one path for each device
        gpus = f"Name=gpu Type=h100 File={self.folder}/gpu[0-{GPUS - 1}]"
        self._write("gres.conf", "AutoDetect=off", gpus)
        self._write("cgroup.conf", "CgroupAutomount=no")
        self._write("slurm.conf", *self._controller_lines(), *self.extra, *self._node_lines())
        self._write("slurmdbd.conf", *self._database_lines())
        (self.folder / "slurmdbd.conf").chmod(0o600)

    def _write(self, name: str, *lines: str) -> None:
        (self.folder / name).write_text("\n".join(lines) + "\n")

    def _controller_lines(self) -> list[str]:
        run, log = self.folder / "run", self.folder / "log"
        return [
            f"ClusterName={CLUSTER}",
            f"SlurmctldHost={_host()}(127.0.0.1)",
            "SlurmUser=root",
            "SlurmdUser=root",
            "AuthType=auth/munge",
            f"AuthInfo=socket={run}/munge.sock",
            f"SlurmctldPort={self._ports['ctld']}",
            f"SlurmdPort={self._ports['slurmd']}",
            f"StateSaveLocation={self.folder}/state",
            f"SlurmdSpoolDir={self.folder}/spool",
            f"SlurmctldPidFile={run}/slurmctld.pid",
            f"SlurmdPidFile={run}/slurmd.pid",
            f"SlurmctldLogFile={log}/slurmctld.log",
            f"SlurmdLogFile={log}/slurmd.log",
            "ProctrackType=proctrack/linuxproc",
            "TaskPlugin=task/none",
            "JobAcctGatherType=jobacct_gather/linux",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core",
            "GresTypes=gpu",
            "AccountingStorageType=accounting_storage/slurmdbd",
            "AccountingStorageHost=127.0.0.1",
            f"AccountingStoragePort={self._ports['dbd']}",
            f"AccountingStoragePass={run}/munge.sock",  # that link does not read AuthInfo
            "AccountingStorageTRES=gres/gpu,gres/gpu:h100",
            "AccountingStorageEnforce=associations",
            "AccountingStoreFlags=job_comment",
            "MpiDefault=none",
            "ReturnToService=2",
            "SlurmdParameters=config_overrides",  # more processors than this machine may have
            "KillWait=2",
            "SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0",
        ]

    def _node_lines(self) -> list[str]:
        return [
            f"NodeName={_host()} NodeAddr=127.0.0.1 CPUs=8 RealMemory=1000 Gres=gpu:h100:{GPUS}",
            f"PartitionName=main Nodes={_host()} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO",
        ]

    def _database_lines(self) -> list[str]:
        return [
            "AuthType=auth/munge",
            f"AuthInfo=socket={self.folder}/run/munge.sock",
            f"DbdHost={_host()}",
            "DbdAddr=127.0.0.1",
            f"DbdPort={self._ports['dbd']}",
            "SlurmUser=root",
            f"LogFile={self.folder}/log/slurmdbd.log",
            f"PidFile={self.folder}/run/slurmdbd.pid",
            "StorageType=accounting_storage/mysql",
            "StorageHost=127.0.0.1",
            f"StoragePort={self._ports['maria']}",
            f"StorageUser={_DATABASE_USER}",
            f"StoragePass={_DATABASE_SECRET}",
            "StorageLoc=slurm_acct_db",
        ]

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        run = self.folder / "run"
        files = {"key-file": key, "socket": run / "munge.sock", "pid-file": run / "munged.pid"}
        files |= {"log-file": self.folder / "log" / "munged.log", "seed-file": run / "munge.seed"}
        self._start("munged", "munged", "-F", *(f"--{name}={path}" for name, path in files.items()))
        eventually((run / "munge.sock").exists, what="munge's socket")

    def _start_database(self) -> None:
        database = self.folder / "db"
        shutil.chown(database, "mysql")
        data = ("--no-defaults", "--user=mysql", f"--datadir={database}/data")
        made = ("--auth-root-authentication-method=normal", "--skip-test-db")
        subprocess.run(["mariadb-install-db", *data, *made], check=True, capture_output=True, timeout=120)
        place = (f"--port={self._ports['maria']}", f"--socket={database}/s.sock")
        small = ("--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0")
        self._start("mariadbd", "mariadbd", *data, "--bind-address=127.0.0.1", *place, *small)
        client = ("mariadb", "--no-defaults", "-S", f"{database}/s.sock")
        eventually(lambda: self._says(*client, "-e", "select 1"), what="MariaDB")
        user = f"'{_DATABASE_USER}'@'127.0.0.1'"
        made_for = (
            f"create user {user} identified by '{_DATABASE_SECRET}'; grant all on slurm_acct_db.* to {user};"
        )
        subprocess.run([*client, "-e", f"create database slurm_acct_db; {made_for}"], check=True, timeout=30)

    def _admit(self) -> None:
        self.command("sacctmgr", "-iQ", "add", "cluster", CLUSTER)
        for account in self.accounts:
            self.command("sacctmgr", "-iQ", "add", "account", account, "Description=x", "Organization=x")
            for user in ("root", "nobody"):
                self.command("sacctmgr", "-iQ", "add", "user", user, f"account={account}")


def free_environment(cluster: SlurmCluster, **more: str) -> Mapping[str, str]:
    """The environment of a program that talks to this cluster."""
    return {**cluster.environment, **more}


def _host() -> str:
    return socket.gethostname().split(".")[0]


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [int(opened.getsockname()[1]) for opened in sockets]
    finally:
        for opened in sockets:
            opened.close()
