"""`queue install|run LEDGER slurm`: members keep typing sbatch. Source: specs/cli.md §22."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creditledger.cli.opening import account_id, cosigners_for, key_in, reading
from creditledger.cli.options import INPUT_FILE, json_option, key_file
from creditledger.cli.output import emit, note
from creditledger.cli.rounds import complete
from creditledger.errors import BusyError, RefusedError, RoleError

if TYPE_CHECKING:
    from creditledger.redemption.queues.slurm.reconciler import SlurmReconciler, Turn, Watcher
    from creditledger.redemption.queues.slurm.settings import SlurmSettings

DIRECTORY = click.Path(path_type=Path, file_okay=False)
MINUTE_MS = 60_000

directory_option = click.option(
    "--directory", type=DIRECTORY, metavar="DIR", help="Of this queue. Default: LEDGER/queues/slurm."
)


def directory_of(ledger: Path, directory: Path | None) -> Path:
    """Where a Slurm queue keeps its files."""
    return (directory or ledger / "queues" / "slurm").absolute()


def pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Converts ``A=B``, given any number of times."""
    found = {}
    for value in values:
        name, equals, other = value.partition("=")
        if not (name and equals and other) or name in found:
            raise click.BadParameter(f"expected {param.metavar}, each once", ctx=ctx, param=param)
        found[name] = other
    return found


@click.command()
@click.option("--queue", "queue_name", required=True, metavar="NAME", help="The queue's account.")
@click.option("--cluster", required=True, metavar="NAME", help="ClusterName in slurm.conf.")
@directory_option
@click.option(
    "--class", "classes", multiple=True, metavar="TYPE=CLASS", callback=pairs, help="Of a GPU type."
)
@click.option("--untyped", metavar="CLASS", help="Of a GPU asked for without a type.")
@click.option("--gpus-per-node", type=click.IntRange(1, 1_024), help="For jobs that ask for whole nodes.")
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="SLURM=NAME",
    callback=pairs,
    help="Its name in the ledger.",
)
@click.option("--all-jobs-of", multiple=True, metavar="SLURM", help="An account that pays without GPUs too.")
@click.option("--processors", metavar="CLASS", help="Of a processor, for --all-jobs-of.")
@click.option("--slack", type=click.IntRange(0, 86_400), default=60, show_default=True, metavar="SECONDS")
@click.option("--slurm-user", metavar="NAME", help="Whom slurmctld runs as, if not as this user.")
@click.option("--shadow", is_flag=True, help="Mark jobs only: nothing waits, nothing is charged.")
@json_option
@click.pass_obj
def install(
    ledger: Path,
    queue_name: str,
    cluster: str,
    directory: Path | None,
    classes: dict[str, str],
    untyped: str | None,
    gpus_per_node: int | None,
    accounts: dict[str, str],
    all_jobs_of: tuple[str, ...],
    processors: str | None,
    slack: int,
    slurm_user: str | None,
    shadow: bool,
    as_json: bool,
) -> None:
    """Write the scripts of a Slurm cluster, and print the lines to add to slurm.conf.

    The script in Lua goes beside slurm.conf. Labs let the queue spend with `creditledger delegate`, to the
    key that is printed. Again: settings and scripts are replaced, that key stays."""
    import os

    from creditledger.credits.reading import account_state
    from creditledger.records.registration import Role
    from creditledger.redemption.queues.slurm.installation import install as write
    from creditledger.redemption.queues.slurm.settings import SlurmSettings

    with reading(ledger) as opened, opened.read() as state:
        account = account_id(state, queue_name)
        found = account_state(state, account)
        if found is None or found.role != Role.QUEUE:
            raise RoleError("not a queue's account", expected="queue", found=queue_name[:80])
        ledger_id = opened.id
    settings = SlurmSettings(
        cluster=cluster,
        queue=account.hex(),
        classes=classes,
        untyped=untyped,
        processors=processors,
        accounts=accounts,
        all_jobs_of=all_jobs_of,
        gpus_per_node=gpus_per_node,
        slack_ms=slack * 1_000,
        is_shadow=shadow,
    )
    made = write(
        directory_of(ledger, directory),
        settings,
        ledger_id=ledger_id,
        slurm_user=slurm_user,
        slurm_conf=os.environ.get("SLURM_CONF"),
        random_secret=os.urandom(32),
    )
    answer = {"directory": made.directory, "queue": account, "cluster": cluster, "shadow": shadow}
    lists = {"files": list(made.files), "slurm_conf": list(made.slurm_conf)}
    emit({**answer, "delegate": made.spender, **lists}, as_json=True) if as_json else _show(answer, made)


def _show(answer: dict[str, Any], made: Any) -> None:
    emit({**answer, "delegate": made.spender}, as_json=False)
    click.echo(f"\nbeside slurm.conf: {made.files[0]}\nin slurm.conf:")
    for line in made.slurm_conf:
        click.echo(f"    {line}")


