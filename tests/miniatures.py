"""Miniatures of the public archives: their layouts and names, a few generated pictures, the same bytes every time."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import scipy.io
from PIL import Image

SEED = 0

# --- pictures ------------------------------------------------------------------------------------------------------


def _digest(*identity: object) -> bytes:
    """32 bytes that depend on nothing but the identity (numpy's generators may change with a release)."""
    return hashlib.sha256("\0".join(map(str, (SEED, *identity))).encode()).digest()


def _name(length: int, *identity: object) -> str:
    """Hexadecimal digits, as in the archives' names that are hashes."""
    return hashlib.sha256(_digest("name", *identity)).hexdigest()[:length]


def picture(*identity: object, kind: str = "JPEG", mode: str = "RGB", size: tuple[int, int] | None = None) -> bytes:
    """An encoded picture that is a function of its identity (set, class, ..., number).

    Pictures whose identities differ only in the last part look alike, so that the classes can be told apart.
    """
    own = _digest(*identity)
    # Nine colours: three fifths from the class, two fifths from the picture.
    colours = [(3 * a + 2 * b) // 5 for a, b in zip(_digest(*identity[:-1])[:27], own[:27], strict=True)]
    width_height = size or (40 + own[27] % 17, 36 + own[28] % 13)
    image = Image.frombytes("RGB", (3, 3), bytes(colours)).resize(width_height, Image.Resampling.BICUBIC)
    encoded = io.BytesIO()
    image.convert(mode).save(encoded, kind, **({"quality": 80} if kind == "JPEG" else {}))
    return encoded.getvalue()


def _write(path: Path, content: bytes | str) -> None:
    """Write a file below folders that need not be there; text with Unix line ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _write_picture(path: Path, *identity: object, mode: str = "RGB", size: tuple[int, int] | None = None) -> None:
    kind = path.suffix[1:].upper().replace("JPG", "JPEG")
    _write(path, picture(*identity, kind=kind, mode=mode, size=size))


def _lines(lines: Iterable[object]) -> str:
    return "".join(f"{line}\n" for line in lines)


# --- ImageNet ------------------------------------------------------------------------------------------------------

_DEVKIT_DOG = "n02084071"
_DEVKIT_ENTITY = "n00001740"


@cache
def resource(name: str) -> tuple[str, ...]:
    """The lines of one of the lists that ship with the package."""
    folder = resources.files("negprompt.data") / "resources" / "imagenet"
    return tuple((folder / name).read_text("utf-8").splitlines())


@cache
def validation_labels() -> np.ndarray:
    """The true label of `ILSVRC2012_val_{index + 1:08d}.JPEG`."""
    path = resources.files("negprompt.data") / "resources" / "imagenet" / "validation_labels.npz"
    with resources.as_file(path) as file, np.load(file) as arrays:
        return arrays["labels"]


def _validation_numbers(label: int, first: int, last: int) -> list[int]:
    """Numbers of the class's validation pictures, counted from the lowest; there are 50."""
    return [int(index) + 1 for index in np.flatnonzero(validation_labels() == label)[first:last]]


def _validation_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def _train_names(wordnet_id: str, count: int) -> list[str]:
    """Names with gaps and without leading zeros, as in the archive: sorting by name is not sorting by number."""
    number, names = int.from_bytes(_digest("train number", wordnet_id)[:2], "big") % 1200, []
    for step in range(count):
        number += 1 + _digest("train gap", wordnet_id, step)[0] * 37
        names.append(f"{wordnet_id}_{number}.JPEG")
    return names


def _write_train(folder: Path, wordnet_ids: Sequence[str], per_class: int) -> None:
    for wordnet_id in wordnet_ids:
        for name in _train_names(wordnet_id, per_class):
            _write_picture(folder / wordnet_id / name, "imagenet", wordnet_id, name)


@cache
def _labels() -> dict[str, int]:
    return {wordnet_id: label for label, wordnet_id in enumerate(resource("wordnet_ids.txt"))}


def _write_val(folder: Path, wordnet_ids: Sequence[str], per_class: int, *, in_class_folders: bool) -> None:
    for wordnet_id in wordnet_ids:
        for number in _validation_numbers(_labels()[wordnet_id], 0, per_class):
            name = _validation_name(number)
            path = folder / wordnet_id / name if in_class_folders else folder / name
            _write_picture(path, "imagenet", wordnet_id, name)


def imagenet(
    root: Path,
    *,
    train_per_class: int = 2,
    val_per_class: int = 1,
    val: Literal["folders", "flat", "devkit", "kaggle"] = "folders",
    wordnet_ids: Sequence[str] | None = None,
) -> Path:
    """ILSVRC-2012; the validation pictures are the lowest-numbered of each class: names and labels are the true ones.

    `val` says how the labels of validation pictures are given: by class folders, not at all, by the devkit's files or
    in the layout of the Kaggle competition. The label files cover all 50,000 pictures, as in the archives.
    """
    ids = resource("wordnet_ids.txt") if wordnet_ids is None else wordnet_ids
    pictures = root / "ILSVRC" / "Data" / "CLS-LOC" if val == "kaggle" else root
    _write_train(pictures / "train", ids, train_per_class)
    _write_val(pictures / "val", ids, val_per_class, in_class_folders=val == "folders")
    if val == "devkit":
        _write_devkit(root / "ILSVRC2012_devkit_t12")
    elif val == "kaggle":
        _write_kaggle(root)
    return root


@cache
def devkit_order() -> tuple[str, ...]:
    """WordNet ids in the order of ILSVRC2012_ID = 1, 2, ...: made up here, but unsorted like the devkit's."""
    return tuple(sorted(resource("wordnet_ids.txt"), key=lambda wordnet_id: _digest("devkit", wordnet_id)))


def _write_devkit(folder: Path) -> None:
    wordnet_ids = resource("wordnet_ids.txt")
    numbers = {wordnet_id: number for number, wordnet_id in enumerate(devkit_order(), 1)}
    truth = _lines(numbers[wordnet_ids[label]] for label in validation_labels())
    _write(folder / "data" / "ILSVRC2012_validation_ground_truth.txt", truth)
    _write(folder / "data" / "meta.mat", _meta_mat())
    _write(folder / "readme.txt", "Development kit of the challenge, in miniature\n")


def _meta_mat() -> bytes:
    """The synsets with the devkit's fields; inner nodes of the hierarchy follow the 1,000 classes, as there."""
    names = dict(zip(resource("wordnet_ids.txt"), resource("class_names.txt"), strict=True))
    dogs = set(resource("split1_id.txt"))
    leaves = list(enumerate(devkit_order(), 1))
    dog_numbers = [number for number, wordnet_id in leaves if wordnet_id in dogs]
    other_numbers = [number for number, wordnet_id in leaves if wordnet_id not in dogs]
    # number, WordNet id, words, gloss, children, height, training images
    nodes: list[tuple[int, str, str, str, list[int], int, int]] = [
        (number, wordnet_id, names[wordnet_id], f"a kind of {names[wordnet_id]}", [], 0, 1300)
        for number, wordnet_id in leaves
    ]
    nodes.append((1001, _DEVKIT_DOG, "dog, domestic dog, Canis familiaris", "a pet", dog_numbers, 1, 0))
    nodes.append((1002, _DEVKIT_ENTITY, "entity", "that which is", [1001, *other_numbers], 2, 0))

    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height")
    synsets = np.empty((len(nodes), 1), [(field, object) for field in (*fields, "num_train_images")])
    for row, (number, wordnet_id, words, gloss, children, height, train_images) in enumerate(nodes):
        numbers = np.array(children, np.uint16).reshape(1, -1)
        synsets[row, 0] = tuple(
            # MATLAB saves whole numbers in the smallest type that holds them.
            np.array([[value]], np.min_scalar_type(value)) if isinstance(value, int) else value
            for value in (number, wordnet_id, words, gloss, len(children), numbers, height, train_images)
        )
    file = io.BytesIO()
    scipy.io.savemat(file, {"synsets": synsets}, do_compression=True)
    # The header says when the file was written.
    header = b"MATLAB 5.0 MAT-file, Platform: GLNXA64, Created on: Thu Jun 14 12:00:00 2012"
    return header.ljust(116) + file.getvalue()[116:]


def _write_kaggle(root: Path) -> None:
    wordnet_ids, names = resource("wordnet_ids.txt"), resource("class_names.txt")
    mapping = (f"{wordnet_id} {name}" for wordnet_id, name in zip(wordnet_ids, names, strict=True))
    _write(root / "LOC_synset_mapping.txt", _lines(mapping))
    labels = validation_labels()
    rows = ["ImageId,PredictionString"]
    # 7,919 is coprime to 50,000: every picture once, in no order that a reader could rely on.
    for number in (step * 7_919 % 50_000 + 1 for step in range(50_000)):
        # One box or three; every box, the last too, is followed by a space.
        box = f"{wordnet_ids[labels[number - 1]]} {number % 90} {number % 70} {100 + number % 300} {80 + number % 290} "
        rows.append(f"ILSVRC2012_val_{number:08d},{box * (3 if number % 5 == 0 else 1)}")
    _write(root / "LOC_val_solution.csv", _lines(rows))
    # The second number counts the lines; it is no label.
    counted = (f"ILSVRC2012_val_{number:08d} {number}" for number in range(1, 50_001))
    _write(root / "ILSVRC" / "ImageSets" / "CLS-LOC" / "val.txt", _lines(counted))
    for number in (1, 2):  # the competition's test pictures have no public label
        name = f"ILSVRC2012_test_{number:08d}.JPEG"
        _write_picture(root / "ILSVRC" / "Data" / "CLS-LOC" / "test" / name, "imagenet test", number)


# --- the four conventional sets ------------------------------------------------------------------------------------

_TEXTURES = """
banded blotchy braided bubbly bumpy chequered cobwebbed cracked crosshatched crystalline dotted fibrous flecked
freckled frilly gauzy grid grooved honeycombed interlaced knitted lacelike lined marbled matted meshed paisley
perforated pitted pleated polka-dotted porous potholed scaly smeared spiralled sprinkled stained stratified striped
studded swirly veined waffled woven wrinkled zigzagged
"""
TEXTURES = tuple(_TEXTURES.split())

_DIGITS_TO_LETTERS = str.maketrans("0123456789", "ghijklmnop")


def _inaturalist(number: int) -> str:
    return _name(32, "iNaturalist", number)


def conventional(root: Path, *, per_set: int = 6, per_texture: int = 1) -> Path:
    """The OOD sets of Huang & Li (2021): three flat folders of `per_set` pictures each, and the whole DTD."""
    scenes = ("badlands", "glacier", "lagoon", "cliff")
    for number in range(per_set):
        scene = scenes[number % len(scenes)]
        for folder, name in (
            ("iNaturalist", _inaturalist(number)),
            ("SUN", f"sun_a{_name(15, 'SUN', number).translate(_DIGITS_TO_LETTERS)}"),
            ("Places", f"{scene[0]}_{scene}_{100 + number * 37:08d}"),
        ):
            _write_picture(root / folder / "images" / f"{name}.jpg", folder, number)
    _write_textures(root / "dtd", per_texture)
    return root


def _write_textures(folder: Path, per_class: int) -> None:
    """DTD with its lists: ten partitions, each into train, val and test."""
    images = [f"{texture}/{texture}_{number:04d}.jpg" for texture in TEXTURES for number in range(1, per_class + 1)]
    for image in images:
        _write_picture(folder / "images" / image, "dtd", *image.split("/"))
    for partition in range(1, 11):
        for part, split in enumerate(("train", "val", "test")):
            listed = (image for index, image in enumerate(images) if (index + partition) % 3 == part)
            _write(folder / "labels" / f"{split}{partition}.txt", _lines(listed))
    joint = (f"{image} {image.partition('/')[0]}" for image in images)
    _write(folder / "labels" / "labels_joint_anno.txt", _lines(joint))
    _write(folder / "imdb" / "imdb.mat", "")


# --- TinyImageNet --------------------------------------------------------------------------------------------------

# The order of the archive's wnids.txt.
_TINY_IMAGENET = """
n02124075 n04067472 n04540053 n04099969 n07749582 n01641577 n02802426 n09246464 n07920052 n03970156 n03891332
n02106662 n03201208 n02279972 n02132136 n04146614 n07873807 n02364673 n04507155 n03854065 n03838899 n03733131
n01443537 n07875152 n03544143 n09428293 n03085013 n02437312 n07614500 n03804744 n04265275 n02963159 n02486410
n01944390 n09256479 n02058221 n04275548 n02321529 n02769748 n02099712 n07695742 n02056570 n02281406 n01774750
n02509815 n03983396 n07753592 n04254777 n02233338 n04008634 n02823428 n02236044 n03393912 n07583066 n04074963
n01629819 n09332890 n02481823 n03902125 n03404251 n09193705 n03637318 n04456115 n02666196 n03796401 n02795169
n02123045 n01855672 n01882714 n02917067 n02988304 n04398044 n02843684 n02423022 n02669723 n04465501 n02165456
n03770439 n02099601 n04486054 n02950826 n03814639 n04259630 n03424325 n02948072 n03179701 n03400231 n02206856
n03160309 n01984695 n03977966 n03584254 n04023962 n02814860 n01910747 n04596742 n03992509 n04133789 n03937543
n02927161 n01945685 n02395406 n02125311 n03126707 n04532106 n02268443 n02977058 n07734744 n03599486 n04562935
n03014705 n04251144 n04356056 n02190166 n03670208 n02002724 n02074367 n04285008 n04560804 n04366367 n02403003
n07615774 n04501370 n03026506 n02906734 n01770393 n04597913 n03930313 n04118538 n04179913 n04311004 n02123394
n04070727 n02793495 n02730930 n02094433 n04371430 n04328186 n03649909 n04417672 n03388043 n01774384 n02837789
n07579787 n04399382 n02791270 n03089624 n02814533 n04149813 n07747607 n03355925 n01983481 n04487081 n03250847
n03255030 n02892201 n02883205 n03100240 n02415577 n02480495 n01698640 n01784675 n04376876 n03444034 n01917289
n01950731 n03042490 n07711569 n04532670 n03763968 n07768694 n02999410 n03617480 n06596364 n01768244 n02410509
n03976657 n01742172 n03980874 n02808440 n02226429 n02231487 n02085620 n01644900 n02129165 n02699494 n03837869
n02815834 n07720875 n02788148 n02909870 n03706229 n07871810 n03447447 n02113799 n12267677 n03662601 n02841315
n07715103 n02504458
"""
TINY_IMAGENET = tuple(_TINY_IMAGENET.split())


def tiny_imagenet(root: Path, *, train_per_class: int = 2, val_per_class: int = 1, test: int = 6) -> Path:
    """TinyImageNet as it is unpacked: 200 classes, labels of validation pictures in a file, none of test pictures."""
    folder = root / "tiny-imagenet-200"
    _write(folder / "wnids.txt", _lines(TINY_IMAGENET))
    names = dict(zip(resource("wordnet_ids.txt"), resource("class_names.txt"), strict=True))
    # The archive names all nouns of WordNet, 82,115, most with several words.
    nouns = {"n00001740": "entity", "n02084071": "dog, domestic dog, Canis familiaris", **names}
    _write(folder / "words.txt", _lines(f"{wordnet_id}\t{nouns[wordnet_id]}" for wordnet_id in sorted(nouns)))
    for wordnet_id in TINY_IMAGENET:
        boxes = []
        for number in range(train_per_class):
            name = f"{wordnet_id}_{number}.JPEG"
            _write_tiny(folder / "train" / wordnet_id / "images" / name, wordnet_id, name)
            boxes.append(f"{name}\t{_box(name)}")
        _write(folder / "train" / wordnet_id / f"{wordnet_id}_boxes.txt", _lines(boxes))
    annotations = []
    for number in range(200 * val_per_class):
        name = f"val_{number}.JPEG"
        wordnet_id = TINY_IMAGENET[number * 67 % 200]  # 67 is coprime to 200: every class as often, in no order
        _write_tiny(folder / "val" / "images" / name, wordnet_id, name)
        annotations.append(f"{name}\t{wordnet_id}\t{_box(name)}")
    _write(folder / "val" / "val_annotations.txt", _lines(annotations))
    for number in range(test):
        _write_tiny(folder / "test" / "images" / f"test_{number}.JPEG", "test", number)
    return root


def _write_tiny(path: Path, *identity: object) -> None:
    _write_picture(path, "tiny imagenet", *identity, size=(64, 64))


def _box(name: str) -> str:
    left, top, right, bottom = (number % 32 for number in _digest("box", name)[:4])
    return f"{left}\t{top}\t{right + 32}\t{bottom + 32}"


# --- OpenOOD v1.5 --------------------------------------------------------------------------------------------------

# Labels of the 200 classes of ImageNet-R.
_IMAGENET_R = """
1 2 4 6 8 9 11 13 22 23 26 29 31 39 47 63 71 76 79 84 90 94 96 97 99 100 105 107 113 122 125 130 132 144 145 147 148
150 151 155 160 161 162 163 171 172 178 187 195 199 203 207 208 219 231 232 234 235 242 245 247 250 251 254 259 260 263
265 267 269 276 277 281 288 289 291 292 293 296 299 301 308 309 310 311 314 315 319 323 327 330 334 335 337 338 340 341
344 347 353 355 361 362 365 366 367 368 372 388 390 393 397 401 407 413 414 425 428 430 435 437 441 447 448 457 462 463
469 470 471 472 476 483 487 515 546 555 558 570 579 583 587 593 594 596 609 613 617 621 629 637 657 658 701 717 724 763
768 774 776 779 780 787 805 812 815 820 824 833 847 852 866 875 883 889 895 907 928 931 932 933 934 936 937 943 945 947
948 949 951 953 954 957 963 965 967 980 981 983 988
"""
IMAGENET_R = tuple(int(label) for label in _IMAGENET_R.split())
CORRUPTIONS = (
    *(
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
        "defocus_blur",
        "glass_blur",
        "motion_blur",
        "zoom_blur",
        "snow",
    ),
    *("frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
# The protocol leaves these four of the 47 textures out.
TEXTURES_IN_IMAGENET = ("bubbly", "cobwebbed", "honeycombed", "spiralled")

_Rows = list[tuple[str, int]]


def openood(root: Path, *, scale: int = 1) -> Path:
    """OpenOOD v1.5's data folder for ImageNet-1k; `scale` multiplies the numbers of pictures (up to 25).

    A class has one picture for training, one for validation and one for the test, with true names and labels; the
    other lists have between 6 and 43 pictures.
    """
    _write_openood_imagenet(root, scale)
    large = root / "images_largescale"
    ood: dict[str, _Rows] = {
        "val_openimage_o": [(_open_image("val", number), -1) for number in range(6 * scale)],
        "test_openimage_o": [(_open_image("test", number), -1) for number in range(12 * scale)],
        "test_ssb_hard": _ssb_hard(scale),
        "test_ninco": _ninco(scale),
    }
    for name, rows in {**ood, **_covariate_shifts(scale)}.items():
        for path, _ in rows:
            _write_picture(large / path, *path.split("/"))
        _write_imglist(root, name, rows)

    # These two hold the very pictures of the conventional sets.
    rows = [(f"inaturalist/images/{_inaturalist(number)}.jpg", -1) for number in range(10 * scale)]
    for number, (path, _) in enumerate(rows):
        _write_picture(large / path, "iNaturalist", number)
    _write_imglist(root, "test_inaturalist", rows)
    _write_openood_textures(root, scale)
    return root


def _write_imglist(root: Path, name: str, rows: _Rows) -> None:
    _write(root / "benchmark_imglist" / "imagenet" / f"{name}.txt", _lines(f"{path} {label}" for path, label in rows))


def _write_openood_imagenet(root: Path, scale: int) -> None:
    wordnet_ids = resource("wordnet_ids.txt")
    pictures = root / "images_largescale" / "imagenet_1k"
    _write_train(pictures / "train", wordnet_ids, scale)
    _write_val(pictures / "val", wordnet_ids, 2 * scale, in_class_folders=False)
    lists: dict[str, _Rows] = {"train_imagenet": [], "val_imagenet": [], "test_imagenet": []}
    for label, wordnet_id in enumerate(wordnet_ids):
        for name in _train_names(wordnet_id, scale):
            lists["train_imagenet"].append((f"imagenet_1k/train/{wordnet_id}/{name}", label))
        for index, number in enumerate(_validation_numbers(label, 0, 2 * scale)):
            rows = lists["val_imagenet" if index % 2 else "test_imagenet"]
            rows.append((f"imagenet_1k/val/{_validation_name(number)}", label))
    for name, rows in lists.items():
        _write_imglist(root, name, rows)


def _write_openood_textures(root: Path, scale: int) -> None:
    """All 47 textures lie there, for the protocols on smaller pictures; the list names 43."""
    rows = []
    for texture in TEXTURES:
        for number in range(1, scale + 1):
            path = f"texture/{texture}/{texture}_{number:04d}.jpg"
            _write_picture(root / "images_classic" / path, "dtd", *path.split("/")[1:])
            if texture not in TEXTURES_IN_IMAGENET:
                rows.append((path, -1))
    _write_imglist(root, "test_textures", rows)


def _open_image(split: str, number: int) -> str:
    return f"openimage_o/images/{_name(16, 'openimage_o', split, number)}.jpg"


def _ssb_hard(scale: int) -> _Rows:
    """Synsets of ImageNet-21k that are none of the 1,000."""
    synsets = ("n11622368", "n07807710", "n12272432", "n04555400")
    return [(f"ssb_hard/{s}/{s}_{1063 + 97 * number}.JPEG", -1) for s in synsets for number in range(3 * scale)]


def _ninco(scale: int) -> _Rows:
    """The list mixes suffixes, also within a class."""
    classes = ("Caracal_caracal_caracal", "chicken_quesadilla", "ferocactus_pilosus", "s_sky")
    suffixes = ("jpg", "jpeg", "JPG", "png")
    return [
        (f"ninco/{name}/{name}_{number:03d}_{18_557_909 + 41 * number}.{suffixes[number % 4]}", -1)
        for name in classes
        for number in range(4 * scale)
    ]


def _covariate_shifts(scale: int) -> dict[str, _Rows]:
    """Pictures of the 1,000 classes from another source; -V2 calls its class folders by the label."""
    styles = ("art", "cartoon", "sketch", "tattoo", "videogame")
    wordnet_ids = resource("wordnet_ids.txt")
    shifts: dict[str, _Rows] = {"test_imagenet_v2": [], "test_imagenet_c": [], "test_imagenet_r": []}
    for number in range(scale):
        for label in range(0, 1000, 111):
            path = f"imagenet_v2/{label}/{_name(40, 'imagenet_v2', label, number)}.jpeg"
            shifts["test_imagenet_v2"].append((path, label))
        for index, corruption in enumerate(CORRUPTIONS):
            label = (37 + 61 * index) % 1000
            name = _validation_name(_validation_numbers(label, number, number + 1)[0])
            shifts["test_imagenet_c"].append((f"imagenet_c/{corruption}/{(index + number) % 5 + 1}/{name}", label))
        for index, label in enumerate(IMAGENET_R[::10]):
            path = f"imagenet_r/{wordnet_ids[label]}/{styles[index % len(styles)]}_{number}.jpg"
            shifts["test_imagenet_r"].append((path, label))
    return shifts


# --- a user's own pictures -----------------------------------------------------------------------------------------

CLASSES = ("cat", "dog_breed", "t-rex")
OOD_SETS = ("nature", "textures")
# What users' folders hold beside RGB.
_PNG_MODES = ("RGB", "L", "P", "RGBA")
_JPEG_MODES = ("RGB", "L", "CMYK")


def _write_own(path: Path, name: str, split: str, number: int) -> Path:
    modes = _JPEG_MODES if path.suffix == ".jpg" else _PNG_MODES if path.suffix == ".png" else ("RGB",)
    _write_picture(path, "own", name, f"{split} {number}", mode=modes[number % len(modes)])
    return path


def folder(root: Path, *, classes: Sequence[str] = CLASSES, train: int = 4, test: int = 2) -> Path:
    """One folder a class below `train` (PNG) and `test` (JPEG); some are grey, with a palette or transparent."""
    for split, count, suffix in (("train", train, "png"), ("test", test, "jpg")):
        for name in classes:
            for number in range(count):
                _write_own(root / split / name / f"{name}_{number}.{suffix}", name, split, number)
    return root


def ood_folder(root: Path, *, sets: Sequence[str] = OOD_SETS, per_set: int = 4) -> Path:
    """One flat folder a set, of mixed suffixes."""
    suffixes = ("jpg", "png", "jpeg", "webp")
    for name in sets:
        for number in range(per_set):
            _write_own(root / name / f"{number:03d}.{suffixes[number % len(suffixes)]}", name, "ood", number)
    return root


def csv_file(
    root: Path, *, classes: Sequence[str] = CLASSES, train: int = 4, test: int = 2, sets: Sequence[str] = OOD_SETS
) -> Path:
    """`dataset.csv` and `ood.csv` with columns path, label (a name), split; all pictures in one folder."""
    header, index = "path,label,split", 0
    for file, names, splits in (
        ("dataset.csv", classes, {"train": train, "test": test}),
        ("ood.csv", sets, {"test": test}),
    ):
        rows = [header]
        for split, count in splits.items():
            for name in names:
                for number in range(count):
                    path = root / "pictures" / f"{index:04d}.{'jpg' if index % 2 else 'png'}"
                    _write_own(path, name, split, number)
                    rows.append(f"{path.relative_to(root).as_posix()},{name},{split}")
                    index += 1
        _write(root / file, _lines(rows))
    return root


def imglist_files(
    root: Path, *, classes: Sequence[str] = CLASSES, train: int = 4, test: int = 2, sets: Sequence[str] = OOD_SETS
) -> Path:
    """OpenOOD's list format for own pictures: `lists/{train,test}.txt` and a list of label -1 for each OOD set.

    Paths count from `root/pictures`; `lists/class_names.txt` has a class a line, its line number is the label.
    """
    for split, count in (("train", train), ("test", test)):
        rows = []
        for label, name in enumerate(classes):
            for number in range(count):
                path = f"{split}/{name}/{number}.jpg"
                _write_own(root / "pictures" / path, name, split, number)
                rows.append(f"{path} {label}")
        _write(root / "lists" / f"{split}.txt", _lines(rows))
    for name in sets:
        paths = [f"ood/{name}/{number}.png" for number in range(test)]
        for number, path in enumerate(paths):
            _write_own(root / "pictures" / path, name, "ood", number)
        _write(root / "lists" / f"{name}.txt", _lines(f"{path} -1" for path in paths))
    _write(root / "lists" / "class_names.txt", _lines(classes))
    return root


# --- damage --------------------------------------------------------------------------------------------------------


def truncate(path: Path) -> Path:
    """Lose the last fifth, as in a broken download: the header (most of so small a JPEG) still opens."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 4 // 5])
    return path


def empty(path: Path) -> Path:
    """Keep the name only, as a full disk does."""
    path.write_bytes(b"")
    return path


def not_a_picture(path: Path) -> Path:
    """The page that a download without permission leaves under the picture's name."""
    path.write_bytes(b"<!DOCTYPE html>\n<html><body>403 Forbidden</body></html>\n")
    return path
