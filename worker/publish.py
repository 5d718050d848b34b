"""Publishing a result: its parts go up under names of this claim; the terminal manifest that follows names them."""

from collections.abc import Mapping

from worker.contract import names
from worker.contract.base import sha256_hex
from worker.contract.manifest import BlobRef, Manifest, Outcome
from worker.contract.records import BlobStore
from worker.contract.result import CURVE, EPISODES, MODEL, POLICY, RESULT, PeriodicEvaluation, Result
from worker.training_run import FinishedRun


def result_of(manifest: Manifest, finished: FinishedRun, fingerprint: Mapping[str, str]) -> Result:
    """Return what is known of a finished run; the same for a run of the fleet and of this process alone."""
    return Result.of(
        manifest,
        step=finished.step,
        episodes=finished.episodes,
        updates=finished.updates,
        returns=finished.evaluation.returns,
        lengths=finished.evaluation.lengths,
        evaluations=[
            PeriodicEvaluation(step=row.step, returns=row.returns, lengths=row.lengths)
            for row in finished.curve.evaluations
        ],
        fingerprint=fingerprint,
        state_digest=finished.state_digest,
    )


def parts_of(result: Result, finished: FinishedRun) -> dict[str, bytes]:
    """Return the files of a result, by name."""
    return {
        RESULT: result.canonical(),
        CURVE: finished.curve.to_csv().encode(),
        MODEL: finished.model_zip,
        POLICY: finished.policy,
        EPISODES: finished.episode_log,
    }


def publish(blobs: BlobStore, manifest: Manifest, finished: FinishedRun, fingerprint: Mapping[str, str]) -> Outcome:
    """Upload the parts of a result and return what the terminal manifest names. Raises StorageError."""
    references = {
        what: _put(blobs, names.result(manifest.job.sweep, manifest.job.id, manifest.nonce, what), body)
        for what, body in parts_of(result_of(manifest, finished, fingerprint), finished).items()
    }
    return Outcome(
        result=references[RESULT],
        curve=references[CURVE],
        model=references[MODEL],
        policy=references[POLICY],
        episodes=references[EPISODES],
        score=finished.summary,
    )


def _put(blobs: BlobStore, name: str, body: bytes) -> BlobRef:
    blobs.put(names.SWEEPS, name, body)
    return BlobRef(name=name, length=len(body), sha256=sha256_hex(body))
