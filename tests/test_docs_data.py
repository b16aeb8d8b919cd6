"""docs/data.md does what it says: each of its commands runs, in its order, on miniatures of the archives."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import miniatures
import pytest
from command_line import call

from negprompt.data.imagenet import ImageNetID

DOCUMENT = Path(__file__).parents[1] / "docs" / "data.md"
BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SHOTS = 2
LIGHT = f"data.num_shots={SHOTS} features.views=1 trainer=cpu trainer.progress_bar=false backbone=tiny_rn"
SHORT = "method.optimizer.epochs=1 method.optimizer.min_steps=0"
SHORT_POSITIVE = "method.positive.optimizer.epochs=1 method.positive.optimizer.min_steps=0"
FEW = "data.keep_classes=[n01440764,n01443537,n01484850]"
PARTLY = f"counts=any data.num_shots={SHOTS}"


class Made(NamedTuple):
    """How a command becomes one for miniatures: overrides put behind it, and what it must say."""

    extra: str
    says: str


# By the beginning of the command; the longest one that fits counts.
MINIATURE = {
    "negprompt data list": Made("", "iNaturalist"),
    "negprompt data verify": Made("", "whole"),
    "negprompt data verify imagenet_1k": Made(PARTLY, "no problem in"),
    "negprompt data verify conventional": Made(PARTLY, "no problem in"),
    "negprompt data verify folder": Made(PARTLY, "no problem in"),
    "negprompt data verify openood": Made("counts=any data.num_shots=1", "no problem and 6 warnings in"),
    "negprompt data prepare": Made(f"data.num_shots={SHOTS} workers=1", "use them with data.shards=shards/"),
    "negprompt train experiment=table2": Made(f"{LIGHT} {FEW}", "reused runs/imagenet_1k"),
    "negprompt train experiment=table2 method=coop": Made(f"{LIGHT} {FEW} {SHORT}", "written to runs/imagenet_1k/coop"),
    "negprompt train --multirun experiment=table2": Made(f"{LIGHT} {FEW}", "4 done"),
    "negprompt train experiment=table3": Made(LIGHT, "written to runs/imagenet_hard_4"),
    "negprompt train experiment=openood": Made(f"{LIGHT} data.num_shots=1", "written to runs/openood"),
    "negprompt train data=tiny_imagenet": Made(LIGHT, "written to runs/tiny_imagenet"),
    "negprompt train data=folder": Made(LIGHT, "runs/folder/zero_shot"),
    "negprompt train data=folder data.root=mine data.class_names": Made(
        f"{LIGHT} {SHORT} {SHORT_POSITIVE}", "written to runs/folder/negprompt"
    ),
    "negprompt train data=csv": Made(LIGHT, "written to runs/csv"),
    "negprompt train data=imglist": Made(LIGHT, "written to runs/imglist"),
    "negprompt train data=webdataset": Made(LIGHT, "written to runs/webdataset"),
    "negprompt search data=folder": Made(f"{LIGHT} {SHORT} {SHORT_POSITIVE} search.trials=1", "negprompt train"),
    "negprompt report": Made("", "written to report"),
}


def blocks(kind: str) -> list[str]:
    return [match["text"] for match in BLOCK.finditer(DOCUMENT.read_text(encoding="utf-8")) if match["kind"] == kind]


def lines() -> list[str]:
    """What users are told to type."""
    return [line for block in blocks("console") for line in block.splitlines()]


def made(command: str) -> tuple[str, Made]:
    """The beginning by which a command is known, and what becomes of it."""
    known = [start for start in MINIATURE if command.startswith(start)]
    assert known, f"{command!r} of docs/data.md is not in MINIATURE: say how it runs on miniatures"
    start = max(known, key=len)
    return start, MINIATURE[start]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder with the archives as docs/data.md unpacks them, and pictures of one's own."""
    folder = tmp_path_factory.mktemp("home")
    archives = folder / "archives"
    miniatures.imagenet(archives / "imagenet_1k", val="flat")
    miniatures.conventional(archives)
    miniatures.openood(archives / "openood")
    miniatures.tiny_imagenet(archives, train_per_class=SHOTS)
    miniatures.folder(folder / "mine")
    miniatures.ood_folder(folder / "others")
    miniatures.csv_file(folder / "table")
    miniatures.imglist_files(folder)
    (names,) = (block for block in blocks("text") if block.startswith("class,name"))
    (folder / "names.csv").write_text(names)
    keys = FEW.partition("[")[2].rstrip("]").split(",")
    drawn = folder / "drawn"
    colleague = ImageNetID(
        name="imagenet_1k", num_shots=SHOTS, data_root=str(archives), manifests_dir=str(drawn), keep_classes=keys
    )
    colleague.load(seed=1)
    (manifest,) = drawn.iterdir()
    manifest.rename(folder / "from_a_colleague.json")
    return folder


def test_every_line_of_a_console_block_is_run():
    commands = [line for line in lines() if not line.startswith("export ")]
    assert len(commands) > 15
    assert all(command.startswith("negprompt ") for command in commands)
    assert {made(command)[0] for command in commands} == set(MINIATURE)


@pytest.mark.slow
def test_the_commands_work_in_their_order(home, monkeypatch, capsys):
    monkeypatch.chdir(home)
    for line in lines():
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            monkeypatch.setenv(name, value.replace("$HOME", str(home)))
            continue
        _, command = made(line)
        words = shlex.split(f"{line} {command.extra}")[1:]
        code = call(*words)
        said = capsys.readouterr()
        assert code == 0, f"{line}\n{said.out}\n{said.err}"
        assert command.says in said.out, f"{line}\n{said.out}\n{said.err}"
    assert os.environ["NEGPROMPT_DATA"] == str(home / "archives")


def test_the_python_example_runs(home, monkeypatch, capsys):
    (code,) = blocks("python")
    monkeypatch.chdir(home)
    exec(compile(code, str(DOCUMENT), "exec"), {})
    sets, shape = capsys.readouterr().out.split("\n")[-3:-1]
    assert sets == "dict_keys(['id', 'ood/iNaturalist', 'ood/SUN', 'ood/Places', 'ood/Texture'])"
    assert shape == "torch.Size([32, 3, 224, 224])"


def test_links_of_the_document_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", DOCUMENT.read_text(encoding="utf-8")):
        assert (DOCUMENT.parent / target).exists(), target
