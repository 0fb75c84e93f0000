"""The durable queue: DBOS on SQLite (one machine) or PostgreSQL (many), behind the `JobQueue` port.

Guards against what DBOS does otherwise:

- Its default application version is a hash of the code, and jobs of another version are left
  stranded; the version is pinned to the workflow's shape, and jobs of another shape start anew.
- Two live processes with one executor id run a job twice; ids come from `executor.py`.
- Jobs of a dead machine wait for ever without the vendor's service; see `recovery.py`.
- It starts no server and calls no vendor: no conductor key, no telemetry.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from threading import BoundedSemaphore, Event
from typing import Any

import structlog
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID, WorkflowStatus

from service.errors import StorageUnavailable
from service.jobs.port import CaseSteps, JobCounts, job_id
from service.jobs.retry import RetryPolicy
from service.jobs.workflow import WORKFLOW_SHAPE, CaseWorkflow

_NAME = "csf24"
# Two queues, so that cases waiting for a PACS that is down do not keep others from being converted.
_CONVERSIONS = "csf24-conversions"
_DELIVERIES = "csf24-deliveries"
_QUEUE_OF = {"convert_case": _CONVERSIONS, "deliver_case": _DELIVERIES}
_WAITING = ("ENQUEUED", "DELAYED")
_RUNNING = "PENDING"
_log = structlog.get_logger()


class DbosQueue:
    """A worker and its view of the shared queue. DBOS allows one per process.

    Parameters
    ----------
    database_url
        ``sqlite:////path/queue.sqlite`` or ``postgresql://...``; not on a network file system.
    executor_id
        Stable over restarts of this worker and unique among live ones.
    conversions, deliveries
        Jobs of each kind that this worker runs at once. With several workers, the figures of the last to start say
        how many each of them takes.
    """

    def __init__(
        self,
        steps: CaseSteps,
        *,
        database_url: str,
        executor_id: str,
        policy: RetryPolicy | None = None,
        conversions: int = 1,
        deliveries: int = 8,
        poll_interval_s: float = 0.5,
    ) -> None:
        self._stopping = Event()
        self._workflow = CaseWorkflow(steps=steps, policy=policy or RetryPolicy(), stopping=self._stopping)
        self._executor_id = executor_id
        self._slots = {_CONVERSIONS: conversions, _DELIVERIES: deliveries}
        # DBOS keeps one figure for all workers of a queue, the last one's; this one bears no more than its own.
        self._converting = BoundedSemaphore(conversions)
        self._poll_interval_s = poll_interval_s
        self._config = DBOSConfig(
            name=_NAME,
            system_database_url=database_url,
            application_version=WORKFLOW_SHAPE,
            executor_id=executor_id,
            enable_otlp=False,
            log_level="WARNING",
            serializer=DBOSPortableJSONSerializer(),  # readable rows, and no pickle is ever loaded
        )
        self._convert: Callable[[str, int], str] | None = None

    def start(self) -> None:
        """Connect and work; DBOS first takes up what this executor id left running."""
        self._stopping.clear()
        _route_log()
        DBOS(config=self._config)
        self._register_workflows()
        DBOS.launch()
        for name, slots in self._slots.items():
            DBOS.register_queue(
                name,
                worker_concurrency=slots,
                polling_interval_sec=self._poll_interval_s,
                on_conflict="always_update",
            )

    def _register_workflows(self) -> None:
        workflow = self._workflow

        def deliver_case(case_id: str, revision: int, destinations: list[str]) -> str:
            workflow.deliver_case(_recorded, case_id, revision, destinations)
            return "ended"

        def convert_case(case_id: str, revision: int) -> str:
            with self._converting:
                destinations = workflow.convert_case(_recorded, case_id, revision)
            if destinations is None:
                return "ended"
            with SetWorkflowID(_delivery_id(case_id, revision)):
                DBOS.enqueue_workflow(_DELIVERIES, deliver, case_id, revision, list(destinations))
            return "converted"

        # No limit on recoveries: crashes are counted in the ledger, where people see them.
        deliver = DBOS.workflow(name="deliver_case", max_recovery_attempts=None)(deliver_case)
        self._convert = DBOS.workflow(name="convert_case", max_recovery_attempts=None)(convert_case)

    def submit(self, case_id: str, revision: int) -> None:
        """Enqueue the job unless it is waiting or running.

        A job that the queue believes ended is started anew: the caller has it from the ledger
        that the case is unfinished, and the ledger is the record.
        """
        if self._convert is None:
            raise RuntimeError("submit() before start()")
        ids = [job_id(case_id, revision), _delivery_id(case_id, revision)]
        rows = DBOS.list_workflows(workflow_ids=ids, load_input=False, load_output=False)
        if any(self._will_run(row) for row in rows):
            return
        if rows:
            DBOS.delete_workflows([row.workflow_id for row in rows])
        with SetWorkflowID(ids[0]):
            DBOS.enqueue_workflow(_CONVERSIONS, self._convert, case_id, revision)

    def _will_run(self, row: WorkflowStatus) -> bool:
        if row.app_version == WORKFLOW_SHAPE:
            return row.status in (*_WAITING, _RUNNING)
        # Of another shape: another worker that has not been updated yet may be running it.
        return bool(row.status == _RUNNING and row.executor_id != self._executor_id)

    def resume_orphans(self, dead_executors: Collection[str]) -> int:
        """Put the jobs that these workers were running back into the queue.

        Call this only for workers claimed through the ledger, so that one sweeper does it.
        """
        others = [executor_id for executor_id in dead_executors if executor_id != self._executor_id]
        if not others:
            return 0
        rows = DBOS.list_workflows(status=_RUNNING, executor_id=others, load_input=False, load_output=False)
        for row in rows:
            if row.app_version == WORKFLOW_SHAPE:
                DBOS.resume_workflow(row.workflow_id, queue_name=_QUEUE_OF[row.name])
            else:
                DBOS.delete_workflow(row.workflow_id)
                self.submit(*_parse(row.workflow_id))
        if rows:
            _log.warning("took over jobs of dead workers", jobs=len(rows), executors=sorted(others))
        return len(rows)

    def states(self) -> JobCounts:
        """Jobs of all workers together.

        Raises
        ------
        StorageUnavailable
            The queue's database does not answer.
        """
        try:
            rows = DBOS.list_workflows(status=[*_WAITING, _RUNNING], load_input=False, load_output=False)
        except Exception as fault:
            raise StorageUnavailable(f"the queue's database does not answer ({type(fault).__name__})") from fault
        running = sum(row.status == _RUNNING for row in rows)
        return JobCounts(waiting=len(rows) - running, running=running)

    def stop(self, timeout_s: float) -> None:
        """Stop; steps that do not end within `timeout_s` run again at the next start."""
        if self._convert is None:
            return
        self._stopping.set()
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=int(timeout_s))
        self._convert = None


def _recorded(name: str, step: Callable[[], dict[str, Any]], /) -> dict[str, Any]:
    result: dict[str, Any] = DBOS.run_step({"name": name}, step)
    return result


def _delivery_id(case_id: str, revision: int) -> str:
    return f"{job_id(case_id, revision)}-deliver"


def _parse(workflow_id: str) -> tuple[str, int]:
    """Case id and revision of a workflow id."""
    case_id, _, revision = workflow_id.removesuffix("-deliver").rpartition("-r")
    return case_id, int(revision)


class _ToStructlog(logging.Handler):
    """Hands DBOS's records to the service's log; DBOS only knows ids, so they hold no patient data."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the message under its own level."""
        _log.log(record.levelno, "dbos", message=record.getMessage())


def _route_log() -> None:
    logger = logging.getLogger("dbos")
    # DBOS adds its console handler only to a logger that has none.
    if not any(isinstance(handler, _ToStructlog) for handler in logger.handlers):
        logger.handlers[:] = [_ToStructlog()]
    logger.propagate = False
