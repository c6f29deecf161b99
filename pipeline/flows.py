"""The study as a Prefect flow: DVC's stages side by side, seen in Prefect's UI.

Prefect goes around DVC and caches nothing: each task is one `dvc repro --single-item`, DVC alone decides what runs,
and dvc.lock ends up as plain `dvc repro` leaves it. Nothing here may hold a lock at module level (see `procs`).
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from queue import Empty, SimpleQueue
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from pipeline.drivers import procs
from pipeline.drivers.devices import several
from pipeline.drivers.schedule import Schedule, Slots, Verdict
from pipeline.graph import dag
from pipeline.graph.dag import ReproduceError
from pipeline.graph.steady import Watched

# Prefect reads these on import. Its own default of 20 s is missed by a slow laptop that starts its first server.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
# A temporary server that is stopped in the middle of its bookkeeping says so in a hundred lines.
os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")

from prefect import allow_failure, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Cancelled, Completed, Failed

from pipeline.drivers import publish

# As stages and DVC begin their own.
_ERRORS = ("error:", "ERROR:")

publish.without_tracebacks_of(ReproduceError)


class Outcome(NamedTuple):
    """How a stage ended, and after how long."""

    state: State[Any]
    seconds: float


class Run(NamedTuple):
    """A stage under way: since when, and with which environment on top of ours."""

    future: PrefectFuture[Any]
    environment: dict[str, str]
    start: float


def _may_help(_task: object, _run: object, state: State[Any]) -> bool:
    return state.name != "Refused"


# No tags: for each Prefect asks its server for a slot, which often costs 2 s on SQLite (503, retried).
@task(
    name="stage",
    task_run_name="{stage}",
    retries=1,  # a failed stage goes on from its own checkpoint
    retry_delay_seconds=3,
    retry_condition_fn=_may_help,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def run_stage(stage: str, environment: dict[str, str], children: procs.Children) -> State:
    """Let DVC bring one stage up to date, and log what it says."""
    log = get_run_logger()
    said: deque[str] = deque(maxlen=20)

    def hear(line: str) -> None:
        said.append(line)
        if not dag.is_advice(line):
            log.log(logging.ERROR if line.startswith(_ERRORS) else logging.INFO, "%s", line)

    status = children.run([*dag.DVC, "--wait-for-lock", "repro", "--single-item", stage], environment, hear)
    if children.closed:
        return Cancelled(message="the driver stopped")
    refusal = next((line.removeprefix("error: ") for line in said if line.startswith("error: ")), None)
    if status and refusal:
        return Failed(name="Refused", message=refusal)  # it would be said again
    if status:
        return Failed(message=f"exit status {status}: {' | '.join(list(said)[-3:])}")
    return Completed(name=dag.verdict(stage, said))


@task(name="stage", task_run_name="{stage}", cache_policy=NO_CACHE, persist_result=False)
def settle_stage(stage: str, blame: frozenset[str]) -> State:  # noqa: ARG001 - names the run
    """Show a stage that is not run: nothing changed for it, or a stage it needs failed."""
    if blame:
        return Cancelled(name="Skipped", message=f"not run, because of {', '.join(sorted(blame))}")
    return Completed(name="Unchanged")


@flow(name="reproduce", flow_run_name=publish.run_name, persist_result=False)
def reproduce(
    jobs: Annotated[int, Field(ge=1)] = 1, targets: list[str] | None = None, devices: list[str] | None = None
) -> None:
    """Bring the study up to date, as `dvc repro` does, with independent stages side by side.

    Args:
        jobs: Stages at a time.
        targets: Stages or groups of stages (`distill`) to bring up to date, with all they need; default everything.
        devices: Values of CUDA_VISIBLE_DEVICES, each lent to one GPU stage at a time; default: those that the variable
            names, and where it is unset all GPUs, if there are several.

    Raises:
        ReproduceError: A stage failed, another run is active, or params.yaml was edited meanwhile.
    """
    slots = Slots(jobs, list(devices) if devices else several(), set())
    outcomes: dict[str, Outcome] = {}
    try:
        with procs.only_driver(), closing(procs.Children()) as children:
            _bring_up_to_date(slots, targets, children, outcomes)
    except Exception:  # not when it is told to stop: the temporary server stops too, and would be waited for
        _publish(outcomes)
        raise
    _publish(outcomes)
    if "report" in outcomes:  # or what lies there is that of an earlier run
        publish.publish_report()


def _publish(outcomes: dict[str, Outcome]) -> None:
    if outcomes:
        publish.publish_stages({stage: (str(end.state.name), end.seconds) for stage, end in outcomes.items()})


def serve() -> None:
    """Offer `reproduce` to the Run button of Prefect's UI, one run at a time, until interrupted."""
    reproduce.serve(name="local", limit=1)


