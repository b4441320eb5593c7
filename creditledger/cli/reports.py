"""`report checks`: what a calibration or a ledger's validators measured, as a table and a picture.

Source: specs/cli.md §12."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from creditledger.cli.opening import reading
from creditledger.cli.options import INPUT_FILE, OUTPUT_FILE, json_option, key_file, measured_argument
from creditledger.cli.output import emit, emit_rows
from creditledger.cli.output_file import output_file
from creditledger.cli.usage_report import usage
from creditledger.errors import StorageError

if TYPE_CHECKING:
    from creditledger.activations.runners.span_samples import Sample
    from creditledger.ledger.ledger import Ledger
    from creditledger.validation.check_history import MeasuredVerdict, RevealedVerdict

PICTURES: Final = (".png", ".svg")
Write = Callable[[bytes], None]


@click.group()
def report() -> None:
    """Look at what was measured."""


report.add_command(usage)


@report.command("checks")
@measured_argument
@click.option("-o", "--output", type=OUTPUT_FILE, metavar="FILE", help="The picture: .svg or .png.")
@click.option("--samples", type=INPUT_FILE, help="Of a profile. Default: PROFILE.samples.")
@click.option("--journal", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--key", "key_path", type=INPUT_FILE, callback=key_file, help="A validator's: its KEY.journal.")
@json_option
def checks(
    subject: Path,
    output: Path | None,
    samples: Path | None,
    journal: Path | None,
    key_path: Path | None,
    as_json: bool,
) -> None:
    """Show how far honest kernels and cheats lie apart, or what a pool's checks came to.

    Of a PROFILE: the ratios in the samples that `calibrate --samples` wrote. Of a LEDGER: outcomes by node
    and by round; with a validator's journal also the ratios it measured, which nobody else has."""
    if output is not None and output.suffix not in PICTURES:
        raise click.BadParameter("expected a name that ends in .svg or .png", param_hint="-o")
    with _picture(output) as write:
        if subject.is_file():
            answer = _of_profile(
                subject, samples or subject.with_name(f"{subject.name}.samples"), output, write
            )
        else:
            if journal is None and key_path is not None:
                journal = key_path.with_name(f"{key_path.name}.journal")
            answer = _of_ledger(subject, journal, output, write)
    _show(answer | {"file": output}, as_json=as_json)


def _picture(output: Path | None) -> AbstractContextManager[Write | None]:
    """What writes the picture, if one is asked for and can be drawn. Raises StorageError."""
    if output is None:
        return nullcontext()
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise StorageError("a picture takes the package matplotlib: pip install 'creditledger[plots]'")
    return output_file(output)


def _of_profile(path: Path, samples: Path, output: Path | None, write: Write | None) -> dict[str, Any]:
    from creditledger.activations.calibration import read_profile
    from creditledger.activations.runners.separation import kernel_figures
    from creditledger.cli.calibrating import kernel_rows

    profile = read_profile(path)
    measured = _samples(samples, profile)
    if output is not None and write is not None:
        from creditledger.cli.check_pictures import calibration_picture

        title = f"layers {profile.layer_start}:{profile.layer_stop} of model {profile.model.hex()[:12]}"
        write(calibration_picture(measured, title=title, kind=output.suffix[1:]))
    return {
        "profile": profile.digest,
        "model": profile.model,
        "layer_start": profile.layer_start,
        "layer_stop": profile.layer_stop,
        "kernels": kernel_rows(kernel_figures(measured, profile_resolution=profile.resolution_median)),
    }


def _samples(path: Path, profile: Any) -> "list[Sample]":
    from creditledger.activations.runners.span_samples import read_samples

    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            return list(read_samples(lines, profile=profile))
    except FileNotFoundError:
        raise click.UsageError(f"no samples at {path}: write them with `calibrate --samples`") from None


def _of_ledger(path: Path, journal: Path | None, output: Path | None, write: Write | None) -> dict[str, Any]:
    from creditledger.validation.check_history import revealed_verdicts

    with reading(path) as ledger:
        names = _node_names(ledger)
        revealed = list(revealed_verdicts(ledger))
        measured = _measured(ledger, journal)
        answer: dict[str, Any] = {
            "ledger": ledger.id,
            "nodes": _node_rows(ledger),
            "rounds": _round_rows(revealed),
            "ratios": [_ratio_row(verdict, names) for verdict in measured],
        }
    if output is not None and write is not None:
        from creditledger.cli.check_pictures import ledger_picture

        nodes, rounds, ratios = (answer[name] for name in ("nodes", "rounds", "ratios"))
        write(ledger_picture(nodes, rounds, ratios, kind=output.suffix[1:]))
    return answer


def _measured(ledger: "Ledger", journal: Path | None) -> "list[MeasuredVerdict]":
    from creditledger.validation.check_history import measured_verdicts
    from creditledger.validation.journal import read_verdicts

    if journal is None:
        return []
    with ledger.read() as state:
        return list(measured_verdicts(state, read_verdicts(journal, ledger_id=ledger.id)))


def _node_names(ledger: "Ledger") -> dict[bytes, str]:
    from creditledger.validation.standing import all_standings

    with ledger.read() as state:
        return {standing.node: standing.name for standing in all_standings(state)}


def _node_rows(ledger: "Ledger") -> list[dict[str, Any]]:
    from creditledger.validation.standing import all_standings

    with ledger.read() as state:
        return [
            {
                "name": standing.name,
                "node": standing.node,
                "checks": standing.checks,
                "upheld": standing.upheld,
                "refuted": standing.refuted,
                "inconclusive": standing.inconclusive,
                "rate_ppm": standing.rate_ppm,
                "alarmed": standing.is_alarmed,
                "suspended": standing.is_suspended,
            }
            for standing in all_standings(state)
        ]


def _round_rows(revealed: "Sequence[RevealedVerdict]") -> list[dict[str, Any]]:
    from creditledger.records.verdict import Outcome

    return [
        {"round": number}
        | {
            outcome.name.lower(): sum(v.round == number and v.outcome is outcome for v in revealed)
            for outcome in (Outcome.UPHELD, Outcome.REFUTED, Outcome.INCONCLUSIVE)
        }
        for number in sorted({verdict.round for verdict in revealed})
    ]


def _ratio_row(verdict: "MeasuredVerdict", names: dict[bytes, str]) -> dict[str, Any]:
    from creditledger.cli.calibrating import rounded

    about = verdict.revealed
    return {
        "round": about.round,
        "name": names.get(about.node, about.node.hex()),
        "receipt": about.receipt,
        "outcome": about.outcome.name.lower(),
        "reason": about.reason.name.lower(),
        "ratio": rounded(verdict.ratio),
        "threshold": rounded(verdict.threshold),
        "tail": rounded(verdict.tail),
    }


def _show(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit(answer, as_json=True)
        return
    from creditledger.cli.calibrating import show_kernels

    if "kernels" in answer:
        show_kernels(answer["kernels"])
    else:
        nodes = [{name: row[name] for name in row if name != "node"} for row in answer["nodes"]]
        emit_rows(nodes, as_json=False, title="Checks by node")
        emit_rows(answer["rounds"], as_json=False, title="Verdicts by round")
        ratios = [{name: row[name] for name in row if name != "receipt"} for row in answer["ratios"]]
        if ratios:
            emit_rows(ratios, as_json=False, title="Measured by this validator")
    if answer["file"] is not None:
        emit({"file": answer["file"]}, as_json=False)
