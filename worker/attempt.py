"""One claim's training: restore or initialise, train, commit at boundaries, stop when asked."""

from worker import decisions
from worker.budget import watch_budget
from worker.checkpoint import CheckpointStore
from worker.committer import Committer
from worker.contract.control import hold_on
from worker.contract.errors import CheckpointCorrupt
from worker.contract.log import Logger
from worker.contract.manifest import Generation
from worker.fence import Fence
from worker.slot import Slot
from worker.snapshot.fingerprint import differences
from worker.stop import Reason, Stopped, StopRequest
from worker.training_run import FinishedRun, TrainingRun


class Attempt:
    """What a claim does with its job. It writes commits; how the claim ends is decided by whoever called `train`."""

    def __init__(self, slot: Slot, claim: Fence, log: Logger) -> None:
        self._slot, self._claim, self._log = slot, claim, log
        self._job = claim.job
        self._store = CheckpointStore(slot.blobs, claim)
        self._claimed_s = slot.runtime.monotonic()
        self._run: TrainingRun | None = None
        self._has_stepped = False
        self._training_since: tuple[float, int] = (self._claimed_s, 0)
        self.stop = StopRequest(slot.runtime, parent=slot.stop)
        """Asked by the slot (eviction, signal, drain) or about this job only (ownership lost, held, storage)."""

    def train(self) -> FinishedRun:
        """Train to the end.

        Raises:
            Stopped: somebody asked for it; what could be saved is committed.
            OwnershipLost, StorageError, Diverged, BadConfiguration, or whatever training raises.
        """
        run, base = self._restored()
        self._run = run
        self._training_since = (self._slot.runtime.monotonic(), run.step)
        committer = self._committer(base)
        try:
            finished = run.train(lambda at: self._at_boundary(at, committer), self._slot.liveness.beat)
        finally:
            committer.close()
        committer.raise_its_error()
        committer.tell(finished.curve)
        return finished

    def collect_checkpoint(self) -> None:
        """Delete the job's checkpoint: it is done. Raises StorageError."""
        self._store.collect_all()

    def progress(self) -> decisions.Progress:
        """Say how far training is. Called from any thread: reads single values only."""
        run, manifest, now_s = self._run, self._claim.manifest, self._slot.runtime.monotonic()
        if run is None:
            return decisions.Progress(manifest.step, now_s - self._claimed_s, 0.0, None, manifest.evaluation)
        since_s, from_step = self._training_since
        return decisions.Progress(
            reached=run.step,
            seconds=now_s - self._claimed_s,
            steps_per_second=(run.step - from_step) / max(now_s - since_s, 1e-9),
            latest_return=run.latest_return,
            evaluation=run.partial_evaluation,
        )

    # ---- restore or initialise -------------------------------------------------------------------------------------

    def _restored(self) -> tuple[TrainingRun, Generation | None]:
        """Return a run of the newest generation that is whole, and that generation; a new run where none is."""
        generations = self._claim.manifest.generations
        exact = not generations or self._is_exact()
        for generation in generations:
            run = self._slot.trainers.build(self._job)
            try:
                self._restore(run, generation, exact=exact)
            except CheckpointCorrupt as error:
                self._log.error("checkpoint.corrupt", step=generation.step, error=str(error), next="the one before it")
            else:
                self._log.info("job.resumed", step=run.step, exact=exact)
                return run, generation
        if generations:
            self._log.error("checkpoint.lost", generations=len(generations), next="starts again at step 0")
        return self._slot.trainers.build(self._job), None

    def _restore(self, run: TrainingRun, generation: Generation, *, exact: bool) -> None:
        beat = self._slot.liveness.beat
        state = self._store.load_state(generation, beat)
        partial = self._claim.manifest.evaluation
        if partial is not None and partial.step != state.step:
            partial = None
        run.restore(state, self._store.load_rows(generation, beat), partial, beat, exact=exact)

    def _is_exact(self) -> bool:
        """Return whether this machine computes as the one before it did; where not, say so in the manifest."""
        differs = differences(self._claim.manifest.fingerprint, self._slot.trainers.fingerprint)
        if not differs:
            return True
        self._log.warning("resume.inexact", differs=differs)
        self._claim.write(decisions.inexact)
        return False

    # ---- commit and stop -------------------------------------------------------------------------------------------

    def _committer(self, base: Generation | None) -> Committer:
        return Committer(
            self._store,
            self._claim,
            self.stop,
            self._slot.runtime,
            self._log,
            base=base,
            commit_s=self._slot.durations.commit_s,
            progress=self.progress,
            fingerprint=self._slot.trainers.fingerprint,
            after_commit=self._after_commit,
        )

    def _at_boundary(self, run: TrainingRun, committer: Committer) -> None:
        """Commit when it is time, stop when it is asked. Called at every rollout start and evaluation step."""
        if not self._has_stepped and run.step > self._training_since[1]:
            self._has_stepped = True
            self._slot.signs.trains()
        reason = self.stop.reason
        if reason is not None:
            committer.raise_its_error()
            if reason in decisions.IN_ORDER:
                self._commit_before_the_deadline(run, committer, reason)
            raise Stopped(reason)
        if committer.due():
            committer.commit(run.capture(committer.rows_from()))

    def _commit_before_the_deadline(self, run: TrainingRun, committer: Committer, reason: Reason) -> None:
        def left_s() -> float:
            return self._slot.durations.stop_deadline_s - self.stop.since_s()

        settled = committer.settle(left_s())
        if not settled or not committer.commit_before(run.capture(committer.rows_from()), left_s):
            self._log.warning("stop.without_commit", reason=reason, next="the last commit stands")

    def _after_commit(self) -> None:
        self._slot.signs.committed()
        self._slot.control.committed(self._slot.name)
        self._slot.book.publish(self._slot.blobs, self._claim.manifest)
        watch_budget(self._slot, self._job.sweep)
        if hold_on(self._slot.blobs, self._job.sweep, self._job.id) is not None:
            self.stop.ask("held")
