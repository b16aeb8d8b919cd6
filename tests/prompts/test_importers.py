"""Checkpoints of other code: the same contexts to the bit, no code of theirs runs, refusals say what was found."""

from __future__ import annotations

import logging
import os

import pytest
import torch
from foreign import coop_state, dassl, negprompt_state, stored
from helpers import CLASS_NAMES, tiny_backbone
from safetensors.torch import save_file

from negprompt.errors import PromptMismatchError
from negprompt.prompts import bundle as bundles
from negprompt.prompts.importers.bundle import Training, are_copies, choose_negatives, to_bundle
from negprompt.prompts.importers.checks import check_backbone
from negprompt.prompts.importers.formats import FORMATS, read_file
from negprompt.prompts.importers.training import Borne, borne_out, settle_full_stop
from negprompt.prompts.template import PromptLayout

NAMES = CLASS_NAMES[:5]
WIDTH = 32


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


def random(*shape, seed=0):
    return 0.02 * torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed))


def refused(path, *fragments, asked="auto"):
    with pytest.raises(PromptMismatchError) as caught:
        read_file(path, asked)
    message = str(caught.value)
    assert not [fragment for fragment in (str(path), *fragments) if fragment not in message], message
    assert "\n" not in message


# --- layouts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("shape", [(4,), (5, 4)], ids=["shared", "class-specific"])
@pytest.mark.parametrize("asked", ["auto", "coop", "locoop"])
def test_a_dassl_file_with_all_its_training_state(backbone, tmp_path, shape, dtype, asked):
    context = random(*shape)
    state = coop_state(backbone, context, NAMES, dtype=dtype)
    prompts, source = read_file(stored(tmp_path / "model.pth.tar-50", dassl(state)), asked)
    assert prompts.method == source.format == ("locoop" if asked == "locoop" else "coop")
    assert source.file == "model.pth.tar-50"
    assert prompts.positive.dtype == torch.float32
    assert torch.equal(prompts.positive, context.to(dtype).float())
    assert (prompts.negative, prompts.num_classes) == (None, 5)
    check_backbone(prompts, backbone)
    assert borne_out(prompts, "icons", NAMES, True, backbone) == Borne(NAMES, True)


def test_a_numpy_number_as_the_result_of_validation_is_left_out(backbone, tmp_path):
    value = torch.tensor([0.5]).double().numpy()[0]
    file = stored(tmp_path / "model-best.pth.tar", dassl(coop_state(backbone, random(4), NAMES), val_result=value))
    assert torch.equal(read_file(file, "coop")[0].positive, random(4))


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("classes", [(), (5,)], ids=["shared", "class-specific"])
def test_a_file_of_the_released_code(backbone, tmp_path, classes, prefix):
    positive, negative = random(*classes, 4), random(*classes, 2, 4, seed=1)
    file = stored(tmp_path / "md.pth.pth", negprompt_state(backbone, positive, negative, NAMES, prefix=prefix))
    prompts, source = read_file(file, "auto")
    assert (prompts.method, source.format) == ("negprompt_official_code", "negprompt")
    assert torch.equal(prompts.positive, positive)
    assert torch.equal(prompts.negative, negative.half().float())
    check_backbone(prompts, backbone)
    assert borne_out(prompts, "icons", NAMES, False, backbone) == Borne(NAMES, False)


def test_wrapped_bare_prefixed_and_safetensors_are_one(backbone, tmp_path):
    state = coop_state(backbone, random(4), NAMES)
    files = [
        stored(tmp_path / "bare", state),
        stored(tmp_path / "wrapped", {"state_dict": state}),
        stored(tmp_path / "parallel", {f"module.prompt_learner.{key}": value for key, value in state.items()}),
        tmp_path / "some.safetensors",
    ]
    save_file(state, files[-1])
    for file in files:
        prompts, _ = read_file(file, "auto")
        assert torch.equal(prompts.positive, random(4))
        assert prompts.num_classes == 5


def test_the_legacy_format_of_torch_is_read(backbone, tmp_path):
    state = dassl(coop_state(backbone, random(4), NAMES))
    torch.save(state, tmp_path / "old", _use_new_zipfile_serialization=False)
    assert torch.equal(read_file(tmp_path / "old", "auto")[0].positive, random(4))


def test_an_empty_negative_context_is_none(backbone, tmp_path):
    prompts, _ = read_file(stored(tmp_path / "f", negprompt_state(backbone, random(4), None, NAMES)), "auto")
    assert (prompts.negative, prompts.method) == (None, "coop")


def test_shorter_shared_negatives_get_rows_of_zeros_in_front(backbone, tmp_path):
    negative = random(2, 3, seed=1)
    state = negprompt_state(backbone, random(4), negative, NAMES, negative_dtype=torch.float32)
    prompts, _ = read_file(stored(tmp_path / "f", state), "auto")
    assert torch.equal(prompts.negative[:, 1:], negative)
    assert not prompts.negative[:, 0].any()


# --- refused files -------------------------------------------------------------------------------------------------


