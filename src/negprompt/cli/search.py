"""`negprompt search`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field
from rich.console import Console

from negprompt.cli.arguments import Arguments, parse
from negprompt.cli.build import build_request, settings
from negprompt.cli.compose import compositions, plain
from negprompt.cli.sweep import children
from negprompt.cli.trial import Measured, measured
from negprompt.data.base import Declared, IDSets, refuse_test_pictures
from negprompt.errors import ConfigError, RunError, nearest
from negprompt.reports.search import progress, trials_csv, trials_figure, trials_table
from negprompt.request import Request
from negprompt.runs.folder import RunFolder, request_hash
from negprompt.scores.headline import headline_score
from negprompt.search import space as spaces
from negprompt.search.outcome import DIRECTIONS, Trial
from negprompt.settings import Settings

if TYPE_CHECKING:
    from negprompt.search.study import Study

ALONE = True
"""Its runs start the processes that trainer.devices asks for; the search itself is one."""

_DATA = "data=icons_val"  # what conf/search.yaml chooses in place of train's
_OWN = ("search", "search_space")
_NOT_DEFINING = {"space", "trials", "timeout_min", "output"}
_CHOOSE = ("data=icons_val", "ood=icons_val", "data.part=val", "ood.part=val")


def _distinct(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        msg = "names a seed twice: a run with an equal seed is the same run"
        raise ValueError(msg)
    return seeds


class SearchSettings(Settings):
    """The `search` node."""

    space: dict[str, Any] | None
    trials: Annotated[int, Field(ge=1)]
    metric: Literal["auroc", "aupr_in", "aupr_out", "fpr95_id_positive", "fpr95_ood_positive"]
    score: str | None
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1), AfterValidator(_distinct)]
    sampler: Literal["tpe", "random"]
    sampler_seed: Annotated[int, Field(ge=0)]
    timeout_min: Annotated[float, Field(gt=0)] | None
    output: str | None


class Plan(NamedTuple):
    """A checked search: what `train` is called with, and where everything goes."""

    search: SearchSettings
    space: spaces.Space
    request: Request
    config: dict[str, Any]
    words: tuple[str, ...]
    folder: Path


def check(config: dict[str, Any]) -> None:
    """Refuse bad settings, test pictures and a missing Optuna before anything runs."""
    from negprompt.search import study  # noqa: F401 -- says how to get Optuna

    plan = _plan(config)
    plan.request.check()
    refuse_test_pictures(plan.request.data, plan.request.ood)
    chosen = plan.request.chosen_scores()
    if plan.search.score is not None and plan.search.score not in chosen:
        msg = f"search.score={plan.search.score}: the runs do not have it; {nearest(plan.search.score, chosen)}."
        raise ConfigError(msg)
    _refuse_values(plan)
    RunFolder(plan.folder).create()


def job(config: dict[str, Any]) -> None:
    """Run the trials that are missing, and write what was found."""
    from negprompt.search.study import Study

    plan = _plan(config)
    search = plan.search
    console = Console()
    direction = DIRECTIONS[search.metric]
    with Study.opened(
        plan.folder, _definition(plan), plan.space, search.sampler, search.sampler_seed, direction
    ) as study:
        ended = [trial for trial in study.trials if trial.state != "running"]
        if ended:
            console.print(f"going on in {plan.folder}, trials before: {len(ended)}", highlight=False, soft_wrap=True)
        with children.forked({}, own_session=True):
            _search(plan, study, console)
        trials, best = study.trials, study.best
    _report(plan, trials, best, console)


def _search(plan: Plan, study: Study, console: Console) -> None:
    """Trial after trial, at least one, until there are enough or the time is over."""
    search = plan.search
    first = spaces.current(plan.space, plan.config)
    end = None if search.timeout_min is None else time.monotonic() + 60 * search.timeout_min
    while sum(trial.state != "running" for trial in study.trials) < search.trials:
        trial = study.next(first)
        started = time.monotonic()
        outcome = _tried(plan, trial)
        notes = {**outcome.notes, "seconds": round(time.monotonic() - started, 1)}
        if outcome.value is None:
            study.failed(trial, outcome.error, notes)
        else:
            study.done(trial, outcome.value, notes)
        line = progress(study.trials[trial.number], study.best, search.trials, search.metric)
        console.print(line, highlight=False, soft_wrap=True)
        if end is not None and time.monotonic() > end:
            console.print(f"search.timeout_min={search.timeout_min:g} is over; the same command goes on.")
            return


def _refuse_values(plan: Plan) -> None:
    """Refuse a space with a choice or an end that a run would refuse."""
    samples = {name: part.samples for name, part in plan.space.items()}
    for place in range(max(map(len, samples.values()))):
        together = {name: values[min(place, len(values) - 1)] for name, values in samples.items()}
        try:
            _composed([*plan.words, *spaces.overrides(together)])[1].check()
        except ConfigError:  # of one of them, or of several that do not go together, which is a trial that fails
            for name, value in together.items():
                _refuse_value(plan, name, value)


def _refuse_value(plan: Plan, name: str, value: spaces.Value) -> None:
    try:
        _composed([*plan.words, *spaces.overrides({name: value})])[1].check()
    except ConfigError as error:
        msg = f"search.space.{name} has {value}, which a run refuses: {error}"
        raise ConfigError(msg) from error


def _tried(plan: Plan, trial: Trial) -> Measured:
    words = [*plan.words, *spaces.overrides(trial.params)]
    logs = plan.folder / "logs"

    def value(metrics: Mapping[str, Any]) -> dict[str, float]:
        score = headline_score(metrics["scores"]) if plan.search.score is None else plan.search.score
        return {"id_accuracy": metrics["id_accuracy"], **metrics["scores"][score]["mean"]}

    return measured(words, plan.search.seeds, plan.search.metric, value, logs / f"trial{trial.number + 1}")


def _report(plan: Plan, trials: Sequence[Trial], best: Trial | None, console: Console) -> None:
    """Table, trials.csv, best.txt and trials.png."""
    folder, metric = RunFolder(plan.folder), plan.search.metric
    folder.write_bytes("trials.csv", trials_csv(trials, list(plan.space), metric).encode())
    if best is None:
        failed = [trial for trial in trials if trial.state == "failed"]
        msg = f"none of {len(trials)} trials has a value; the first: {failed[0].error if failed else 'not finished'}"
        raise RunError(msg)
    console.print(trials_table(trials, metric))
    words = spaces.overrides(best.params)
    folder.write_bytes("best.txt", "".join(f"{shlex.quote(word)}\n" for word in words).encode())
    log_scaled = {name for name, part in plan.space.items() if isinstance(part, spaces.Range) and part.log}
    trials_figure(trials, metric, log_scaled, folder.path / "trials.png")
    lines = (
        f"These are figures of validation pictures ({plan.request.data.name}), the best of {len(trials)} trials: "
        "report those of test pictures, from runs with the chosen settings.",
        f"The best settings on test pictures: {shlex.join(['negprompt', 'train', *_for_test(plan), *words])}",
        f"written to {folder.path}",
    )
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _for_test(plan: Plan) -> list[str]:
    """The words of a search without those that choose validation pictures; what is one's own must be named anew."""
    words = [word for word in plan.words if word not in _CHOOSE and _key(word) != "resume"]
    if not isinstance(plan.request.data, Declared):
        return words
    shared = {f"data.{name}" for name in IDSets.model_fields if name != "name"}
    kept = [
        word for word in words if _group(word) not in ("data", "ood") or ".".join(_key(word).split(".")[:2]) in shared
    ]
    return [*kept, "data=...", "ood=..."]


