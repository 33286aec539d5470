"""The command line: parse, call, show. Heavy imports wait until a verb needs them."""

import contextlib
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from asr_adapt import __version__
from asr_adapt.errors import InputError

app = typer.Typer(
    help="Adapt speech recognition to languages that the big systems forget.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_PARTLY_DONE = 3
# What follows the script is the recipe's own.
_RECIPE_COMMAND = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
_CORPUS_COMMAND = {"allow_extra_args": True, "ignore_unknown_options": True}

_AUDIO = Annotated[
    bool, typer.Option("--audio/--no-audio", help="Put the worst utterances' recordings into report.html.")
]
_NAMES = Annotated[
    bool, typer.Option("--names", help="Call speakers and clips by name in report.html, not by number.")
]
_ENGINE = Annotated[
    str, typer.Option(help="torch, onnx, onnx-int8, openvino; auto: the fastest that export found no worse.")
]


def main() -> None:
    """Run `asr-adapt`; a mistake of the user's ends in one line and exit code 2."""
    with one_line_errors():
        try:
            status = app(standalone_mode=False)
        except TyperException as error:
            message = error.format_message()
            if "\n" in message:  # the help, where no verb was given
                print(message)
                raise SystemExit(2) from None
            raise InputError(message, place="command line", remedy="--help lists what there is.") from error
        raise SystemExit(status or 0)


@contextlib.contextmanager
def one_line_errors() -> Any:
    """Turn an `InputError` into one line on standard error and exit code 2."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Adapt speech recognition to languages that the big systems forget."""


@app.command(context_settings=_RECIPE_COMMAND)
def run(
    context: typer.Context,
    script: Annotated[Path, typer.Argument(metavar="RECIPE.py", help="A recipe script.", show_default=False)],
) -> None:
    """Prepare, train and evaluate a recipe: the same as running its script. RECIPE.py --help lists its fields."""
    if str(script) in {"--help", "-h"}:
        print(context.get_help())
        return
    run_recipe(_recipe_of(script), context.args, name=script.stem)


@app.command(context_settings=_RECIPE_COMMAND)
def transfer(
    context: typer.Context,
    script: Annotated[Path, typer.Argument(metavar="RECIPE.py", help="A recipe script.", show_default=False)],
) -> None:
    """Show what the base model brings: train from nothing, head only, feature encoder frozen, nothing frozen."""
    if str(script) in {"--help", "-h"}:
        print(context.get_help())
        return
    recipe, out = _overridden(_recipe_of(script), context.args, f"{script.stem}-transfer", str(script))
    from asr_adapt.console import Console
    from asr_adapt.workflows.transfer import transfer as measure

    measure(recipe, out, Console())


@app.command(context_settings=_CORPUS_COMMAND)
def new(
    context: typer.Context,
    language: Annotated[str, typer.Argument(metavar="LANGUAGE", help="Its BCP-47 tag, such as mi or sat-Olck.")],
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus's folder, archive, table or Hub name.")],
    base: Annotated[str | None, typer.Option(help="Base model; default: chosen by the hours.")] = None,
    out: Annotated[Path | None, typer.Option(help="The script; default: recipes/LANGUAGE.py.")] = None,
) -> None:
    """Look at a corpus and write a recipe for it. --corpus.tiers and every other field of a recipe may follow."""
    from asr_adapt.console import Console
    from asr_adapt.recipe import recipe_from
    from asr_adapt.stages import new as stage

    recipe = recipe_from({"language": language, "corpus": {"root": corpus}}, "LANGUAGE")
    recipe, _ = _overridden(recipe, context.args)
    script = out or Path("recipes") / f"{language.lower().replace('-', '_')}.py"
    stage.new(recipe, base, script, Console())


@app.command(context_settings=_CORPUS_COMMAND)
def doctor(
    context: typer.Context,
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus's folder, archive, table or Hub name.")],
    language: Annotated[str, typer.Option(help="Its BCP-47 tag.")] = "und",
    json: Annotated[Path | None, typer.Option(help="Where to write the findings as JSON.")] = None,
    html: Annotated[Path | None, typer.Option(help="Where to write a page.")] = None,
    fix: Annotated[Path | None, typer.Option(help="Where to write a .jsonl manifest of what is all right.")] = None,
    estimate: Annotated[bool, typer.Option(help="Time training steps on this machine.")] = True,
) -> None:
    """Say what is wrong with a corpus. --corpus.format, --model.base and every field of a recipe may follow."""
    from dataclasses import replace

    from asr_adapt.console import Console
    from asr_adapt.recipe import recipe_from
    from asr_adapt.stages import doctor as stage
    from asr_adapt.stages.doctor import machine

    fields = {"language": language, "corpus": {"root": corpus}, "model": {"base": "embedded"}}
    recipe, _ = _overridden(recipe_from(fields, "command line"), context.args)
    stage.refuse_places([place for place in (json, html) if place], fix)
    console = Console()
    examined = stage.examine(recipe, machine.grid(recipe), console)
    if estimate and not examined.fatal:
        examined = replace(examined, estimate=machine.estimate(recipe, examined.utterances, examined.hours["train"]))
    stage.show(examined, console)
    if json:
        stage.write_json(examined, json)
    if html:
        stage.write_page(examined, html)
    if fix:
        console.say(f"{fix}: {stage.write_mended(examined, fix)}")
    if examined.fatal:
        raise SystemExit(2)


@app.command()
def mms(
    language: Annotated[str, typer.Argument(metavar="LANGUAGE", help="Its BCP-47 tag, such as mi.")],
    base: Annotated[str, typer.Option(help="A checkpoint with adapters by language.")] = "facebook/mms-1b-all",
    adapter_language: Annotated[str | None, typer.Option(help="Its name there, where that is another.")] = None,
    out: Annotated[Path | None, typer.Option(help="Model folder; default: models/mms-LANGUAGE.")] = None,
) -> None:
    """Make a model folder of MMS's own adapter for a language, to transcribe and evaluate without training."""
    from asr_adapt.recipe import recipe_from

    wanted = {"language": language, "model": {"base": base, "adapter_language": adapter_language}}
    recipe = recipe_from(wanted, "command line")
    folder = out or Path("models") / f"mms-{language}"
    if folder.exists():
        raise InputError("is there already", place=folder, remedy="Give another --out.")
    from asr_adapt.console import Console
    from asr_adapt.model.head import zero_shot

    made = zero_shot(recipe.model, language)
    made.save(folder)
    console = Console()
    console.say(f"model: {folder} ({len(made.alphabet) - 2} letters, not trained here)")
    console.say(f"next: asr-adapt evaluate --model {folder} --corpus DIR")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/demo"),
) -> None:
    """Adapt the embedded base model to the embedded corpus, score unseen speech, transcribe a file. No network."""
    from asr_adapt.console import Console
    from asr_adapt.workflows import demo as embedded

    embedded.demo(out, Console())