class Writes:
    """Writes a file when a pickle of it is read in the ordinary way."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


class Runs:
    """Runs a command of the shell."""

    def __reduce__(self):
        return os.system, ("true",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_not_run(backbone, tmp_path, zipped):
    written = tmp_path / "written"
    content = dassl(coop_state(backbone, random(4), NAMES), val_result=Writes(written))
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "evil.pth", "asks for io.open", "was not run", "torch.save(checkpoint['state_dict'], file)")
    assert not written.exists()


def test_blocked_modules_are_named(tmp_path):
    refused(stored(tmp_path / "evil.pth", {"ctx": random(4), "x": Runs()}), "asks for posix.system")


def test_a_missing_file_and_a_folder(tmp_path):
    refused(tmp_path / "nothing", "does not exist", "model.pth.tar-50")
    refused(tmp_path, "is a folder")


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_truncated_file(backbone, tmp_path, share):
    file = stored(tmp_path / "f", dassl(coop_state(backbone, random(4), NAMES)))
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    refused(file, "is damaged or no file of torch.save", f"{int(share * len(content))} bytes", "download it again")


def test_a_flipped_bit_in_the_numbers(backbone, tmp_path):
    file = stored(tmp_path / "f", {"ctx": random(4)})
    content, numbers = bytearray(file.read_bytes()), random(4).numpy().tobytes()
    content[content.index(numbers) + 9] ^= 1
    file.write_bytes(content)
    refused(file, "is damaged", "does not match its checksum")


def test_damaged_safetensors(tmp_path):
    (tmp_path / "f.safetensors").write_bytes(b"12345678")
    refused(tmp_path / "f.safetensors", "cannot be read as safetensors", "download it again")


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ([torch.zeros(1)], ["holds a list", "a dict of tensors"]),
        ({"weight": torch.zeros(3)}, ["none of ctx (coop)", "ctx_positive (negprompt)", "weight [3]"]),
        ({"epoch": 3}, ["no tensor"]),
        ({"ctx": random(1, 2, 3)}, ["ctx is [1, 2, 3, 32] float32", "[n, d], or [k, n, d]"]),
        ({"ctx": torch.zeros(4, 32, dtype=torch.long)}, ["ctx is [4, 32] int64"]),
        ({"ctx": torch.zeros(0, 32)}, ["ctx is [0, 32]"]),
        ({"ctx": torch.full((4, 32), float("nan"))}, ["not finite"]),
        ({"ctx": random(4), "token_prefix": torch.zeros(5, 1, 8)}, ["token_prefix is [5, 1, 8]", "[k, 1, d]"]),
        ({"ctx": random(5, 4), "token_prefix": torch.zeros(3, 1, 32)}, ["other numbers of classes"]),
        ({"ctx_positive": random(4)}, ["ctx_positive is [4, 32]", "[1, n, d], or [k, 1, n, d]"]),
        ({"ctx_positive": random(2, 4)}, ["a class has one positive context"]),
        ({"ctx_positive": random(1, 4), "ctx_negative": random(4)}, ["ctx_negative is [4, 32]", "[p, n, d]"]),
        ({"ctx_positive": random(1, 4), "ctx_negative": random(2, 5)}, ["[1, 4, 32] and ctx_negative [2, 5, 32]"]),
        ({"ctx_positive": random(5, 1, 4), "ctx_negative": random(5, 2, 3)}, ["must agree", "may be shorter"]),
        ({"ctx_positive": random(5, 1, 4), "ctx_negative": random(3, 2, 4)}, ["must agree"]),
        ({"ctx_positive": random(1, 4), "ctx_negative": torch.zeros(2, 4, 8)}, ["must agree"]),
    ],
)
def test_what_is_none_of_the_layouts_is_described(tmp_path, content, fragments):
    refused(stored(tmp_path / "f", content), *fragments)


def test_a_format_that_the_file_does_not_have(tmp_path):
    refused(stored(tmp_path / "f", {"ctx": random(4)}), "no ctx_positive but ctx [4, 32]", asked="negprompt")


# --- backbone ------------------------------------------------------------------------------------------------------


def prompts_of(tmp_path, state):
    return read_file(stored(tmp_path / "f", state), "auto")[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_other_weights_of_the_same_width_are_told_by_the_start_token(backbone, tmp_path, dtype):
    prompts = prompts_of(tmp_path, coop_state(tiny_backbone(1), random(4), NAMES, dtype=dtype))
    with pytest.raises(
        PromptMismatchError, match=r"start token.*tiny_test \(tiny/random; they differ by 1\d\d%.*vit_b16"
    ):
        check_backbone(prompts, backbone)


def test_another_width_is_refused(backbone, tmp_path):
    prompts = prompts_of(tmp_path, {"ctx": torch.ones(4, 8)})
    with pytest.raises(PromptMismatchError, match=r"\[4, 8\], 8 wide; tiny_test takes 32: set backbone"):
        check_backbone(prompts, backbone)


def test_without_the_token_buffers_a_warning_says_so(backbone, tmp_path, caplog):
    prompts = prompts_of(tmp_path, {"ctx": random(4)})
    with caplog.at_level(logging.WARNING):
        check_backbone(prompts, backbone)
        assert borne_out(prompts, "icons", NAMES, True, backbone) == Borne(NAMES, None)
    assert [record.message.count("no token_prefix") for record in caplog.records] == [1, 1]


# --- class names and full stop -------------------------------------------------------------------------------------


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("tried", [True, False])
def test_the_file_shows_the_full_stop(backbone, tmp_path, trained, tried):
    prompts = prompts_of(tmp_path, coop_state(backbone, random(4), NAMES, full_stop=trained))
    assert borne_out(prompts, "icons", NAMES, tried, backbone) == Borne(NAMES, trained)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (NAMES[:3], "trained on 5 classes, and data=icons trains on 3: set data"),
        (NAMES[::-1], "4 of the 5 class names in the file are not those of data=icons, the first of them number 1"),
        ((*NAMES[:4], "yacht"), "the first of them number 5, which is 'yacht' here"),
    ],
)
def test_other_classes(backbone, tmp_path, caplog, names, said):
    shared = prompts_of(tmp_path, coop_state(backbone, random(4), NAMES))
    with caplog.at_level(logging.WARNING):
        assert borne_out(shared, "icons", names, True, backbone) == Borne((), None)
    (record,) = caplog.records
    assert said in record.message
    specific = prompts_of(tmp_path, coop_state(backbone, random(5, 4), NAMES))
    with pytest.raises(PromptMismatchError) as caught:
        borne_out(specific, "icons", names, True, backbone)
    assert said in str(caught.value)


def test_without_the_names_in_the_file_those_of_the_data_are_taken(backbone, tmp_path, caplog):
    state = coop_state(backbone, random(5, 4), NAMES)
    prompts = prompts_of(tmp_path, {key: value for key, value in state.items() if key != "token_suffix"})
    with caplog.at_level(logging.WARNING):
        assert borne_out(prompts, "icons", NAMES, True, backbone) == Borne(NAMES, None)
    assert "no token_suffix" in caplog.text


@pytest.mark.parametrize(
    ("asked", "shown", "usual", "settled"),
    [(None, None, True, True), (None, False, True, False), (True, False, False, True), (False, None, True, False)],
)
def test_what_is_asked_for_wins_then_what_the_file_shows(caplog, asked, shown, usual, settled):
    with caplog.at_level(logging.WARNING):
        assert settle_full_stop(asked, shown, usual) is settled
    assert ("without a full stop, and method.full_stop=true" in caplog.text) == (asked is True)


# --- negatives and the bundle --------------------------------------------------------------------------------------


def test_negatives_of_stage_1_are_copies_and_left_out(backbone, tmp_path, caplog):
    state = negprompt_state(backbone, random(4), random(1, 4, seed=1).repeat(3, 1, 1), NAMES)
    prompts = prompts_of(tmp_path, state)
    with caplog.at_level(logging.WARNING):
        left = choose_negatives(prompts, "auto")
    assert (left.negative, left.method) == (None, "coop")
    assert "negatives=keep" in caplog.text
    assert choose_negatives(prompts, "keep") == prompts


def test_trained_negatives_stay_unless_they_are_dropped(backbone, tmp_path):
    prompts = prompts_of(tmp_path, negprompt_state(backbone, random(4), random(2, 4, seed=1), NAMES))
    assert choose_negatives(prompts, "auto") is prompts
    assert choose_negatives(prompts, "drop").negative is None


def test_copies_are_counted_within_a_class():
    one = random(5, 1, 4)
    assert are_copies(one.repeat(1, 2, 1, 1))
    assert not are_copies(one)
    assert not are_copies(torch.cat([one, one + 1e-5], dim=1))


def test_equal_files_make_equal_bytes(backbone, tmp_path):
    contents = []
    for folder in ("a", "b"):
        state = negprompt_state(backbone, random(4), random(2, 4, seed=1), NAMES)
        prompts, source = read_file(stored(tmp_path / folder / "md.pth", state), "auto")
        bundle = to_bundle(prompts, source, PromptLayout(4), Training(NAMES, 1, 16, 1.0), backbone, 1)
        contents.append(bundles.to_bytes(bundle))
    assert contents[0] == contents[1]
    assert bundle.metadata["imported_from"] == {"file": "md.pth", "sha256": source.sha256, "format": "negprompt"}
    assert bundle.metadata["run"] == f"imported-{source.sha256[:8]}"
    bundles.check(bundle, backbone)


def test_unknown_names_are_not_recorded(backbone, tmp_path):
    prompts, source = read_file(stored(tmp_path / "f", {"ctx": random(4)}), "auto")
    metadata = to_bundle(prompts, source, PromptLayout(4), Training((), 1, 16, 1.0), backbone, 1).metadata
    assert (metadata["train_class_names"], metadata["class_names_sha256"]) == ([], None)


def test_every_format_has_a_mark_of_its_own_but_for_locoop():
    assert len({layout.mark for name, layout in FORMATS.items() if name != "locoop"}) == len(FORMATS) - 1