def _plan(config: Mapping[str, Any]) -> Plan:
    search = settings(SearchSettings, config["search"], "search")
    arguments = _arguments()
    if arguments.multirun:
        msg = "search has no --multirun: what varies stands in search.space, and search.seeds lists seeds."
        raise ConfigError(msg)
    if any(_key(word) == "seed" for word in arguments.overrides):
        msg = "seed: a search takes the mean over its seeds: set search.seeds=[1,2,3] in place of it."
        raise ConfigError(msg)
    run_config = {key: value for key, value in config.items() if key not in _OWN}
    words = _train_words(arguments, run_config)
    request = build_request(run_config)
    space = spaces.parse({**(config.get("search_space") or {}), **(search.space or {})}, run_config)
    plan = Plan(search, space, request, run_config, words, Path())
    name = f"{request.data.name}-{request.method.name}-{request.backbone.name}-{request_hash(_definition(plan))[:8]}"
    folder = Path(plan.request.runs_dir) / "_search" / name if search.output is None else Path(search.output)
    return plan._replace(folder=folder)


def _definition(plan: Plan) -> dict[str, Any]:
    """What two searches must share to be one: all that changes a trial's settings or its value."""
    request, search = plan.request, plan.search
    backbone = {key: value for key, value in plan.config["backbone"].items() if key not in ("text_path", "text_chunk")}
    return {
        **{key: plan.config[key] for key in ("data", "ood", "method", "score", "features") if key in plan.config},
        "backbone": backbone,
        "trainer": request.trainer.hash_payload(),
        "search.space": {name: part.model_dump() for name, part in plan.space.items()},
        **{f"search.{key}": value for key, value in search.model_dump(exclude=_NOT_DEFINING).items()},
    }


def _train_words(arguments: Arguments, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Overrides of `train` that give the same run; the words of a search, and its data where nobody chose them."""
    given = [word for word in arguments.overrides if _group(word) not in _OWN]
    flags = [f"{name}={value}" for name, value in arguments.flags.items() if name == "--config-dir"]
    forms = [[*flags, _DATA, *given], [*flags, *given]]
    for words in reversed(forms) if any(_key(word) == "data" for word in given) else forms:
        composed = _composed(words)[0]
        if config == {key: value for key, value in composed.items() if key in config}:
            return tuple(words)
    msg = f"{' '.join(given)}: train understands these settings in another way than search; leave out what is special."
    raise ConfigError(msg)


def _composed(words: Sequence[str]) -> tuple[dict[str, Any], Request]:
    (composed,) = compositions("train", parse(words))
    config = plain(composed)
    return config, build_request(config)


def _arguments() -> Arguments:
    """The command line, as the user typed it or as it was sorted for Hydra."""
    words = sys.argv[1:]
    return parse(words[1:] if words[:1] == ["search"] else words)


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def _group(word: str) -> str:
    return _key(word).partition(".")[0]
