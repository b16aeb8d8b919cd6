"""A small whole benchmark, what `verify` says of it, and ways to damage it."""

from __future__ import annotations

import os
import shutil

import miniatures
import numpy as np
from PIL import Image

from negprompt.data.conventional import ConventionalOOD
from negprompt.data.imagenet import ImageNetID
from negprompt.data.verification.verify import Wanted, verify

ANY = Wanted(counts="any")
IDS = miniatures.resource("wordnet_ids.txt")[:3]
TENCH, GOLDFISH, SHARK = IDS


def photo(seed, size=(96, 72)):
    """A picture that shows enough to be told from others when it is saved again; the miniatures are too plain."""
    values = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


def save(image, path, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "JPEG", **how)
    return path


def first(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())[0]


def copied(source, target):
    """A tree whose files can be replaced and deleted; those that are written into must be copied first."""
    return shutil.copytree(source, target, copy_function=os.link)


def own(path):
    """A file that is no link to the undamaged tree's any more."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    return path


def said(problem):
    return " ".join([problem.what, *problem.examples, problem.fix])


def found(report, set_name, *fragments):
    """The one problem of a set that says all of this; it has a remedy, or is one in itself."""
    hits = [one for one in report.problems if one.set_name == set_name and all(text in said(one) for text in fragments)]
    assert len(hits) == 1, "\n".join(map(str, report.problems))
    return hits[0]


def whole_benchmark(root):
    """ImageNet of three classes and the four conventional sets; two pictures of SUN show enough to be compared."""
    miniatures.imagenet(root / "imagenet_1k", wordnet_ids=IDS, train_per_class=3, val_per_class=2)
    miniatures.conventional(root, per_set=3)
    for number in range(2):
        save(photo(number), root / "SUN" / "images" / f"sun_photo{number}.jpg", quality=90)
    return root


def imagenet(root, **settings):
    kept = {"keep_classes": list(IDS), "manifests_dir": str(root / "manifests"), **settings}
    return ImageNetID(name="imagenet_1k", num_shots=2, data_root=str(root), **kept)


def look(root, wanted=ANY, **how):
    return verify(imagenet(root), ConventionalOOD(name="conventional", data_root=str(root)), wanted, **how)


def delete_class(root):
    shutil.rmtree(root / "imagenet_1k" / "train" / TENCH)


def leave_one_picture(root):
    for path in sorted((root / "imagenet_1k" / "train" / TENCH).iterdir())[1:]:
        path.unlink()


def truncate(root):
    miniatures.truncate(own(first(root / "imagenet_1k" / "train" / SHARK)))
