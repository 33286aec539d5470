"""prepare: corpora elsewhere, and the cores of a cluster: the data are those of one process and a folder."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from conftest import tone_recipe, uploaded, write_corpus
from test_prepare import BAD, spoil

from asr_adapt import cluster as clusters
from asr_adapt import corpora
from asr_adapt.artifacts import PreparationSummary
from asr_adapt.cluster import LOCAL, Cluster
from asr_adapt.console import Console
from asr_adapt.corpora.trained_on import TrainedOn
from asr_adapt.decoding.frames import FrameGrid
from asr_adapt.errors import InputError
from asr_adapt.recipe import Corpus, Model, Recipe
from asr_adapt.records import SPLITS
from asr_adapt.stages import doctor, new
from asr_adapt.stages import prepare as stage

RAY = os.environ.get("ASR_ADAPT_RAY", LOCAL)
"""where a busy machine cannot start a cluster in time: the address of one that runs"""


@pytest.fixture
def spoilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus with clips of all kinds that are left out, one of them in train and in test."""
    monkeypatch.setenv("ASR_ADAPT_CACHE", str(tmp_path / "cache"))
    root = write_corpus(tmp_path / "corpus")
    spoil(root, "train")
    spoil(root, "test")
    (root / "clips" / "test0.wav").write_bytes((root / "clips" / "train0.wav").read_bytes())
    return root


def prepared(root: Path | str, folder: Path, **fields: object) -> tuple[dict[str, list], PreparationSummary]:
    """Return the rows of each split without the places of their recordings, and what is said of them."""
    recipe = tone_recipe(root)
    recipe = recipe.model_copy(update={"corpus": recipe.corpus.model_copy(update={"max_duration_s": 20.0, **fields})})
    found = corpora.read(root, "art")
    summary = stage.prepare(recipe, found, FrameGrid(), folder, Console(quiet=True), known=TrainedOn.nothing())
    rows = {}
    for split in SPLITS:
        with pa.memory_map(str(folder / f"{split}.arrow")) as file:
            rows[split] = pa.ipc.open_stream(file).read_all().to_pylist()
        for row in rows[split]:
            row["utterance"] = row["utterance"].replace(str(root), "ROOT")
    placeless = [e.model_copy(update={"audio": e.audio.replace(str(root), "ROOT")}) for e in summary.excluded]
    return rows, summary.model_copy(update={"excluded": tuple(placeless)})


@pytest.fixture
def memory() -> Iterator[str]:
    fs = fsspec.filesystem("memory")
    yield "memory://archive"
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def test_a_corpus_elsewhere_is_prepared_as_its_copy_here_is(spoilt: Path, tmp_path: Path, memory: str) -> None:
    here = prepared(spoilt, tmp_path / "here")
    assert here == prepared(uploaded(spoilt, f"{memory}/corpus"), tmp_path / "there")
    reasons = {e.id: e.reason for e in here[1].excluded}
    assert reasons.pop("test0.wav") == "trained_on"
    assert {reason for id, reason in reasons.items() if id.startswith("train")} == {why for why, _ in BAD.values()}
    assert {reason for id, reason in reasons.items() if id.startswith("test")} == {"unreadable_audio"}


def test_the_doctor_and_a_new_recipe_see_in_it_what_they_see_here(spoilt: Path, tmp_path: Path, memory: str) -> None:
    url = uploaded(spoilt, f"{memory}/corpus")
    found = []
    for number, root in enumerate((spoilt, url)):
        recipe = Recipe(language="art", corpus=Corpus(root=root), model=Model(base="embedded-small"))
        examined = doctor.examine(recipe, Console(quiet=True), estimate=False)
        new.new(recipe, None, tmp_path / f"{number}.py", Console(quiet=True))
        script = (tmp_path / f"{number}.py").read_text(encoding="utf-8")
        found.append((repr(examined.findings).replace(str(root), "ROOT"), examined.hours, examined.letters,
                      script.replace(str(root), "ROOT")))  # fmt: skip
    assert found[0] == found[1]


def test_a_recording_that_cannot_be_fetched_ends_the_work(
    spoilt: Path, tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = uploaded(spoilt, f"{memory}/corpus")
    fs = type(fsspec.filesystem("memory"))
    real = fs._open

    def refused(self: Any, path: str, *args: Any, **options: Any) -> Any:
        if path.endswith("train3.wav"):
            raise PermissionError("Access Denied")
        return real(self, path, *args, **options)

    monkeypatch.setattr(fs, "_open", refused)
    with pytest.raises(InputError, match=r"clips/train3\.wav: cannot be fetched \(Access Denied\)"):
        prepared(url, tmp_path / "data")


@pytest.mark.slow
def test_s3_gives_what_a_folder_gives(spoilt: Path, tmp_path: Path, bucket: str) -> None:
    assert prepared(spoilt, tmp_path / "here") == prepared(uploaded(spoilt, f"{bucket}/corpus"), tmp_path / "there")


@pytest.mark.slow
def test_a_bucket_that_is_not_there_and_missing_rights_are_one_line(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    with pytest.raises(InputError, match=r"^s3://nowhere/corpus: no such file or folder\. Look at the URL\.$"):
        corpora.read("s3://nowhere/corpus", "art")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(InputError, match=r"^s3://speech/corpus: cannot be read \(.*credentials"):
        corpora.read("s3://speech/corpus", "art")
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.slow
def test_a_cluster_gives_what_one_process_gives_also_when_a_worker_is_killed(
    spoilt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    workers, killed = tmp_path / "workers", []
    workers.mkdir()
    real = clusters.results

    def results(cluster: Cluster, make: Any, chunks: Any, console: Console, *, in_order: bool) -> Iterator[Any]:
        """Do what `cluster.results` does, and kill a worker when it has done a chunk."""

        def make_noted() -> Any:
            work = make()

            def noted(items: list) -> list:
                (workers / str(os.getpid())).touch()
                return list(work(items))

            return noted

        for result in real(cluster, make_noted, chunks, console, in_order=in_order):
            if not killed:
                killed.append(int(next(workers.iterdir()).name))
                os.kill(killed[0], signal.SIGKILL)
            yield result

    monkeypatch.setattr(clusters, "results", results)
    monkeypatch.setattr(stage, "_CHUNK", 3)
    here = prepared(spoilt, tmp_path / "here")
    assert here == prepared(spoilt, tmp_path / "there", ray=RAY, workers=2)
    assert killed


@pytest.mark.slow
def test_what_a_workers_machine_lacks_is_no_damaged_recording(
    spoilt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    recipe = tone_recipe(spoilt)
    recipe = recipe.model_copy(update={"corpus": recipe.corpus.model_copy(update={"ray": RAY, "workers": 1})})
    found = corpora.read(spoilt, "art")
    moved = [u.model_copy(update={"audio": u.audio.replace("clips", "away")}) for u in found]
    digests = {u.audio: "there" for u in moved}
    with pytest.raises(InputError, match=r"is not on the worker's machine .* Let all machines have the recordings"):
        stage.prepare(recipe, moved, FrameGrid(), tmp_path / "data", Console(quiet=True), digests=digests)