@app.command()
def transcribe(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE_OR_DIR...",
            help="Audio files, folders of them, patterns ('clips/*.m4a'), .jsonl manifests; - is standard input.",
        ),
    ],
    model: Annotated[Path, typer.Option(help="A run's model/ folder.")],
    format: Annotated[str, typer.Option(help="txt, json, srt, vtt, tsv, textgrid or eaf.")] = "txt",
    out: Annotated[Path | None, typer.Option(help="Folder for <stem>.<format>; without it they are printed.")] = None,
    engine: _ENGINE = "auto",
    hotwords: Annotated[str, typer.Option(help="Words that are favoured, such as names, apart by spaces.")] = "",
) -> None:
    """Transcribe recordings of any length. Started again with the same --out, it does what is missing or newer."""
    from asr_adapt.console import Console
    from asr_adapt.formats import writers
    from asr_adapt.inference import engines, recordings
    from asr_adapt.stages import transcribe as stage

    if format not in writers.WRITERS:
        raise InputError(f"no format '{format}'", place="--format", remedy=f"Known: {', '.join(writers.WRITERS)}.")
    found = recordings.find(inputs)
    runner = engines.resolved(model, engine)
    favoured = hotwords.split()

    def load() -> Any:
        from asr_adapt.inference.transcriber import Transcriber

        return Transcriber.from_folder(model, engine=runner, hotwords=favoured)

    failed = stage.transcribe(load, model, found, format, out, Console(), runner, favoured)
    if failed:
        raise SystemExit(2 if failed == len(found) else _PARTLY_DONE)


