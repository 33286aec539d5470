"""The command line: parses arguments, calls stages, prints results. Heavy imports wait until a verb needs them."""

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from asr_adapt import __version__, process_exit
from asr_adapt.errors import InputError
from asr_adapt.process_exit import one_line_errors

process_exit.guard_recipe_script()  # of scripts that import `run_recipe` from here
app = typer.Typer(
    help="Adapt speech recognition to languages that the big systems forget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_model_verbs = typer.Typer(help="Maintain a model folder.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(_model_verbs, name="model")
_PARTLY_DONE = 3
_INTERRUPTED = 130
_MAX_LIMIT = 1e9
# What follows the script is the recipe's own.
_RECIPE_COMMAND = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
_CORPUS_COMMAND = {"allow_extra_args": True, "ignore_unknown_options": True}

_CORPUS_HELP = "Corpus folder, archive, table, URL (s3://) or Hub name."
_AUDIO = Annotated[
    bool, typer.Option("--audio/--no-audio", help="Embed the recordings with the most errors in report.html.")
]
_NAMES = Annotated[
    bool, typer.Option("--names", help="Show speakers and clips by name in report.html; default: numbered.")
]
_ENGINE = Annotated[
    str,
    typer.Option(
        help="torch, onnx, onnx-int8, openvino, or auto: the fastest within 0.3 points of PyTorch's WER on dev."
    ),
]
_ALLOW_TRAINED = Annotated[
    bool,
    typer.Option("--allow-trained", help="Keep clips that the model was trained on; default: left out and counted."),
]
_CHANNEL = Annotated[
    str | None,
    typer.Option(
        help="left, right, a number, or each: a speaker for each channel; default: mixed.", show_default=False
    ),
]
_TRACK = Annotated[
    int | None, typer.Option(min=1, help="Number of the audio track; default: the file's.", show_default=False)
]
_NO_LM = Annotated[bool, typer.Option("--no-lm", help="Do not use the n-gram beside the model.")]


def main() -> None:
    """Run `asr-adapt`. A mistake in the input ends in one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal's encoding lacks never ends a batch
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with one_line_errors():
        try:
            status = app(standalone_mode=False)
        except TyperException as error:
            message = error.format_message()
            if "\n" in message:  # no verb was given: the message is the help
                print(message)
                raise SystemExit(2) from None
            raise InputError(message, place="command line", remedy="See --help.") from error
        if status == _INTERRUPTED:  # typer has turned KeyboardInterrupt into this code
            raise KeyboardInterrupt
        raise SystemExit(status or 0)


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


def _finite(value: float) -> float:
    """Reject nan, which passes typer's `min`, and what overflows when it is converted."""
    if not value <= _MAX_LIMIT:
        raise typer.BadParameter(f"{value} is not a number up to {_MAX_LIMIT:.0e}.")
    return value


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Adapt speech recognition to languages that the big systems forget."""


@app.command(context_settings=_RECIPE_COMMAND)
def run(
    context: typer.Context,
    script: Annotated[Path, typer.Argument(metavar="RECIPE.py", help="A recipe script.", show_default=False)],
) -> None:
    """Prepare, train and evaluate a recipe, like running its script. `run RECIPE.py --help` lists the fields."""
    if str(script) in {"--help", "-h"}:
        print(context.get_help())
        return
    from asr_adapt import recipe_script

    run_recipe(recipe_script.load(script), context.args, name=script.stem)


@app.command(context_settings=_RECIPE_COMMAND)
def transfer(
    context: typer.Context,
    script: Annotated[Path, typer.Argument(metavar="RECIPE.py", help="A recipe script.", show_default=False)],
) -> None:
    """Measure what the base model contributes.

    Trains from scratch, the head only, with the encoder frozen, and with nothing frozen.
    """
    if str(script) in {"--help", "-h"}:
        print(context.get_help())
        return
    from asr_adapt import recipe_options, recipe_script

    recipe, out = recipe_options.override(
        recipe_script.load(script), context.args, f"{script.stem}-transfer", str(script)
    )
    from asr_adapt.console import Console
    from asr_adapt.workflows.transfer import transfer as measure

    measure(recipe, out, Console())


@app.command(context_settings=_CORPUS_COMMAND)
def loop(
    context: typer.Context,
    script: Annotated[Path, typer.Argument(metavar="RECIPE.py", help="A recipe script.", show_default=False)],
    start: Annotated[
        str,
        typer.Option(help="Train each round from the last round's model (last) or the recipe's base model (base)."),
    ] = "last",
    drafts: Annotated[
        bool, typer.Option("--draft/--no-draft", help="Draft what has no transcript in ELAN and Praat corpora.")
    ] = True,
) -> None:
    """Train a recipe again on new corrections.

    Every round is scored on the same test set. --out and recipe fields may follow.
    """
    if start not in ("last", "base"):
        raise InputError(f"no start '{start}'", place="--start", remedy="Give last or base.")
    from asr_adapt import recipe_options, recipe_script

    recipe, out = recipe_options.override(
        recipe_script.load(script), context.args, f"{script.stem}-loop", str(script)
    )
    from asr_adapt.console import Console
    from asr_adapt.workflows.loop import loop as next_round

    process_exit.begin_work()
    next_round(recipe, out, Console(), start=start, drafts=drafts)  # type: ignore[arg-type]


@app.command(context_settings=_CORPUS_COMMAND)
def curve(
    context: typer.Context,
    script: Annotated[Path, typer.Argument(metavar="RECIPE.py", help="A recipe script.", show_default=False)],
    minutes: Annotated[
        str | None,
        typer.Option(
            help="Amounts of speech to train on, as 1,5,15; all of it is always the last.",
            show_default="1,5,15,30,60,120,…",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each amount.")] = 2,
    predict: Annotated[
        list[float] | None,
        typer.Option(
            metavar="HOURS", help="Predict the error rates with so much speech; repeatable.", show_default=False
        ),
    ] = None,
) -> None:
    """Measure what more speech would bring.

    Trains on nested subsets of the speech, fits a learning curve, and predicts error rates for up to four times as
    much. Recipe fields may follow; the same --out again resumes.
    """
    from asr_adapt import recipe_options, recipe_script

    recipe, out = recipe_options.override(
        recipe_script.load(script), context.args, f"{script.stem}-curve", str(script)
    )
    from asr_adapt.console import Console
    from asr_adapt.workflows.curve import curve as measure

    process_exit.begin_work()
    measure(recipe, out, Console(), minutes=_minutes(minutes), seeds=seeds, hours=predict or ())


def _minutes(text: str | None) -> list[float]:
    """Return the numbers of a list such as 1,5,15."""
    try:
        found = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        found = [0.0]
    if not all(0 < minutes <= _MAX_LIMIT for minutes in found):
        raise InputError(f"'{text}' is no list of minutes", place="--minutes", remedy="Write it as 1,5,15.")
    return found


@app.command(context_settings=_CORPUS_COMMAND)
def rank(
    context: typer.Context,
    script: Annotated[Path, typer.Argument(metavar="RECIPE.py", help="A recipe script.", show_default=False)],
    base: Annotated[list[str], typer.Option(help="Base model, as in model.base; repeatable.")],
    minutes: Annotated[
        float, typer.Option(min=1, callback=_finite, help="Minutes of training speech in the sample.")
    ] = 10,
    sample: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BASE=FOLDER", help="Recordings in the languages that a base was trained on; repeatable."
        ),
    ] = None,
) -> None:
    """Rank base models for a corpus without fine-tuning them.

    Trains small probes on frozen features of a sample. Recipe fields may follow; the same --out again resumes.
    """
    from asr_adapt import recipe_options, recipe_script

    recipe, out = recipe_options.override(
        recipe_script.load(script), context.args, f"{script.stem}-rank", str(script)
    )
    from asr_adapt.console import Console
    from asr_adapt.stages import rank as stage

    samples = {}
    for given in sample or ():
        name, equals, folder = given.rpartition("=")
        if not equals or not Path(folder).is_dir():
            raise InputError(f"'{given}' is not BASE=FOLDER", place="--sample", remedy="As embedded=recordings.")
        samples[name] = Path(folder)
    process_exit.begin_work()
    stage.rank(recipe, base, out, Console(), minutes=minutes, samples=samples)


@app.command(context_settings=_CORPUS_COMMAND)
def new(
    context: typer.Context,
    language: Annotated[str, typer.Argument(metavar="LANGUAGE", help="BCP-47 tag (mi, sat-Olck) or English name.")],
    corpus: Annotated[str, typer.Argument(metavar="CORPUS", help=_CORPUS_HELP)],
    base: Annotated[
        list[str] | None,
        typer.Option(help="Base model; given more than once, the nearest one is measured. Default: by the hours."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Recipe script to write; default: recipes/LANGUAGE.py.")] = None,
) -> None:
    """Examine a corpus and write a recipe script for it. Recipe fields, such as --corpus.tiers, may follow."""
    from asr_adapt import languages, recipe_options
    from asr_adapt.console import Console
    from asr_adapt.recipe import recipe_from
    from asr_adapt.stages import new as stage

    language = languages.find(language)
    recipe = recipe_from({"language": language, "corpus": {"root": corpus}}, "command line")
    recipe, _ = recipe_options.override(recipe, context.args)
    script = out or Path("recipes") / f"{language.lower().replace('-', '_')}.py"
    if base and len(base) > 1:
        from asr_adapt.workflows import base_choice

        process_exit.begin_work()
        base_choice.new_recipe(recipe, base, script, base_choice.ranking_folder(script.stem), Console())
    else:
        stage.new(recipe, base[0] if base else None, script, Console())


@app.command(context_settings=_CORPUS_COMMAND)
def doctor(
    context: typer.Context,
    corpus: Annotated[
        str,
        typer.Argument(
            metavar="CORPUS|RECIPE.py", help="Folder, archive, table, URL or Hub name of a corpus; or a recipe."
        ),
    ],
    language: Annotated[
        str | None,
        typer.Option(help="BCP-47 tag or English name of the language; default: the recipe's, or unknown."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the findings as JSON to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the findings as an HTML page to this file.")] = None,
    fix: Annotated[
        Path | None,
        typer.Option(
            help="Write a .jsonl manifest of the usable utterances, repaired; a RECIPE.py is changed to read it."
        ),
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option(help="Estimate the training time from a few steps of --model.base (default: embedded)."),
    ] = True,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="Decode only so many clips, for a first look; always the same ones."),
    ] = None,
    base: Annotated[
        list[str] | None,
        typer.Option(help="Base model to rank beside the recipe's, as asr-adapt rank does; repeatable."),
    ] = None,
) -> None:
    """Find problems in a corpus before training. Recipe fields, such as --corpus.format, may follow."""
    from asr_adapt import languages, recipe_options, recipe_script
    from asr_adapt.console import Console
    from asr_adapt.recipe import recipe_from
    from asr_adapt.stages import doctor as stage
    from asr_adapt.storage import disk_full_as_error

    script = Path(corpus) if corpus.endswith(".py") else None
    tag = languages.find(language) if language else None
    if script:
        recipe = recipe_script.load(script)
        recipe = recipe.model_copy(update={"language": tag}) if tag else recipe
    else:
        fields = {
            "language": tag or languages.UNDETERMINED,
            "corpus": {"root": corpus},
            "model": {"base": "embedded"},
        }
        recipe = recipe_from(fields, "command line")
    recipe, _ = recipe_options.override(recipe, context.args)
    if sample and fix:
        raise InputError("a sample cannot be fixed", place="--sample", remedy="Leave out --sample, or --fix.")
    stage.refuse_places([place for place in (json, html) if place], fix)
    console = Console()
    bases = [*([recipe.model.base] if script and recipe.model.base != "none" else []), *(base or [])]
    if base:
        from asr_adapt.stages import rank
        from asr_adapt.workflows import base_choice

        rank.checked(recipe, bases)
    examined = stage.examine(recipe, console, estimate=estimate, sample=sample)
    if base:
        process_exit.begin_work()
        folder = base_choice.ranking_folder(Path(corpus).stem)
        examined = base_choice.with_ranking(examined, recipe, bases, folder, console)
    with disk_full_as_error(Path("standard output"), "Make room, then start the same command."):
        stage.show(examined, console)
    if json:
        stage.write_json(examined, json)
    if html:
        stage.write_page(examined, html)
    if fix:
        edit = stage.recipe_edit(script, recipe, examined, fix) if script else None
        stage.apply_fix(examined, fix, edit, console)
    if examined.fatal:
        raise SystemExit(2)


@app.command()
def mms(
    language: Annotated[str, typer.Argument(metavar="LANGUAGE", help="BCP-47 tag (mi) or English name.")],
    base: Annotated[str, typer.Option(help="MMS checkpoint with one adapter per language.")] = "facebook/mms-1b-all",
    adapter_language: Annotated[
        str | None, typer.Option(help="Name of the adapter in the checkpoint, if it differs.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Model folder to write; default: models/mms-LANGUAGE.")] = None,
) -> None:
    """Make a model folder from an MMS adapter. It transcribes a language without training."""
    from asr_adapt import languages
    from asr_adapt.recipe import recipe_from

    language = languages.find(language)
    wanted = {"language": language, "model": {"base": base, "adapter_language": adapter_language}}
    recipe = recipe_from(wanted, "command line")
    folder = out or Path("models") / f"mms-{language}"
    if folder.exists():
        raise InputError("already exists", place=folder, remedy="Give another --out.")
    from asr_adapt.console import Console
    from asr_adapt.model.head import zero_shot

    made = zero_shot(recipe.model, language)
    made.save(folder)
    console = Console()
    console.say(f"model: {folder} ({len(made.alphabet) - 2} letters; not trained further)")
    console.say(f"next: asr-adapt evaluate --model {folder} --corpus DIR")


@app.command(name="few-shot", context_settings=_CORPUS_COMMAND)
def few_shot(
    context: typer.Context,
    language: Annotated[str, typer.Argument(metavar="LANGUAGE", help="BCP-47 tag (mi, sat-Olck) or English name.")],
    words: Annotated[Path | None, typer.Option(help="Word list: a word a line.")] = None,
    text: Annotated[
        list[Path] | None, typer.Option(help="Text file for an n-gram: a sentence a line. May be repeated.")
    ] = None,
    letters: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|epitran|espeak|uroman",
            help="Phones of the letters: a table (letter, tab, IPA) or a program; default: guessed by shape.",
        ),
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Corpus folder, archive, table, URL or Hub name; clips are of its train."),
    ] = None,
    shots: Annotated[int, typer.Option(min=0, help="Transcribed clips to learn from.")] = 0,
    base: Annotated[str, typer.Option(help="Base model that writes phones.")] = "embedded",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of clips.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Model folder to write; default: models/LANGUAGE-N-shot.")] = None,
) -> None:
    """Make a model from a word list and few or no clips, in seconds.

    Recipe fields of text and corpus, such as --text.keep or --corpus.tiers, may follow.
    """
    from asr_adapt import languages, recipe_options
    from asr_adapt.console import Console
    from asr_adapt.recipe import recipe_from
    from asr_adapt.workflows.few_shot import Wanted, few_shot_model

    language = languages.find(language)
    if shots and corpus is None:
        raise InputError("needs a corpus", place="--shots", remedy="Name the --corpus.")
    if corpus is not None and not shots:
        raise InputError("no clip of the corpus would be used", place="--corpus", remedy="Say how many: --shots N.")
    fields = {"language": language, "corpus": {"root": corpus}, "model": {"base": base}}
    recipe, _ = recipe_options.override(recipe_from(fields, "command line"), context.args)
    folder = out or Path("models") / f"{language}-{shots}-shot"
    few_shot_model(Wanted(recipe, words, text or [], letters, shots, seed), folder, Console())


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/demo"),
) -> None:
    """Adapt the small embedded base model, offline.

    Trains on the embedded corpus, scores unseen speech and transcribes a clip.
    """
    from asr_adapt.console import Console
    from asr_adapt.workflows import demo as embedded

    embedded.demo(out, Console())


@app.command()
def transcribe(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE_OR_DIR...",
            help="Audio files, folders, patterns ('clips/*.m4a'), .jsonl manifests, URLs such as s3://bucket/folder; "
            "- reads standard input.",
        ),
    ],
    model: Annotated[Path, typer.Option(help="Model folder, such as a run's model/.")],
    format: Annotated[str, typer.Option(help="txt, json, srt, vtt, tsv, textgrid or eaf.")] = "txt",
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Folder, or its URL, for <stem>.<format>; default: print the transcripts."),
    ] = None,
    engine: _ENGINE = "auto",
    hotwords: Annotated[str, typer.Option(help="Words to boost, such as names, separated by spaces.")] = "",
    no_lm: _NO_LM = False,
    channel: _CHANNEL = None,
    track: _TRACK = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="local|ADDRESS",
            help="Spread the work over a Ray cluster (auto, HOST:PORT, ray://HOST:PORT), or this machine's cores.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Workers on Ray; default: one per GPU, else one per --cores cores."),
    ] = None,
    cores: Annotated[int, typer.Option(min=1, help="Cores of each worker on Ray.")] = 1,
) -> None:
    """Transcribe recordings of any length. Run again with the same --out to do only what is missing or outdated."""
    from asr_adapt.console import Console
    from asr_adapt.formats import writers
    from asr_adapt.inference import recordings
    from asr_adapt.inference.options import TranscriptionOptions
    from asr_adapt.stages import transcribe as stage

    if format not in writers.WRITERS:
        raise InputError(f"no format '{format}'", place="--format", remedy=f"Known: {', '.join(writers.WRITERS)}.")
    found = recordings.find(inputs)
    options = TranscriptionOptions.of(
        model, engine, hotwords=hotwords, use_ngram=not no_lm, channel=channel, track=track
    )
    cluster, load = None, options.load
    if ray is not None:
        from asr_adapt.cluster import Cluster
        from asr_adapt.inference.on_cluster import Loader

        cluster = Cluster(ray, workers, cores)
        load = Loader.of(options, cluster)
    elif workers is not None or cores != 1:
        raise InputError("these are for Ray", place="--workers, --cores", remedy="Give --ray local or an ADDRESS.")
    failed = stage.transcribe(
        load, model, found, format, out, Console(), options.settings, channel, track, cluster
    )  # fmt: skip
    if failed:
        raise SystemExit(2 if failed == len(found) else _PARTLY_DONE)


@app.command("next", context_settings=_CORPUS_COMMAND)
def next_to_transcribe(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="CORPUS", help="Folder of recordings, some transcribed.")],
    model: Annotated[Path, typer.Option(help="Model folder, such as a run's model/.")],
    minutes: Annotated[float, typer.Option(min=0.1, help="Minutes of speech to choose.")] = 10,
    out: Annotated[
        Path | None, typer.Option(help="Folder for next.json and .eaf files with empty annotations.")
    ] = None,
) -> None:
    """Choose what to transcribe next.

    Prefers speech with the most unfamiliar letter sequences per minute. Corpus fields may follow.
    """
    from asr_adapt.console import Console
    from asr_adapt.storage import refuse_url
    from asr_adapt.workflows.next import propose

    refuse_url(folder)
    propose(folder, model, minutes, out, Console(), _source(str(folder), context.args) if context.args else None)


@app.command()
def draft(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="CORPUS...", help="Folders of ELAN files, TextGrids and recordings, or one of these."),
    ],
    model: Annotated[
        Path | None, typer.Option(help="Model folder, such as a run's model/.", show_default=False)
    ] = None,
    tiers: Annotated[
        list[str] | None,
        typer.Option(help="Tier with the transcript, by name or by type; repeatable.", show_default=False),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Write into the files, after a backup; default: a copy beside each.")
    ] = False,
    format: Annotated[
        str | None,
        typer.Option(
            help="eaf or textgrid, of plain recordings' drafts; default: as the folder's files.", show_default=False
        ),
    ] = None,
    engine: _ENGINE = "auto",
    no_lm: _NO_LM = False,
    channel: _CHANNEL = None,
    track: _TRACK = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Take the drafts in these files as they are, without correction.")
    ] = False,
) -> None:
    """Draft transcripts in ELAN, Praat and audio files, to correct.

    What has a transcript stays as it is. Run again, it does what is new; with another model, it replaces what nobody
    corrected.
    """
    from asr_adapt.console import Console
    from asr_adapt.inference.options import TranscriptionOptions
    from asr_adapt.stages import draft as stage
    from asr_adapt.storage import refuse_url

    console = Console()
    for path in paths:
        refuse_url(path)
    if accept:
        stage.accept(paths, console)
        return
    if model is None:
        raise InputError("no model was given", place="--model", remedy="Give a run's model/ folder.")
    if format is not None and format not in stage.SUFFIXES:
        raise InputError(f"no format '{format}'", place="--format", remedy=f"Known: {', '.join(stage.SUFFIXES)}.")
    options = TranscriptionOptions.of(model, engine, use_ngram=not no_lm, channel=channel, track=track)
    done = [
        stage.draft(options.load, model, path, console, settings=options.settings, tiers=tiers or (),
                    in_place=in_place, format=format, channel=channel, track=track)
        for path in paths
    ]  # fmt: skip
    if any(summary.failed for summary in done):
        raise SystemExit(_PARTLY_DONE if any(summary.done for summary in done) else 2)


@app.command()
def align(
    audio: Annotated[Path, typer.Argument(metavar="AUDIO", help="Audio file.")],
    text: Annotated[Path, typer.Argument(metavar="TEXT", help="Transcript: a text file, one segment per line.")],
    model: Annotated[Path, typer.Option(help="Model folder, such as a run's model/.")],
    format: Annotated[str, typer.Option(help="txt, json, srt, vtt, tsv, textgrid or eaf.")] = "json",
) -> None:
    """Print the start and end of each word of a known transcript."""
    from asr_adapt.formats import writers
    from asr_adapt.storage import read_lines

    if format not in writers.WRITERS:
        raise InputError(f"no format '{format}'", place="--format", remedy=f"Known: {', '.join(writers.WRITERS)}.")
    lines = read_lines(text)
    from asr_adapt.inference.transcriber import Transcriber

    aligned = Transcriber.from_folder(model).align(audio, lines)
    print(writers.written(aligned, format, writers.Media(audio)), end="")


@app.command(context_settings=_CORPUS_COMMAND)
def evaluate(
    context: typer.Context,
    model: Annotated[Path, typer.Option(help="Model folder, such as a run's model/.")],
    corpus: Annotated[str, typer.Option(metavar="PATH", help=_CORPUS_HELP)],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json; default: evaluation-SPLIT.")] = None,
    audio: _AUDIO = True,
    names: _NAMES = False,
    no_lm: _NO_LM = False,
    allow_trained: _ALLOW_TRAINED = False,
) -> None:
    """Score a model on a corpus.

    Prints WER and CER with intervals, and writes report.html. Corpus fields may follow.
    """
    from asr_adapt.console import Console
    from asr_adapt.workflows.model_folder import evaluate_folder

    out = out or Path(f"evaluation-{split}")
    source = _source(corpus, context.args)
    evaluate_folder(model, source, split, out, Console(), sound=audio, names=names, use_ngram=not no_lm,
                    allow_trained=allow_trained or source.allow_trained)  # fmt: skip


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Run folder, or the --out of evaluate.")],
    model: Annotated[
        Path | None, typer.Option(help="Model that was evaluated; needed unless DIR is a run folder.")
    ] = None,
    audio: _AUDIO = True,
    names: _NAMES = False,
) -> None:
    """Rewrite report.html without transcribing again. It is made of metrics.json and hypotheses.jsonl."""
    from asr_adapt.console import Console
    from asr_adapt.report.write import write_page

    Console().say(f"report: {write_page(folder, model, sound=audio, names=names)}")


@app.command()
def compare(
    systems: Annotated[
        list[Path],
        typer.Argument(
            metavar="BASELINE SYSTEM...",
            help="Run folders or their models, --out folders of evaluate, hypotheses.jsonl, .trn, Kaldi text.",
        ),
    ],
    json: Annotated[Path | None, typer.Option(help="Write the comparison as JSON to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the comparison as an HTML page to this file.")] = None,
    audio: _AUDIO = True,
    names: Annotated[bool, typer.Option("--names", help="Name speakers and clips; default: numbered.")] = False,
    allow_trained: _ALLOW_TRAINED = False,
) -> None:
    """Compare systems on one test set with the first of them.

    Prints paired intervals and significance.
    """
    from asr_adapt.console import Console
    from asr_adapt.stages import compare as stage
    from asr_adapt.storage import unwritable_as_error, write_text

    if len(systems) < 2:
        raise InputError("only one system was given", place="compare", remedy="Give a baseline and another system.")
    baseline = stage.System.read(systems[0])
    read = [baseline, *(stage.System.read(path, baseline) for path in systems[1:])]
    result = stage.compare(read, Console(), names=names, allow_trained=allow_trained)
    if json:
        with unwritable_as_error(json, "Give another --json."):
            result.write_file(json)
    if html:
        with unwritable_as_error(html, "Give another --html."):
            write_text(html, stage.page(result, read[0], sound=audio))


@_model_verbs.command()
def seal(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Model folder.", show_default=False)],
) -> None:
    """Recompute the digests of a model's files after a deliberate edit; without it, an edited file is an error."""
    from asr_adapt.console import Console
    from asr_adapt.workflows.model_folder import seal_model

    seal_model(folder, Console())


@app.command()
def lm(
    texts: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[TEXT...]", help="Text files, one sentence per line.", show_default=False),
    ] = None,
    model: Annotated[Path, typer.Option(help="Model folder, such as a run's model/.")] = ...,  # type: ignore[assignment]
    order: Annotated[int, typer.Option(min=1, max=6, help="Order of the n-gram, in words.")] = 3,
    tune: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Corpus whose dev split tunes the n-gram weights; default: the run's."),
    ] = None,
    allow_trained: _ALLOW_TRAINED = False,
) -> None:
    """Add a word n-gram of the training text and TEXT.

    It is used from then on if it lowers the WER on dev.
    """
    from asr_adapt.console import Console
    from asr_adapt.workflows.model_folder import add_ngram

    source = _source(tune, []) if tune else None
    add_ngram(model, texts or [], order, source, Console(), allow_trained=allow_trained)


