"""A cluster of Ray's, whose actors write into the store.

Ray Data hands out what is missing, in shares, to a pool of actors: one for each GPU, or for a few
cores. Each of them runs the same extraction as any process and writes its own shards, so that
nothing but the store has to hold rows. Of lost workers and nodes Ray repeats the shares; what was
written before is there, and only the rest is computed. What is missing afterwards is handed out
again a few times, in smaller shares.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import importlib.util
import logging
import os
import pickle
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.extract.decoding import Decoded, warn_of_size
from transferkit.extract.job import ExtractionJob, progress_bar
from transferkit.extract.runners._runner import Runner
from transferkit.extract.runners._share import ShareOfImages, share_of
from transferkit.forward import Forward, device_names
from transferkit.images import ImagePart
from transferkit.images.items import file_of
from transferkit.spec import FeatureSpec
from transferkit.store import FeatureStore

__all__ = ["RayRunner", "ShareWorker", "open_runner"]

logger = logging.getLogger(__name__)

# How often what is missing is handed out.
_ROUNDS = 3
# How often Ray repeats a share whose worker or node was lost.
_RETRIES = 3
# Cores of an actor without a GPU, where the nodes have so many.
_CORES = 4
# With fewer decoders a GPU waits, and with more a node has cores for others.
_CORES_BESIDE_GPU = 16
# A share is no larger, so that the last ones end at about the same time.
_MOST_IMAGES = 2048
_MOST_BYTES = 1 << 28
# Fewer files are digested sooner than Ray's workers have started.
_FEW_FILES = 4096
# Seconds until a network file system lists what others have written.
_WAITS = (1, 4, 15, 40)
_SHOWN = 20


def open_runner(address: str, device: str) -> RayRunner:
    """Return the runner for the cluster at an address of Ray's; see `extract`."""
    return RayRunner(address, device)


@dataclass(frozen=True)
class _ActorPool:
    """How many actors there are, and what each of them takes."""

    n_actors: int
    n_cpus: int
    n_gpus: int


@dataclass(frozen=True)
class _Answer:
    """What an actor tells about a share. Its rows are in the store."""

    number: int
    unusable: dict[bytes, str]
    changed: list[tuple[int, bytes, str]]  # position in the share, new id or none, reason
    seconds: dict[str, float]
    provenance: dict[str, str] | None
    is_bf16_quicker: bool
    sizes: list[tuple[int, int]]
    warnings: list[tuple[int, str]]
    error: tuple[bool, str] | None  # whether it is a ValueError