@app.command()
def align(
    audio: Annotated[Path, typer.Argument(metavar="AUDIO", help="An audio file.")],
    text: Annotated[Path, typer.Argument(metavar="TEXT", help="What is said in it: a text file; a line, a segment.")],
    model: Annotated[Path, typer.Option(help="A run's model/ folder.")],
    format: Annotated[str, typer.Option(help="As of transcribe.")] = "json",
) -> None:
    """Print when each word of a text that is known is said."""
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
    model: Annotated[Path, typer.Option(help="A run's model/ folder.")],
    corpus: Annotated[Path, typer.Option(help="Folder of a corpus, or a .jsonl manifest.")],
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json; default: evaluation-SPLIT.")] = None,
    audio: _AUDIO = True,
    names: _NAMES = False,
) -> None:
    """Score a model on a corpus, with intervals and report.html. --corpus.tiers and other fields of it may follow."""
    from asr_adapt.console import Console
    from asr_adapt.workflows.model_folder import evaluate_folder

    out = out or Path(f"evaluation-{split}")
    evaluate_folder(model, _source(corpus, context.args), split, out, Console(), sound=audio, names=names)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run's folder, or --out of evaluate.")],
    model: Annotated[Path | None, typer.Option(help="The model that was evaluated; default: DIR/model.")] = None,
    audio: _AUDIO = True,
    names: _NAMES = False,
) -> None:
    """Write report.html again from metrics.json and hypotheses.jsonl; nothing is transcribed."""
    from asr_adapt.console import Console
    from asr_adapt.report import publish

    Console().say(f"report: {publish.page(folder, model, sound=audio, names=names)}")


@app.command()
def lm(
    texts: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[TEXT...]", help="Text files, a sentence a line.", show_default=False),
    ] = None,
    model: Annotated[Path, typer.Option(help="A run's model/ folder.")] = ...,  # type: ignore[assignment]
    order: Annotated[int, typer.Option(min=1, max=6, help="Words in the longest n-gram.")] = 3,
    tune: Annotated[Path | None, typer.Option(help="Corpus whose dev split chooses the weights.")] = None,
) -> None:
    """Put a word n-gram, of the run's training text and of TEXT, beside a model, which then decodes with it."""
    from asr_adapt.console import Console
    from asr_adapt.workflows.model_folder import add_ngram

    add_ngram(model, texts or [], order, _source(tune, []) if tune else None, Console())


@app.command(context_settings=_CORPUS_COMMAND)
def export(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A run's model/ folder.", show_default=False)],
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="onnx, onnx-int8, openvino; more than once. Default: all that can run.", show_default=False
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Measure them on the run's dev split.")] = False,
    corpus: Annotated[Path | None, typer.Option(help="Measure them on this corpus's dev split.")] = None,
) -> None:
    """Put engines beside a model that run it faster than PyTorch; measured on dev, --engine auto chooses by it."""
    from asr_adapt.console import Console
    from asr_adapt.workflows.model_folder import export_engines

    export_engines(model, engine or [], check, _source(corpus, context.args) if corpus else None, Console())


@app.command()
def serve(
    model: Annotated[list[str], typer.Option(metavar="[NAME=]DIR", help="A run's model/ folder; more than once.")],
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free.")] = 8000,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            help="Wanted for /v1; more than once. Others see it in the list of processes, so better set "
            "ASR_ADAPT_API_KEYS, keys apart by spaces.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with its own copy of the models.")] = 1,
    cors: Annotated[
        list[str] | None, typer.Option(help="A site whose pages may call it.", show_default=False)
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda; default: the GPU where there is one.")] = None,
    engine: _ENGINE = "auto",
    max_upload_mb: Annotated[float, typer.Option(min=0, help="In a request.")] = 100,
    max_audio_s: Annotated[float, typer.Option(min=1, help="Of a recording.")] = 7200,
    max_requests: Annotated[int, typer.Option(min=1, help="That are in at one time; the next gets 429.")] = 64,
    request_s: Annotated[float, typer.Option(min=1, help="That one request may take.")] = 600,
    batch_s: Annotated[float, typer.Option(min=1, help="Seconds that the model reads at once; more on a GPU.")] = 15,
    wait_ms: Annotated[float, typer.Option(min=0, help="A piece waits for others to share its batch.")] = 5,
) -> None:
    """Serve models: OpenAI's transcription API, live audio, a page to use by hand. SIGTERM ends it in order."""
    try:
        from asr_adapt.serve import server
    except ImportError as error:
        raise InputError(
            f"{error.name} is missing", place="serve", remedy="pip install 'asr-adapt[serve]'"
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
        wait_s=wait_ms / 1000,
    )
    keys = (*(api_key or ()), *os.environ.get("ASR_ADAPT_API_KEYS", "").split())
    settings = server.Settings(server.named(model), limits, keys, tuple(cors or ()), device, engine)
    server.serve(settings, host, port, workers, Console())