@app.command(context_settings=_CORPUS_COMMAND)
def export(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder.", show_default=False)],
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="onnx, onnx-int8, openvino; repeatable. Default: all that can run here.", show_default=False
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Measure accuracy and speed on the run's dev split.")
    ] = False,
    corpus: Annotated[
        str | None, typer.Option(metavar="PATH", help="Measure accuracy and speed on this corpus's dev split.")
    ] = None,
    allow_trained: _ALLOW_TRAINED = False,
) -> None:
    """Export a model to faster inference engines. They are measured on dev; --engine auto picks the best."""
    from asr_adapt.console import Console
    from asr_adapt.workflows.model_folder import export_engines

    source = _source(corpus, context.args) if corpus else None
    allow = allow_trained or bool(source and source.allow_trained)
    export_engines(model, engine or [], check, source, Console(), allow_trained=allow)


@app.command()
def serve(
    model: Annotated[list[str], typer.Option(metavar="[NAME=]DIR", help="Model folder of a run; repeatable.")],
    any_model: Annotated[
        bool,
        typer.Option(
            "--any-model", help="Serve the first model under every name, for clients that always ask for whisper-1."
        ),
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all interfaces.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 8000,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            help="API key required below /v1; repeatable. Command lines are visible to other users: prefer the "
            "environment variable ASR_ADAPT_API_KEYS, keys separated by spaces.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes, each with its own copy of the models.")] = 1,
    cors: Annotated[
        list[str] | None,
        typer.Option(help="Origin whose web pages may call the API (CORS); repeatable.", show_default=False),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Name by which clients may address the server, such as that of its reverse proxy; repeatable. IP "
            "addresses and localhost always may. '*' for any name.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda; default: the GPU where there is one.")] = None,
    engine: _ENGINE = "auto",
    no_lm: _NO_LM = False,
    max_upload_mb: Annotated[
        float, typer.Option(min=0, callback=_finite, help="Maximum size of a request body, in MB.")
    ] = 100,
    max_audio_s: Annotated[
        float, typer.Option(min=1, callback=_finite, help="Maximum duration of a recording, in seconds.")
    ] = 7200,
    max_requests: Annotated[
        int, typer.Option(min=1, help="Maximum number of concurrent requests; further ones get 429.")
    ] = 64,
    request_s: Annotated[
        float, typer.Option(min=1, callback=_finite, help="Time limit of a request, in seconds.")
    ] = 600,
    batch_s: Annotated[
        float,
        typer.Option(min=1, callback=_finite, help="Maximum seconds of audio per batch; use 60 or more on a GPU."),
    ] = 15,
    wait_ms: Annotated[
        float,
        typer.Option(
            min=0, callback=_finite, help="How long a segment waits for others to join its batch, in milliseconds."
        ),
    ] = 5,
) -> None:
    """Serve models over HTTP.

    OpenAI's transcription API, live audio, and a web page. SIGTERM shuts down gracefully.
    """
    try:
        from asr_adapt.serve import server
    except ImportError as error:
        raise InputError(
            f"{error.name} is not installed", place="serve", remedy="pip install 'asr-adapt[serve]'"
        ) from error
    import os

    from asr_adapt.console import Console
    from asr_adapt.serve.limits import Limits

    limits = Limits(
        upload_bytes=int(max_upload_mb * 2**20),
        audio_s=max_audio_s,
        requests=max_requests,
        request_s=request_s,
        batch_s=batch_s,
        batch_wait_s=wait_ms / 1000,
    )
    server.let_idle_threads_sleep()
    keys = server.parse_api_keys(api_key or (), os.environ.get(server.API_KEYS_VARIABLE))
    settings = server.Settings(
        models=server.parse_models(model),
        limits=limits,
        api_keys=keys,
        origins=tuple(cors or ()),
        allowed_hosts=(*(allowed_host or ()), host),
        any_model=any_model,
        device=device,
        engine=engine,
        use_ngram=not no_lm,
    )
    server.serve(settings, host, port, workers, Console())