class RayRunner(Runner):
    """A cluster of Ray's: one that this process is connected to, one at an address, or a new one.

    Parameters
    ----------
    address : str
        Ray's own; empty for the one that Ray finds, or starts on this machine.
    device : {"auto", "cpu", "cuda"}
        ``"auto"`` is the GPUs, if the cluster has any.

    Raises
    ------
    ValueError
        If the device names a certain GPU, the address is of Ray's client, or Ray isn't installed.
    """

    def __init__(self, address: str, device: str) -> None:
        if device_names(device)[0] not in ("auto", "cpu", "cuda") or "," in device:
            raise ValueError(
                f"device is {device!r}, and which GPU of a cluster is used, Ray chooses; give "
                f"'auto', 'cpu' or 'cuda'"
            )
        if "://" in address:
            raise ValueError(
                f"Ray's address is {address!r}, and Ray Data doesn't run through Ray's client; run "
                f"on a machine of the cluster with ray:auto or ray:HOST:6379 (from elsewhere: ray "
                f"job submit -- transferkit extract … --on ray)"
            )
        for library in ("ray", "pandas", "pyarrow"):  # the others are those of ray[data]
            if importlib.util.find_spec(library) is None:
                raise ValueError(
                    f"extracting on Ray needs {library}, which isn't installed; run pip install "
                    f"'transferkit[ray]'"
                )
        self.address, self.device = address, device
        self._is_ours = False

    def connect(self) -> _ActorPool:
        """Connect to the cluster, unless that is done, and tell what it has for us."""
        import ray

        if not ray.is_initialized():
            self._connect()
        elif not self._is_ours and self.address not in ("", "auto", here := _address()):
            raise ValueError(
                f"this process is connected to the Ray cluster at {here}, not at "
                f"{self.address}; say on='ray', or call ray.shutdown() before"
            )
        return _pool_for(self.device)

    def _connect(self) -> None:
        import ray

        try:
            ray.init(
                self.address or None,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, TimeoutError, RuntimeError) as error:
            raise RuntimeError(
                f"no Ray cluster answers at {self.address or 'any address that Ray knows'} "
                f"({' '.join(str(error).split())[:200]}); start one with 'ray start --head', and "
                f"give its address: --on ray:HOST:6379 (on='ray:HOST:6379')"
            ) from error
        self._is_ours = True

    def close(self) -> None:
        """Leave the cluster, unless this process was connected to it before."""
        if self._is_ours:
            import ray

            ray.shutdown()
            self._is_ours = False

    def check_store(self, store: FeatureStore | None) -> None:
        """Raise a ValueError if other machines can't see a store."""
        if store is not None and store.place.is_shared:
            return
        given = (
            "no store was given" if store is None else f"the store is {str(store.path)!r}, memory"
        )
        raise ValueError(
            f"{given}, and on Ray other processes write into it; give a folder that every node "
            f"sees, or a URL of object storage (store=…, --store …)"
        )

    def hash_files(self, stamps: Mapping[str, str]) -> list[tuple[bytes | OSError, bool]]:
        """Digest files, on all nodes if there are many."""
        if len(stamps) < _FEW_FILES:
            return super().hash_files(stamps)
        self.connect()
        items = list(stamps.items())
        chunks = [items[at : at + _FEW_FILES // 4] for at in range(0, len(items), _FEW_FILES // 4)]
        found: dict[int, list[tuple[bytes | OSError, bool]]] = {}
        for number, hashed in _answers([(n, dict(c)) for n, c in enumerate(chunks)], _hasher()):
            found[number] = hashed
        together: list[tuple[bytes | OSError, bool]] = []
        for number, chunk in enumerate(chunks):
            together += found.get(number) or super().hash_files(dict(chunk))
        # What a node can't read, this process may, and it has the last word.
        lost = [i for i, (digest, _) in enumerate(together) if isinstance(digest, OSError)]
        again = super().hash_files(dict(items[i] for i in lost))
        for i, one in zip(lost, again, strict=True):
            together[i] = one
        return together

    def fill(self, job: ExtractionJob) -> None:
        """Compute what is missing, unless it is no more than a batch.

        Parameters
        ----------
        job : ExtractionJob
            What to compute. It is told what was, and which images can't be read.

        Raises
        ------
        RuntimeError, ValueError
            If a worker fails, a node doesn't see a file or the store, or rows are still missing
            after several attempts. What is done is kept.
        """
        first = job.missing()[1]
        job.set_aside(first)
        if len(first) <= job.chosen_batch_size():
            return
        job.store.place.check_writable("features can't be stored")
        here = job.device
        job.device = "cuda" if self.connect().n_gpus else "cpu"
        try:
            warn_of_size(job.preprocess)
            self._hand_out(job, len(first))
        finally:
            job.device = here

    def _hand_out(self, job: ExtractionJob, n_images: int) -> None:
        """Have images computed on the cluster, what is missing then again, and name what remains.

        Parameters
        ----------
        job : ExtractionJob
            What to compute.
        n_images : int
            How many are missing.
        """
        told = set[str]()
        for attempt in range(_ROUNDS):
            specs, first = job.missing()
            if not first:
                return
            pool, size = self.connect(), job.chosen_batch_size()
            if attempt == 0:
                size = _share_size(job, list(first.values()), pool)
            else:
                logger.warning("%d images are still missing; handing them out again", len(first))
            _Round(job, specs, first, pool, size).compute(n_images, told)
        if names := [job.images.names[i] for i in job.missing()[1].values()]:
            raise RuntimeError(
                f"{len(names):,} of {n_images:,} images have no row after {_ROUNDS} attempts on "
                f"Ray, because the workers that computed them ended: {_listed(names)}; all other "
                f"rows are kept. Give workers more memory, or extract these images without Ray"
            )


@dataclass(frozen=True)
class _Round:
    """What is missing, handed out once."""

    job: ExtractionJob
    specs: dict[str, FeatureSpec]
    first: dict[bytes, int]
    pool: _ActorPool
    size: int

    def compute(self, n_images: int, told: set[str]) -> None:
        """Have it computed.

        Parameters
        ----------
        n_images : int
            Images of all rounds.
        told : set of str
            Warnings that were logged already.
        """
        positions = list(self.first.values())
        parts = [positions[at : at + self.size] for at in range(0, len(positions), self.size)]
        shares = ((n, self._share(part, n_images)) for n, part in enumerate(parts))
        answered: set[bytes] = set()
        try:
            with self.job.bar(len(positions)) as bar:
                for answer in _answers(shares, ShareWorker, self.pool):
                    part = parts[answer.number]
                    answered.update(row for i in part if (row := self.job.identities.ids[i]))
                    self._hear(answer, part, told)
                    bar.update(len(part))
        finally:
            self.job.computed |= self.first.keys() - self._missing(self.first)
        self._check_store(answered)

    def _share(self, positions: list[int], n_images: int) -> ShareOfImages:
        return share_of(
            self.job,
            positions,
            self.specs,
            device=self.job.device,
            n_images=n_images,
            n_sharing=1,
            n_threads=self.pool.n_cpus,
        )

    def _missing(self, rows: Iterable[bytes]) -> set[bytes]:
        wanted = list(rows)
        specs = self.specs.values()
        return set().union(*(self.job.store.missing(spec, wanted) for spec in specs))

    def _hear(self, answer: _Answer, positions: list[int], told: set[str]) -> None:
        """Take an actor's answer into the job's state."""
        job = self.job
        for level, text in answer.warnings:
            if text not in told:
                logger.log(level, "%s", text)
                told.add(text)
        if answer.error is not None:
            is_value, text = answer.error
            raise (ValueError if is_value else RuntimeError)(text)
        job.identities.fail_rows(answer.unusable)
        for at, row, reason in answer.changed:
            position = positions[at]
            self._check_seen(position, reason)
            job.identities.record(Decoded(position, row, None, reason, (0, 0), (0.0, 0.0)), {})
        job.count(answer.seconds)
        job.provenance = answer.provenance or job.provenance
        job.is_bf16_quicker |= answer.is_bf16_quicker
        job.sizes += answer.sizes

    def _check_seen(self, position: int, reason: str) -> None:
        """Raise a RuntimeError if a file is here that a node didn't find."""
        item = self.job.images.items[position]
        file = file_of(item.whole if isinstance(item, ImagePart) else item)
        if reason == os.strerror(errno.ENOENT) and file is not None and file.exists():
            raise RuntimeError(
                f"a node of the Ray cluster doesn't see {str(file)!r}, which is here; images must "
                f"be where every node sees them, under the same path"
            )

    def _check_store(self, answered: set[bytes]) -> None:
        """Raise a RuntimeError if rows that were written aren't in the store that is seen here."""
        for wait in (*_WAITS, None):
            rows = set(self.job.identities.readable_ids) & answered
            if not self._missing(rows):
                return
            if wait is not None:
                time.sleep(wait)
        raise RuntimeError(
            f"Ray's workers have written rows that aren't in the store "
            f"{str(self.job.store.path)!r} as this process sees it; give a folder that every node "
            f"sees under this path, or a URL of object storage"
        )


# What is pickled here goes between processes of one run, as all that Ray sends does: whoever can
# put another's message there can run code on the cluster anyway. No file is read so.
class ShareWorker:
    """Computes shares of images, one after the other, with one network. Each actor has one."""

    def __init__(self) -> None:
        self.network: Forward | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Compute the shares of a batch of Ray Data's, and return their answers."""
        return {"item": [pickle.dumps(self._answer(*pickle.loads(one))) for one in batch["item"]]}

    def _answer(self, number: int, share: ShareOfImages) -> _Answer:
        log = _Warnings()
        package = logging.getLogger("transferkit")
        package.addHandler(log)
        error = None
        job = _suited(share).job(lambda n_images: progress_bar(n_images, shown=False))
        try:
            _check_weights(share)
            job.network = self.network
            job.fill()
            self.network = job.network
        except Exception as failure:
            where = os.uname().nodename if hasattr(os, "uname") else "a node"
            error = isinstance(failure, ValueError), f"{where}: {failure}"
        finally:
            package.removeHandler(log)
        return _Answer(
            number,
            job.identities.unusable,
            _changed(job, share.ids),
            job.seconds,
            job.provenance,
            job.is_bf16_quicker,
            job.sizes,
            log.told,
            error,
        )


class _Warnings(logging.Handler):
    """Keeps warnings, to be logged where the user sees them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append((record.levelno, record.getMessage()))


def _changed(job: ExtractionJob, ids: Sequence[bytes]) -> list[tuple[int, bytes, str]]:
    """Images whose files aren't any more what was digested: position, new id or none, reason."""
    identities = job.identities
    changed = []
    for i, (was, row) in enumerate(zip(ids, identities.ids, strict=True)):
        if row != was and was not in identities.unusable:
            reason = "" if row is not None else identities.failures[i].reason
            changed.append((i, row or b"", reason))
    return changed


def _suited(share: ShareOfImages) -> ShareOfImages:
    """A share whose decoders, beside a GPU, leave the node's other actors their cores."""
    if share.device == "cpu":
        return share
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    return dataclasses.replace(share, n_sharing=max(1, n_cores // share.n_threads))


def _check_weights(share: ShareOfImages) -> None:
    """Raise a ValueError if the weights aren't on this node."""
    path = share.backbone.weights_path
    if path and not Path(path).exists():
        raise ValueError(
            f"the weights {path!r} aren't on this node; keep them in a folder that every node "
            f"sees (HF_HOME, or local-dir:…)"
        )


def _address() -> str:
    """Address of the cluster that this process is connected to."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


def _pool_for(device: str) -> _ActorPool:
    """An actor for each GPU of the cluster, or for a few cores of every node."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = [(int(n["GPU"]), int(n.get("CPU", 0))) for n in nodes if n.get("GPU", 0) >= 1]
    if device == "cuda" and not gpus:
        raise ValueError("device is 'cuda', and the Ray cluster has no GPU; give 'auto' or 'cpu'")
    if gpus and device != "cpu":
        n_cpus = min(n // n_gpus for n_gpus, n in gpus)
        n_actors = sum(n_gpus for n_gpus, _ in gpus)
        return _ActorPool(n_actors, max(1, min(_CORES_BESIDE_GPU, n_cpus)), 1)
    cores = [int(n["CPU"]) for n in nodes if n.get("CPU", 0) >= 1]
    if not cores:
        raise ValueError("the Ray cluster has neither GPUs nor CPUs; add a node that has some")
    n_cpus = min(_CORES, *cores)
    return _ActorPool(sum(n // n_cpus for n in cores), n_cpus, 0)


def _share_size(job: ExtractionJob, positions: list[int], pool: _ActorPool) -> int:
    """Images of a share: some shares for each actor, none too large to be sent."""
    batch = job.chosen_batch_size()
    at_once = 1 if pool.n_gpus else pool.n_cpus  # batches
    size = -(-len(positions) // (4 * pool.n_actors))
    size = min(max(size, batch * at_once), _MOST_IMAGES)
    if job.images.is_in_memory:
        sample = job.images.select(positions[:batch])
        n_bytes = len(pickle.dumps(sample)) // len(sample)
        size = min(size, _MOST_BYTES // max(1, n_bytes))
    return -(-size // batch) * batch


def _answers(items: Iterable[Any], work: Any, pool: _ActorPool | None = None) -> Iterator[Any]:
    """Have each item worked on by Ray Data, and return the answers as they come.

    An item whose worker is lost time and again has no answer.

    Parameters
    ----------
    items : iterable
        What is sent, each in a task of its own.
    work : callable or class
        As for ``map_batches``: takes and returns batches of pickled items.
    pool : _ActorPool, optional
        Actors, if `work` is a class.
    """
    import ray
    from ray import cloudpickle

    sent = [{"item": cloudpickle.dumps(item)} for item in items]
    data = ray.data.from_items(sent, override_num_blocks=len(sent))
    # Our own bar is shown, and what is lost is counted and named by us.
    data.context.enable_progress_bars = False
    data.context.print_on_execution_start = False
    data.context.max_errored_blocks = -1
    options: dict[str, Any] = {"num_cpus": 1}
    if pool is not None:
        n = min(pool.n_actors, len(sent))
        compute = ray.data.ActorPoolStrategy(min_size=1, max_size=n, initial_size=n)
        options = {"num_cpus": pool.n_cpus, "num_gpus": pool.n_gpus or None, "compute": compute}
        # Without a limit, an image that ends every worker would be tried for ever.
        options["max_task_retries"] = _RETRIES
    with _quiet():
        with warnings.catch_warnings():
            # Ray 2.64 will have another way to set a limit; setup.cfg excludes it until then.
            warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated", DeprecationWarning)
            answers = data.map_batches(work, batch_size=1, **options)
        with contextlib.closing(iter(answers.iter_rows())) as rows:
            for row in rows:
                yield pickle.loads(row["item"])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Ray Data's own log, which shows a stack for every worker that is lost."""
    log = logging.getLogger("ray.data")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _hasher() -> Any:
    """Return what digests the files of a batch of Ray Data's, in a task."""

    def hash_chunks(batch: dict[str, Any]) -> dict[str, list[bytes]]:
        # Ray sends a function within a function as code, so that a task needn't import this
        # module, and PyTorch with it.
        import pickle

        from transferkit.digests import hash_files

        chunks = [pickle.loads(one) for one in batch["item"]]
        return {"item": [pickle.dumps((n, hash_files(stamps))) for n, stamps in chunks]}

    return hash_chunks


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
