"""What can be started from the page: for each verb its questions, and the command line that the answers make.

Paths never come from the page: it names things of the library by their ids, and results go below the studio's own
folder.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fewmask.errors import ConfigError
from fewmask.media.atomic import write_text
from fewmask.studio.context import Context
from fewmask.studio.library import Kind, Thing, read_manifest

_RECIPE = """\
# Made by the studio: fine-tuning of the bundled segmenter on what a person corrected.
class_agnostic = {class_agnostic}
sizes = [[224, 320], [288, 256]]
points = 1568

[augmentation]
scale = [0.8, 1.6]
turn = 5.0
colour = 0.2
paste = 0.3

[train]
steps = {steps}
batch_size = 4
learning_rate = 2e-4
schedule = "cosine"
warmup = 20
warmup_factor = 0.05
ema = 0.98
log_every = 10
checkpoint_every = 50
"""


@dataclass(frozen=True)
class Question:
    """One field of a form.

    Attributes:
        name: its key in the answers.
        label: for people.
        kind: what is answered: things of the library of these kinds, a choice, a number, or a word.
        of: the kinds of things, or the choices.
        many: several things.
        default: taken where nothing is answered.
        low: least number.
        high: largest number.
    """

    name: str
    label: str
    kind: Literal["thing", "choice", "number", "word"]
    of: tuple[str, ...] = ()
    many: bool = False
    default: str | float | None = None
    low: float = 0
    high: float = 1_000_000


@dataclass(frozen=True)
class Command:
    """A job as it will be queued."""

    title: str
    words: tuple[str, ...]
    made: tuple[Kind, Path] | None
    resumable: bool


@dataclass(frozen=True)
class Verb:
    """A verb of the page: its questions, and what makes the command of the answers."""

    name: str
    what: str
    questions: tuple[Question, ...]
    make: Callable[[Context, Mapping[str, Any]], Command]

    def described(self) -> dict[str, Any]:
        """For the page."""
        return {"name": self.name, "what": self.what, "questions": [asdict(question) for question in self.questions]}


def command_of(context: Context, verb: str, answers: Mapping[str, Any]) -> Command:
    """The command line for a verb and its answers.

    Raises:
        ConfigError: an unknown verb, or an answer that cannot be; the message names the field.
    """
    if verb not in VERBS:
        raise ConfigError(f"{verb[:40]!r} cannot be started from here; choose from {', '.join(VERBS)}")
    known = {question.name: question for question in VERBS[verb].questions}
    unknown = set(answers) - set(known)
    if unknown:
        raise ConfigError(f"{verb}: {min(unknown)[:40]!r} is no field of this form")
    checked = {name: _checked(context, question, answers.get(name)) for name, question in known.items()}
    return VERBS[verb].make(context, checked)


def new_folder(context: Context, kind: str, name: str) -> Path:
    """A folder below the studio's own that no other job writes into."""
    stem = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)[:60] or "job"
    number = 1
    while (path := context.out / kind / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir()  # taken, though still empty, which every verb allows
    return path


def _checked(context: Context, question: Question, value: Any) -> Any:
    where = f"{question.label}:"
    if question.kind == "thing":
        ids = value if question.many else [value]
        if not isinstance(ids, list) or not ids or not all(isinstance(one, str) for one in ids):
            raise ConfigError(f"{where} choose {'at least one' if question.many else 'one'}")
        found = [_thing(context, question, identity) for identity in ids]
        return found if question.many else found[0]
    if value is None or value == "":
        return question.default
    if question.kind == "choice":
        if value not in question.of:
            raise ConfigError(f"{where} choose from {', '.join(question.of)}")
        return value
    if question.kind == "number":
        if isinstance(value, bool) or not isinstance(value, int | float) or not question.low <= value <= question.high:
            raise ConfigError(f"{where} give a number from {question.low:g} to {question.high:g}")
        return value
    if not isinstance(value, str) or len(value) > 100 or not value.isprintable() or value.startswith("-"):
        raise ConfigError(f"{where} give a short name")
    return value.strip()


def _thing(context: Context, question: Question, identity: str) -> Thing:
    for thing in context.library.all():
        if thing.id == identity and thing.kind in question.of:
            return thing
    raise ConfigError(f"{question.label}: {identity[:20]!r} is not open; reload the page")


def _segment(context: Context, answers: Mapping[str, Any]) -> Command:
    video: Thing = answers["video"]
    out = new_folder(context, "runs", video.path.stem)
    words = ["segment", str(video.path), "--out", str(out), "--min-score", f"{answers['min_score']:g}"]
    weights = answers["weights"]
    if weights is not None and weights != "small":
        words += ["--weights", str(_trained(context, weights))]
    return Command(f"Segment {video.title}", tuple(words), ("run", out), resumable=True)


def _index(context: Context, answers: Mapping[str, Any]) -> Command:
    videos: Sequence[Thing] = answers["videos"]
    out = new_folder(context, "pools", answers["name"])
    words = ["index", *(str(video.path) for video in videos), "--out", str(out)]
    return Command(f"Index {len(videos)} videos as {out.name}", tuple(words), ("pool", out), resumable=False)


def _mine(context: Context, answers: Mapping[str, Any]) -> Command:
    videos: Sequence[Thing] = answers["videos"]
    out = new_folder(context, "mined", answers["name"])
    words = ["mine", *(str(video.path) for video in videos), "--out", str(out)]
    words += ["--frame-step", f"{answers['frame_step']:g}", "--keep-every", f"{answers['keep_every']:g}"]
    words += ["--workers", "1"]
    return Command(f"Mine {len(videos)} videos as {out.name}", tuple(words), ("dataset", out), resumable=True)


def _refine(_: Context, answers: Mapping[str, Any]) -> Command:
    dataset: Thing = answers["dataset"]
    command = read_manifest(dataset.path).get("command", [])
    if not isinstance(command, list) or "mine" not in command:
        raise ConfigError(f"{dataset.title}: its manifest does not say how it was mined; refine it by `fewmask mine`")
    words = [str(word) for word in command[command.index("mine") :] if word != "--resume"]
    words += ["--resume", "--refine", "finetune", "--refine-steps", f"{answers['steps']:g}"]
    return Command(f"Refine on {dataset.title}", tuple(words), None, resumable=True)


def _train(context: Context, answers: Mapping[str, Any]) -> Command:
    data: Thing = answers["data"]
    out = new_folder(context, "trained", answers["name"])
    recipe = context.out / "recipes" / f"{out.name}.toml"
    classes = "true" if answers["classes"] == "objects of any kind" else "false"
    write_text(recipe, _RECIPE.format(class_agnostic=classes, steps=int(answers["steps"])))
    source = data.path if data.kind == "run" else _reviewed(data.path)
    words = ["train", "minvis", str(recipe), "--data", str(source), "--start-from", "small", "--out", str(out)]
    return Command(f"Train {out.name} on {data.title}", tuple(words), None, resumable=True)


def _reviewed(dataset: Path) -> Path:
    """A mined dataset's annotations, without what was rejected where that was written."""
    reviewed = dataset / "instances.reviewed.json"
    return reviewed if reviewed.exists() else dataset / "instances.json"


def _trained(context: Context, name: str) -> Path:
    """The weights of a training started from the page."""
    folder = context.out / "trained" / name / "weights"
    if Path(name).name != name or not folder.is_dir():
        raise ConfigError(f"weights: {name!r} was not trained here; choose small, or the name of a finished training")
    return folder


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            "segment",
            "every object of a video, with ids",
            (
                Question("video", "Video", "thing", ("video",)),
                Question("min_score", "Least score that is shown", "number", default=0.3, high=1),
                Question("weights", "Weights: small, or the name of a training", "word", default="small"),
            ),
            _segment,
        ),
        Verb(
            "index",
            "a pool of clips that can be searched",
            (
                Question("videos", "Videos", "thing", ("video",), many=True),
                Question("name", "Name", "word", default="pool"),
            ),
            _index,
        ),
        Verb(
            "mine",
            "masks from unlabelled videos, as a dataset to review",
            (
                Question("videos", "Videos", "thing", ("video",), many=True),
                Question("name", "Name", "word", default="mined"),
                Question("frame_step", "Look at one frame in", "number", default=5, low=1, high=1000),
                Question("keep_every", "Keep one of those in", "number", default=2, low=1, high=1000),
            ),
            _mine,
        ),
        Verb(
            "refine",
            "the segmenter, on the masks that were mined",
            (
                Question("dataset", "Mined dataset", "thing", ("dataset",)),
                Question("steps", "Steps", "number", default=150, low=1, high=100_000),
            ),
            _refine,
        ),
        Verb(
            "train",
            "a segmenter, on corrected frames or a reviewed dataset",
            (
                Question("data", "Corrected run or reviewed dataset", "thing", ("run", "dataset")),
                Question("name", "Name", "word", default="mine"),
                Question(
                    "classes",
                    "What it learns",
                    "choice",
                    ("the classes by name", "objects of any kind"),
                    default="the classes by name",
                ),
                Question("steps", "Steps", "number", default=300, low=1, high=100_000),
            ),
            _train,
        ),
    )
}