@click.command()
@directory_option
@click.option("--key", "key_path", type=INPUT_FILE, callback=key_file, help="Default: in LEDGER/keys.")
@click.option("--once", is_flag=True, help="One turn, and end.")
@click.option("--interval", type=click.IntRange(1, 3_600), default=10, show_default=True, metavar="SECONDS")
@click.option("--shadow", is_flag=True, help="Charge nothing; note what would have been charged.")
@json_option
@click.pass_obj
def run(
    ledger: Path,
    directory: Path | None,
    key_path: Path | None,
    once: bool,
    interval: int,
    shadow: bool,
    as_json: bool,
) -> None:
    """Hold credits for jobs that wait, let them run, and charge what they used.

    A turn may be cut off anywhere: the next one goes on. While Slurm or the ledger is away, jobs wait."""
    from creditledger.redemption.queues.slurm.desk import Doorbell, alone
    from creditledger.redemption.queues.slurm.settings import SlurmSettings

    folder = directory_of(ledger, directory)
    settings = SlurmSettings.load(folder)
    if settings.is_shadow and not shadow:
        raise RefusedError(
            "the queue was installed in shadow",
            expected="--shadow, or another `queue install`",
            found="neither",
        )
    with alone(folder), opened_reconciler(ledger, folder, settings, key_path, shadow=shadow) as reconciler:
        if once:
            emit(_answer(reconciler.turn(), settings, shadow=shadow), as_json=as_json)
            return
        bell = Doorbell(folder)
        try:
            while True:
                _take_turn(reconciler, settings, shadow=shadow, as_json=as_json)
                bell.wait(interval * 1_000)
        except KeyboardInterrupt:
            return


def _take_turn(
    reconciler: "SlurmReconciler", settings: "SlurmSettings", *, shadow: bool, as_json: bool
) -> None:
    try:
        turn = reconciler.turn()
    except BusyError as error:
        note(f"tried again later: {error}")
        return
    if turn.released or turn.settled or turn.problems:
        emit(_answer(turn, settings, shadow=shadow), as_json=as_json)


@contextmanager
def opened_reconciler(
    ledger: Path,
    folder: Path,
    settings: "SlurmSettings",
    key_path: Path | None,
    *,
    shadow: bool,
    watch: "Watcher" = lambda moment, about: None,
) -> "Iterator[SlurmReconciler]":
    """The queue's loop, with keys and policy of the ledger's directory. ``watch``: told each moment."""
    from creditledger.ledger.clock import system_clock
    from creditledger.redemption.ledger_access import LedgerAccess
    from creditledger.redemption.queues.slurm.commands import SlurmCommands
    from creditledger.redemption.queues.slurm.desk import opened_book
    from creditledger.redemption.queues.slurm.gate import Gate
    from creditledger.redemption.queues.slurm.reconciler import SlurmReconciler
    from creditledger.redemption.queues.slurm.shadow import ShadowPayments

    access = LedgerAccess(ledger, cosigners=() if shadow else cosigners_for(ledger))
    with opened_book(folder, settings, is_shadow=shadow) as sales:
        payments: Any = (
            ShadowPayments(access, settings=settings, clock=system_clock)
            if shadow
            else _payments(ledger, folder, settings, key_path, access, sales, watch)
        )
        yield SlurmReconciler(
            slurm=SlurmCommands(),
            sales=sales,
            gate=Gate(folder),
            payments=payments,
            settings=settings,
            clock=system_clock,
            watch=watch,
        )


def _payments(
    ledger: Path,
    folder: Path,
    settings: "SlurmSettings",
    key_path: Path | None,
    access: Any,
    sales: Any,
    watch: "Watcher",
) -> Any:
    from creditledger.ledger.clock import system_clock
    from creditledger.ledger.directory import LedgerDirectory
    from creditledger.ledger.keyring import KeyRole, load_key
    from creditledger.redemption.queues.slurm.installation import SPENDER_KEY
    from creditledger.redemption.queues.slurm.payments import LedgerPayments
    from creditledger.transparency.trust_policy import TrustPolicy

    directory = LedgerDirectory(ledger)
    policy = TrustPolicy.load(directory.policy)
    queue = bytes.fromhex(settings.queue)
    path = key_path or key_in(ledger, queue)
    key = load_key(path, roles=(KeyRole.QUEUE,), ledger_id=policy.ledger_id).ed25519()
    if access.account_of(key.public_key) != queue:
        raise RoleError("key is of another queue", expected=settings.queue, found=key.public_key.hex())
    spender = load_key(folder / SPENDER_KEY, roles=(KeyRole.CLIENT,), ledger_id=policy.ledger_id).ed25519()
    return LedgerPayments(
        access,
        settings=settings,
        policy=policy,
        key=key,
        spender=spender,
        sales=sales,
        clock=system_clock,
        certify=complete,
        observe=lambda step, hold: watch(step, hold.hex()),
    )


def _answer(turn: "Turn", settings: "SlurmSettings", *, shadow: bool) -> dict[str, Any]:
    return {
        "queue": settings.queue,
        "cluster": settings.cluster,
        "shadow": shadow,
        "open": turn.open,
        "waiting": [
            {"job": job.job, "member": job.user, "account": job.account, "reason": job.reason}
            for job in turn.waiting
        ],
        "released": list(turn.released),
        "settled": [
            {
                "job": sale.attempt.job,
                "db_index": sale.db_index,
                "member": sale.user,
                "account": sale.account,
                "ending": sale.ending,
                "gpu_ms": sale.gpu_ms,
                "captured_micro": sale.captured_micro,
                "released_micro": sale.released_micro,
                "refusal": sale.refusal,
            }
            for sale in turn.settled
        ],
        "problems": list(turn.problems),
    }