def run_recipe(recipe: Any, arguments: Sequence[str] | None = None, name: str | None = None) -> None:
    """Run a recipe with its fields overridden by `--section.field value`; what a recipe script calls.

    Args:
        recipe: The script's RECIPE.
        arguments: Command line; that of the process by default.
        name: Of the recipe; the script's by default. The run folder is `runs/NAME` unless `--out` says otherwise.
    """
    with one_line_errors():
        from asr_adapt.console import Console

        name = name or Path(sys.argv[0]).stem
        arguments = sys.argv[1:] if arguments is None else arguments
        wanted, out = _overridden(recipe, list(arguments), name, f"{name}.py")
        from asr_adapt.workflows.run import run as run_stages

        run_stages(wanted, out, Console())


def _recipe_of(script: Path) -> Any:
    """Return the RECIPE that a script defines."""
    if not script.is_file():
        raise InputError("no such recipe", place=script, remedy="Give the path of a recipe script.")
    from pydantic import ValidationError

    from asr_adapt.recipe import Recipe, field_error

    try:
        recipe = runpy.run_path(str(script)).get("RECIPE")
    except ValidationError as error:
        raise field_error(error, script) from error
    if not isinstance(recipe, Recipe):
        raise InputError("defines no RECIPE", place=script, remedy="A recipe script has RECIPE = Recipe(...).")
    return recipe


def _source(root: Path, arguments: list[str]) -> Any:
    """Return how the corpus at `root` is read, as `--corpus.FIELD value` says."""
    from asr_adapt.recipe import recipe_from

    recipe, _ = _overridden(recipe_from({"language": "und", "corpus": {"root": root}}, "command line"), arguments)
    return recipe.corpus


def _overridden(recipe: Any, arguments: list[str], name: str = "", script: str = "RECIPE.py") -> tuple[Any, Path]:
    """Return the recipe with the command line's values, and the run folder; `script --help` lists what there is."""
    from pydantic import ValidationError, create_model
    from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

    from asr_adapt.recipe import Recipe, field_error

    class CommandLine(BaseSettings):
        model_config = SettingsConfigDict(
            cli_prog_name=script,
            cli_exit_on_error=False,
            cli_avoid_json=True,
            cli_hide_none_type=True,
            cli_use_class_docs_for_groups=True,
            nested_model_default_partial_update=True,
            extra="forbid",
        )

        @classmethod
        def settings_customise_sources(
            cls, settings_cls: Any, init_settings: Any, *_: Any, **__: Any
        ) -> tuple[Any, ...]:
            """Read the command line alone; not the environment."""
            return (init_settings,)

    fields: dict[str, Any] = {field: (info.annotation, getattr(recipe, field))
                              for field, info in Recipe.model_fields.items()}  # fmt: skip
    parser: Any = create_model("parser", __base__=CommandLine, out=(Path, Path("runs") / name), **fields)
    try:
        parsed: Any = parser(_cli_parse_args=arguments)
        whole = Recipe.model_validate({field: getattr(parsed, field) for field in fields})
    except SettingsError as error:
        complaint = str(error).removeprefix("error parsing CLI: ")
        raise InputError(complaint, place="command line", remedy=f"{script} --help lists the fields.") from error
    except ValidationError as error:
        raise field_error(error, "command line") from error
    return whole, parsed.out
