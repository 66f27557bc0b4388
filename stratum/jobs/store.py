"""Keep the active job, the past ones that are still paid, and stale ones that may still make a block."""

from coins.bitcoin.template import Template
from stratum.jobs.job import Job, JobRules

PAST_JOBS_MAX = 32
"""Jobs of the same tip that stay valid (S5 asks for 8)."""
STALE_JOBS_MAX = 16
"""Jobs of older tips: their shares are refused, but a block among them is still submitted (S8)."""


class JobStore:
    """The jobs of one process.

    Attributes:
        active: The newest job; None before the first template.
        by_id: Every job that is remembered, by its wire id.
    """

    def __init__(self, rules: JobRules) -> None:
        self._rules = rules
        self._serial = 0
        self._valid: list[Job] = []
        self._stale: list[Job] = []
        self.active: Job | None = None
        self.by_id: dict[str, Job] = {}

    def add(self, template: Template) -> tuple[Job, bool]:
        """Make a template the active job.

        Returns:
            The job, and whether it is on a new tip: then all older jobs are stale from now on.
        """
        last = self.active
        is_new_tip = last is None or last.template.prev_hash != template.prev_hash
        job = self._make(template, branch=None)
        if is_new_tip:
            self._retire()
        self._activate(job)
        return job, is_new_tip

    def reissue(self) -> Job | None:
        """Make another job of the active template, with search space of its own; None before the first template."""
        if self.active is None:
            return None
        job = self._make(self.active.template, branch=self.active.branch)
        self._activate(job)
        return job

    def _make(self, template: Template, *, branch: tuple[bytes, ...] | None) -> Job:
        self._serial += 1
        return Job(serial=self._serial, template=template, rules=self._rules, branch=branch)

    def _activate(self, job: Job) -> None:
        self.active = job
        self.by_id[job.job_id] = job
        self._valid.append(job)
        while len(self._valid) > PAST_JOBS_MAX + 1:
            self._forget(self._valid.pop(0))

    def _retire(self) -> None:
        for job in self._valid:
            job.is_stale = True
        self._stale.extend(self._valid)
        self._valid.clear()
        while len(self._stale) > STALE_JOBS_MAX:
            self._forget(self._stale.pop(0))

    def _forget(self, job: Job) -> None:
        del self.by_id[job.job_id]
