"""A real Slurm of one machine in one folder: munged, slurmctld and slurmd on loopback, without systemd or cgroups.

By hand:

    eval "$(python tests/slurm/cluster.py up /tmp/cluster)"    # then sinfo, sbatch, negprompt train launcher=slurm ...
    python tests/slurm/cluster.py down /tmp/cluster

All state, logs, keys and sockets are in the folder. Two partitions share the node: `low`, the default, whose jobs are
requeued when a job of `high` needs their place.
"""

from __future__ import annotations

import argparse
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo")
INSTALL = "apt-get update && apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge"
MARK = "NEGPROMPT_TEST_CLUSTER"
"""Variable of the daemons' environment that says whose they are."""
WAIT_S = 30
CPUS = 4
"""Of the node, whatever the machine has: a 2 x 2 sweep runs at once, and four jobs fill the node."""

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={requeue_delay_s}
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SlurmctldParameters={controller_parameters}
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait={kill_wait_s}
ReturnToService=2
MaxArraySize=1001
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=65536 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace_s} MaxTime=60 State=UP
PartitionName=high Nodes={host} PriorityTier=10 PreemptMode=OFF MaxTime=60 State=UP
"""


def missing() -> list[str]:
    """Programs of Slurm that this machine lacks."""
    return [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]


class Cluster:
    """A running Slurm, its files in `folder`; `environment` makes the usual commands talk to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _path()}

    def up(
        self, *, forwards_signal: bool = True, grace_s: int = 0, kill_wait_s: int = 20, requeue_delay_s: int = 5
    ) -> Cluster:
        """Start all three daemons and wait until the node takes jobs.

        Args:
            forwards_signal: whether preemption first sends the signal of `--signal`, as clusters can be told to.
            grace_s: between the first signal of a preemption and its SIGTERM; 0 sends both at once.
            kill_wait_s: between SIGTERM and SIGKILL.
            requeue_delay_s: how long a requeued job waits at least; Slurm's own default is 120.
        """
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        text = CONFIG.format(
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            folder=self.folder,
            controller=_free_port(),
            node=_free_port(),
            cpus=CPUS,
            grace_s=grace_s,
            kill_wait_s=kill_wait_s,
            requeue_delay_s=requeue_delay_s,
            controller_parameters="preempt_send_user_signal" if forwards_signal else "",
        )
        (self.folder / "slurm.conf").write_text(text)
        try:
            self._start_munge()
            self._start("slurmctld", "-c")
            self._until("slurmctld answers", lambda: self.run("scontrol", "ping").returncode == 0)
            self._start("slurmd", "-c", "-N", socket.gethostname().partition(".")[0])
            self._until("the node is idle", lambda: self.run("sinfo", "-h", "-o", "%T").stdout.split()[:1] == ["idle"])
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """End all jobs and daemons of the folder at once; harmless where none run."""

        def gone() -> bool:
            running = self.processes()
            for pid in running:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not running

        self._until("all processes of the cluster end", gone)

    def run(self, *words: str, extra: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """One command, with this cluster as the one it talks to."""
        environment = {**os.environ, **self.environment, **(extra or {})}
        return subprocess.run(words, env=environment, text=True, capture_output=True, timeout=120, check=False)

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        if not key.exists():
            key.write_bytes(secrets.token_bytes(128))
            key.chmod(0o400)
        paths = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={self.folder}/munge.{end}" for option, end in paths.items()]
        # --force: the folder may be below one that all can write to, as /tmp is.
        self._start("munged", "--force", *options)
        self._until("munged answers", lambda: (self.folder / "munge.socket").exists())

    def _start(self, *words: str) -> None:
        done = self.run(*words, extra={MARK: str(self.folder)})
        if done.returncode != 0:
            raise RuntimeError(
                f"{' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}{self.logs()}"
            )

    def _until(self, what: str, holds: Callable[[], bool], seconds: float = WAIT_S) -> None:
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise TimeoutError(f"waited {seconds} s in vain: {what}.{self.logs()}")
            time.sleep(0.1)

    def logs(self) -> str:
        """The end of every daemon's log."""
        ends = [
            f"\n{path}:\n" + "".join(path.read_text(errors="replace").splitlines(keepends=True)[-15:])
            for path in sorted(self.folder.glob("*.log"))
        ]
        return "".join(ends)

    def processes(self, words: str = "") -> list[int]:
        """Processes of this cluster: daemons by their mark, jobs by the configuration that Slurm hands them.

        Args:
            words: only those with this in their command line.
        """
        return list(self._processes(words))

    def _processes(self, words: str) -> Iterator[int]:
        daemon, of_here = f"{MARK}={self.folder}", f"SLURM_CONF={self.environment['SLURM_CONF']}"
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                environment = (entry / "environ").read_text(errors="replace").split("\0")
                command = (entry / "cmdline").read_text(errors="replace").replace("\0", " ")
            except OSError:  # ended, or somebody else's
                continue
            is_job = of_here in environment and any(word.startswith("SLURM_JOB_ID=") for word in environment)
            if (daemon in environment or is_job) and words in command and int(entry.name) != os.getpid():
                yield int(entry.name)


def _path() -> str:
    """PATH with the folders of daemons, which a user's lacks."""
    return os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """`cluster.py up|down FOLDER`, or `check` whether the programs are here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("up", "down", "check"))
    parser.add_argument("folder", type=Path, nargs="?", default=Path("/tmp/negprompt-slurm"))
    parser.add_argument("--no-forward", action="store_true", help="preempt without the signal of --signal")
    arguments = parser.parse_args()
    cluster = Cluster(arguments.folder)
    if arguments.action == "down":
        cluster.down()
        return
    if lacking := missing():
        sys.exit(f"cluster.py: {', '.join(lacking)} not found. On Debian: {INSTALL}")
    if arguments.action == "check":
        return
    cluster.up(forwards_signal=not arguments.no_forward)
    print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}")  # noqa: T201 -- a script


if __name__ == "__main__":
    main()