def _bring_up_to_date(
    slots: Slots, targets: list[str] | None, children: procs.Children, outcomes: dict[str, Outcome]
) -> None:
    """Do the work of `reproduce`; note how every stage ended, as it ends."""
    study = Watched()
    parents, dirty = dag.survey()
    dag.select(parents, targets)  # a name that there is not is said before anything runs
    if dag.CHECK in dirty:
        schedule = Schedule({dag.CHECK: set()}, dirty)
        _walk(schedule, slots, children, study, outcomes)
        if schedule.of(Verdict.FAILED):
            why = outcomes[dag.CHECK].state.message
            raise ReproduceError(f"failed: {dag.CHECK} ({why}); nothing else was run")
        # Asked again, because only now DVC can see which stages the new blueprint concerns.
        parents, dirty = dag.survey()
    # `check` is not above anyone then: what it changed, DVC has said.
    chosen = dag.select(parents, targets)
    left = {stage: above - {*outcomes} for stage, above in chosen.items() if stage not in outcomes}
    schedule = Schedule(left, dirty)
    slots.on_gpu = dag.on_gpu(left)
    _walk(schedule, slots, children, study, outcomes)
    if failed := schedule.of(Verdict.FAILED):
        skipped = ", ".join(schedule.of(Verdict.SKIPPED)) or "nothing"
        raise ReproduceError(f"failed: {', '.join(failed)}; not run because of that: {skipped}")


def _walk(
    schedule: Schedule, slots: Slots, children: procs.Children, study: Watched, outcomes: dict[str, Outcome]
) -> None:
    """Take every stage to its outcome, and note it. Prefect is handed only stages whose parents are done."""
    running: dict[str, Run] = {}
    done: SimpleQueue[str] = SimpleQueue()
    while schedule.is_active():
        settled = False
        for stage in schedule.ready():
            above = [outcomes[name].state for name in schedule.blame(stage) or schedule.parents[stage]]
            if fate := schedule.fate(stage):
                outcomes[stage] = _settle(stage, schedule.blame(stage), above)
                schedule.end(stage, fate)
                settled = True
            elif (environment := slots.claim(stage)) is not None:
                future = run_stage.submit(stage, environment, children, wait_for=above, return_state=False)
                running[stage] = Run(future, environment, time.monotonic())
                schedule.begin(stage)
                future.add_done_callback(_teller(done, stage))
        if not settled:
            stage = _next(done, study)
            run = running.pop(stage)
            slots.release(run.environment)
            outcomes[stage] = _outcome(run)
            schedule.end(stage, _verdict(outcomes[stage].state))


def _settle(stage: str, blame: frozenset[str], above: list[State[Any]]) -> Outcome:
    links = [allow_failure(state) for state in above if state.is_completed() or state.is_failed()]
    return Outcome(settle_stage(stage, blame, wait_for=links, return_state=True), 0.0)


def _teller(done: "SimpleQueue[str]", stage: str) -> Callable[[PrefectFuture[Any]], None]:
    return lambda _: done.put(stage)


def _next(done: "SimpleQueue[str]", study: Watched) -> str:
    """Wait for a stage to end, watching that nobody edits the study: DVC would file results under the new values."""
    while True:
        if study.is_another():
            raise ReproduceError("params.yaml or dvc.yaml changed during the run: all stages stopped, start again")
        with suppress(Empty):
            return done.get(timeout=1)


def _outcome(run: Run) -> Outcome:
    run.future.wait()  # brings the state along; without it Prefect asks its server, which lags behind
    return Outcome(run.future.state, time.monotonic() - run.start)


def _verdict(state: State[Any]) -> Verdict:
    if not state.is_completed():
        return Verdict.FAILED
    return Verdict.UNCHANGED if state.name == "Unchanged" else Verdict.DONE
