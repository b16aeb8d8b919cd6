"""`negprompt import`."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import yaml
from pydantic import Field
from rich.console import Console

from negprompt.backbones.base import BackboneSettings
from negprompt.cli.build import build_request, settings, target
from negprompt.data.base import IDSets, num_train_classes
from negprompt.errors import RunError
from negprompt.methods.imported import ImportedSettings
from negprompt.prompts import bundle as bundles
from negprompt.prompts.importers.bundle import Negatives, Training, choose_negatives, to_bundle
from negprompt.prompts.importers.checks import check_backbone
from negprompt.prompts.importers.formats import FORMATS, FormatName, read_file
from negprompt.prompts.importers.training import borne_out, settle_full_stop
from negprompt.prompts.template import ClassTokenPosition, PromptLayout
from negprompt.request import SCHEMA
from negprompt.runs.finished import IMPORTED
from negprompt.runs.folder import RunFolder
from negprompt.settings import Settings, settings_target
from negprompt.types import PromptBundle

ALONE = True  # one process is enough

_OURS = ("config.yaml", bundles.FILE_NAME, IMPORTED)
_MADE_WITH_IT = "evaluation"


class ImportSettings(Settings):
    """Settings of the command itself."""

    file: Annotated[str, Field(min_length=1)]
    output: Annotated[str, Field(min_length=1)]
    format: FormatName
    negatives: Negatives
    seed: Annotated[int, Field(ge=0, lt=2**32)]


class LayoutSettings(Settings):
    """How the prompts were put together; `full_stop` None for what the file shows, or else what its format does."""

    class_token_position: ClassTokenPosition
    full_stop: bool | None


class Parts(NamedTuple):
    """Checked settings of one import."""

    top: ImportSettings
    layout: LayoutSettings
    backbone: BackboneSettings
    data: IDSets


def check(config: dict[str, Any]) -> None:
    """Refuse bad settings before anything is read."""
    parts = _parts(config)
    parts.backbone.check()
    build_request(_run_config(config, ImportedSettings(name="imported")))
    _refuse_taken(Path(parts.top.output))


def job(config: dict[str, Any]) -> None:
    """Read the file, check it against backbone and class names, and write what evaluate and stage 2 read."""
    parts = _parts(config)
    bundle = _bundle(parts)
    layout = bundles.layout(bundle)
    method = ImportedSettings(
        name=bundle.metadata["method"],
        num_context_tokens=layout.num_context_tokens,
        class_token_position=layout.class_token_position,
        full_stop=layout.full_stop,
        class_specific=bundles.is_class_specific(bundle),
        num_negatives=0 if bundle.negative is None else bundle.negative.shape[-3],
    )
    folder = RunFolder(Path(parts.top.output))
    _write(folder, bundle, _run_config(config, method))
    console = Console()
    for line in (_summary(method, bundle), f"written to {folder.path}"):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _parts(config: dict[str, Any]) -> Parts:
    return Parts(
        settings(ImportSettings, {key: config[key] for key in ImportSettings.model_fields}, ""),
        settings(LayoutSettings, config["method"], "method"),
        target(BackboneSettings, config["backbone"], "backbone"),  # type: ignore[type-abstract]
        target(IDSets, config["data"], "data"),  # type: ignore[type-abstract]
    )


def _bundle(parts: Parts) -> PromptBundle:
    prompts, source = read_file(Path(parts.top.file), parts.top.format)
    prompts = choose_negatives(prompts, parts.top.negatives)
    backbone = parts.backbone.build()
    check_backbone(prompts, backbone)
    names = parts.data.names()
    trained = names[: num_train_classes(len(names), parts.data.class_fraction)]
    usual = FORMATS[source.format].full_stop
    borne = borne_out(prompts, parts.data.name, trained, usual, backbone)
    full_stop = settle_full_stop(parts.layout.full_stop, borne.full_stop, usual)
    layout = PromptLayout(prompts.positive.shape[-2], parts.layout.class_token_position, full_stop)
    training = Training(borne.class_names, parts.top.seed, parts.data.num_shots, parts.data.class_fraction)
    return to_bundle(prompts, source, layout, training, backbone, SCHEMA)


def _run_config(config: dict[str, Any], method: ImportedSettings) -> dict[str, Any]:
    """What a run's config.yaml would say."""
    rest = {key: value for key, value in config.items() if key not in ("file", "output", "format", "negatives")}
    return {**rest, "stage_score": copy.deepcopy(config["score"]), "method": dict(settings_target(method))}


def _write(folder: RunFolder, bundle: PromptBundle, config: dict[str, Any]) -> None:
    content = bundles.to_bytes(bundle)
    _refuse_taken(folder.path)
    _refuse_other_prompts(folder.path, content)
    folder.create()
    folder.write_bytes("config.yaml", yaml.safe_dump(config, sort_keys=False).encode())
    folder.write_bytes(bundles.FILE_NAME, content)
    folder.write_bytes(IMPORTED, (json.dumps(bundle.metadata["imported_from"], indent=1) + "\n").encode())


def _refuse_taken(folder: Path) -> None:
    """Write into no folder with anything that an import has not left: least of all a run's."""
    if not folder.is_dir():
        return
    others = sorted(path.name for path in folder.iterdir() if path.name not in (*_OURS, _MADE_WITH_IT))
    if others:
        msg = f"output={folder} holds {', '.join(others[:5])}: name a folder that is new or empty."
        raise RunError(msg)


def _refuse_other_prompts(folder: Path, content: bytes) -> None:
    """The same import may be made again, and no other one in its place."""
    prompts = folder / bundles.FILE_NAME
    if prompts.is_file() and prompts.read_bytes() != content:
        msg = f"output={folder} holds other prompts: name another folder, or move this one away."
        raise RunError(msg)


def _summary(method: ImportedSettings, bundle: PromptBundle) -> str:
    kind = f"{len(bundle.positive)} class-specific contexts" if method.class_specific else "one shared context"
    negatives = f" and {method.num_negatives} negatives" if method.num_negatives else ""
    stop = "a full stop" if method.full_stop else "no full stop"
    return (
        f"{method.name}: {kind} of {method.num_context_tokens} tokens{negatives}, class name at the "
        f"{method.class_token_position}, {stop}, on {bundle.metadata['backbone']}"
    )
