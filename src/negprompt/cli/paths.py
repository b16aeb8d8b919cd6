"""Where the yaml files lie: inside an installed package, or beside `src/` in a checkout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from negprompt.errors import ConfigError


def conf_dir() -> Path:
    """Folder with the yaml files, as an absolute path.

    Raises:
        ConfigError: neither place has one, so the installation is damaged.
    """
    package = Path(__file__).resolve().parents[1]
    candidates = (package / "conf", package.parents[1] / "conf")
    for folder in candidates:
        if folder.is_dir():
            return folder
    msg = f"No yaml files at {' or '.join(map(str, candidates))}: install negprompt again, this copy is damaged."
    raise ConfigError(msg)


def options(group: str) -> list[str]:
    """Names of the yaml files of a group, none for what is no group of ours."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml")) if group else []


def data_set_named(words: Sequence[str]) -> list[str]:
    """Overrides for a data set that is given by its bare name: with the OOD sets of that name, or ImageNet with those.

    Example:
        >>> data_set_named(["icons", "seed=2"]), data_set_named(["conventional"])
        (['data=icons', 'ood=icons', 'seed=2'], ['data=imagenet_1k', 'ood=conventional'])
    """
    if not _starts_with_name(words):
        return list(words)
    name, *rest = words
    given = {word.partition("=")[0] for word in rest}
    unknown = name not in (*options("data"), *options("ood"))
    if unknown and not any(word.startswith("-") for word in rest):  # --config-dir may bring a set of that name
        return [f"data={name}", *rest]  # and Hydra says what data sets there are
    data = "imagenet_1k" if name in options("ood") and name not in options("data") else name
    overrides = {"data": data, "ood": name}
    return [*(f"{key}={value}" for key, value in overrides.items() if key not in given), *rest]


def entry_named(words: Sequence[str]) -> list[str]:
    """Overrides for one entry of the catalogue that is given by its bare name.

    Example:
        >>> entry_named(["ninco"]), entry_named(["paths.data_root=data"])
        (['name=ninco'], ['paths.data_root=data'])
    """
    return [f"name={words[0]}", *words[1:]] if _starts_with_name(words) else list(words)


def _starts_with_name(words: Sequence[str]) -> bool:
    return bool(words) and "=" not in words[0] and not words[0].startswith("-")