def run_recipe(recipe: Any, arguments: Sequence[str] | None = None, name: str | None = None) -> Any:
    """Run a recipe, its fields overridden by `--section.field value`, and return its `Metrics`.

    Recipe scripts end with this call: a mistake in the input is then one line and exit code 2. In a notebook or an
    interactive session the process's arguments are not the recipe's, and mistakes raise `InputError`.

    Args:
        recipe: The script's RECIPE.
        arguments: Command line; default: the script's own, none in a notebook.
        name: Name of the run folder below `runs/`, unless `--out` is given; default: the script's name, in a notebook
            the language.
    """
    if arguments is None and not _is_interactive():
        script = Path(sys.argv[0])
        with one_line_errors():
            return _run_with(recipe, sys.argv[1:], name or script.stem, script.name)
    name = name or recipe.language
    return _run_with(recipe, list(arguments or ()), name, f"{name}.py")


def _run_with(recipe: Any, arguments: list[str], name: str, script: str) -> Any:
    from asr_adapt import recipe_options
    from asr_adapt.console import Console

    overridden, out = recipe_options.override(recipe, arguments, name, script)
    from asr_adapt.workflows.run import run as run_stages

    process_exit.begin_work()
    return run_stages(overridden, out, Console())


def _is_interactive() -> bool:
    """Whether this is a notebook or an interactive interpreter."""
    ipython = sys.modules.get("IPython")
    return hasattr(sys, "ps1") or (ipython is not None and ipython.get_ipython() is not None)


def _source(root: str, arguments: list[str]) -> Any:
    """Return the corpus at `root`, with the fields that `--corpus.FIELD value` sets."""
    from asr_adapt import recipe_options
    from asr_adapt.recipe import recipe_from

    recipe = recipe_from({"language": "und", "corpus": {"root": root}}, "command line")
    return recipe_options.override(recipe, arguments)[0].corpus
