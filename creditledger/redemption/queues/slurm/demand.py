"""What a job asks to be sold: so many GPUs of one class for so long. Source: specs/redemption.md §10."""

from dataclasses import dataclass
from typing import Final

from creditledger.redemption.queues.slurm.job import SlurmJob
from creditledger.redemption.queues.slurm.settings import SlurmSettings
from creditledger.redemption.queues.slurm.tres import gpus_by_type, processors

MINUTE_MS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """The fields of a quote that follow from a job."""

    hardware: str
    gpus: int
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Unsold:
    """Why there is no price for what a job asks for: its member can change that."""

    reason: str


def demand_of(job: SlurmJob, settings: SlurmSettings) -> Demand | Unsold:
    """GPUs and their class from the job's resources, time from its limit and the slack."""
    if job.is_heterogeneous:
        return Unsold("heterogeneous jobs have no price here")
    if job.limit_minutes is None or job.limit_minutes < 1:
        return Unsold("give it a time limit: --time")
    duration_ms = job.limit_minutes * MINUTE_MS + settings.slack_ms
    types = gpus_by_type(job.tres)
    if not types:
        return _of_processors(job, settings, duration_ms)
    classes = {settings.class_of(kind) for kind in types}
    if None in classes:
        return Unsold("say which type of GPU: --gres=gpu:TYPE:COUNT")
    if len(classes) > 1:
        return Unsold("ask for GPUs of one class")
    (hardware,) = classes
    gpus = sum(types.values())
    if job.is_exclusive:
        if settings.gpus_per_node is None:
            return Unsold("whole nodes have no price here: leave out --exclusive")
        gpus = max(gpus, settings.gpus_per_node * job.nodes)
    return Demand(hardware=str(hardware), gpus=gpus, duration_ms=duration_ms)


def _of_processors(job: SlurmJob, settings: SlurmSettings, duration_ms: int) -> Demand | Unsold:
    count = processors(job.tres)
    if settings.processors is None or not count:
        return Unsold("processors have no price here")
    return Demand(hardware=settings.processors, gpus=count, duration_ms=duration_ms)
