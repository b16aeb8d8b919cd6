"""Text paths: the same features and gradients as all 77 tokens through the model's own `encode_text`."""

from __future__ import annotations

import itertools
import logging

import open_clip
import pytest
import torch
from helpers import SPEC, TEXT, VISION, tiny_clip
from torch.autograd.graph import saved_tensors_hooks

from negprompt.backbones import chunks, suffix_attention, text
from negprompt.backbones.openclip import OpenClipBackbone
from negprompt.errors import ConfigError
from negprompt.prompts.encoder import PromptEncoder
from negprompt.prompts.template import PromptLayout

TWELVE = "Mexican hairless dog (xoloitzcuintli) of Ouagadougou"
NAMES = ("owl", "ice_cream", TWELVE, "owl", "naïve café", "C++ / C#", "水", "fire truck", "X")

TOWERS = {
    "CLIP": {},
    "CustomTextCLIP": {"custom_text": True},
    "layer scale": {"custom_text": True, "ls_init_value": 0.7},
    "projection with bias": {"custom_text": True, "proj_bias": True},
    "no projection": {"custom_text": True, "proj_type": "none"},
    "deeper": {"layers": 4, "heads": 4},
}
CASES = list(itertools.product(TOWERS, ["end", "middle", "front"], [False, True]))


def backbone(path="auto", chunk="auto", **tower):
    return OpenClipBackbone(tiny_clip(**tower), "tiny_test", "tiny/random", SPEC, path, chunk)


def quick_gelu(path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CLIP(embed_dim=16, vision_cfg=VISION, text_cfg=TEXT, quick_gelu=True)
    return OpenClipBackbone(model, "tiny_test", "tiny/random", SPEC, path)


def context(*shape):
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def encode(clip, vectors, names=NAMES, **layout):
    """Features and the gradient of a loss in which every feature counts differently."""
    leaf = vectors.clone().requires_grad_()
    features = PromptEncoder(clip, names, PromptLayout(vectors.shape[-2], **layout)).encode_negative(clip, leaf)
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((features * weights).sum(), leaf)
    return features.detach(), gradient


def assert_equal(one, other, tolerance=1e-5):
    for ours, theirs in zip(one, other, strict=True):
        assert float((ours - theirs).abs().max()) < tolerance * float(theirs.abs().max())


def test_the_long_name_is_as_long_as_the_longest_of_imagenet():
    tokens = open_clip.SimpleTokenizer().encode
    assert len(tokens(TWELVE)) >= max(len(tokens(name)) for name in open_clip.IMAGENET_CLASSNAMES)


# --- equal ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_contexts", [1, 3])
@pytest.mark.parametrize(("tower", "position", "full_stop"), CASES)
def test_the_chosen_path_equals_the_plain_one(tower, position, full_stop, num_contexts):
    layout = {"class_token_position": position, "full_stop": full_stop}
    vectors = context(num_contexts, 4, 32)
    auto, plain = (encode(backbone(path, **TOWERS[tower]), vectors, **layout) for path in ("auto", "plain"))
    assert_equal(auto, plain)


@pytest.mark.parametrize("tower", TOWERS)
def test_in_double_precision_nothing_but_rounding_is_left(tower):
    features = [
        encode(clip.double(), context(2, 4, 32).double())
        for clip in (backbone(path, **TOWERS[tower]) for path in ("shared", "cropped", "plain"))
    ]
    assert_equal(features[0], features[2], 1e-11)
    assert_equal(features[1], features[2], 1e-11)


@pytest.mark.parametrize("num_contexts", [1, 3])
def test_names_grouped_by_length_equal_the_plain_path_as_filled_up_ones_do(monkeypatch, num_contexts):
    vectors = context(num_contexts, 4, 32)
    plain = encode(backbone("plain"), vectors)
    assert_equal(encode(backbone("shared"), vectors), plain)
    monkeypatch.setattr(suffix_attention, "_FEW_TOKENS", 0)
    assert_equal(encode(backbone("shared"), vectors), plain)


@pytest.mark.parametrize("path", ["shared", "cropped"])
@pytest.mark.parametrize("num_tokens", [1, 16])
def test_both_short_cuts_equal_the_plain_path(path, num_tokens):
    vectors = context(2, num_tokens, 32)
    assert_equal(encode(backbone(path), vectors), encode(backbone("plain"), vectors))


def test_quick_gelu():
    assert_equal(encode(quick_gelu("shared"), context(2, 4, 32)), encode(quick_gelu("plain"), context(2, 4, 32)))


@pytest.mark.parametrize("names", [("owl",), (TWELVE,), ("owl",) * 3])
def test_a_single_name_and_equal_names(names):
    shared, plain = (encode(backbone(path), context(1, 4, 32), names) for path in ("shared", "plain"))
    assert_equal(shared, plain)
    assert bool((shared[0] == shared[0][:1]).all())


@pytest.mark.parametrize("num_contexts", [1, 3])
def test_class_specific_contexts(num_contexts):
    vectors = context(len(NAMES), num_contexts, 4, 32)
    assert_equal(encode(backbone("auto"), vectors), encode(backbone("plain"), vectors))


def test_the_plain_path_is_the_models_own_encode_text():
    clip = backbone("plain", custom_text=True)
    words = clip.embed_tokens(torch.tensor(clip.tokenize("a photo of a"))).detach()
    ours, _ = encode(clip, words.unsqueeze(0), ("owl", "fire truck"))
    tokens = open_clip.SimpleTokenizer()(["a photo of a owl", "a photo of a fire truck"])
    assert torch.equal(ours.squeeze(1), clip.model.encode_text(tokens, normalize=True))


@pytest.mark.parametrize("path", ["shared", "cropped", "plain"])
def test_a_training_after_an_evaluation_in_inference_mode(path):
    clip = backbone(path)
    suffix_attention._padded_places.cache_clear()
    suffix_attention._later.cache_clear()
    with torch.inference_mode():
        PromptEncoder(clip, NAMES, PromptLayout(4)).encode_negative(clip, context(2, 4, 32))
    _, gradient = encode(clip, context(2, 4, 32))
    assert bool(torch.isfinite(gradient).all())


def test_gradients_reach_no_weight():
    clip = backbone("shared")
    vectors = context(2, 4, 32).requires_grad_()
    PromptEncoder(clip, NAMES, PromptLayout(4)).encode_negative(clip, vectors).sum().backward()
    assert all(parameter.grad is None for parameter in clip.parameters())


# --- which path ----------------------------------------------------------------------------------------------------


def chosen(caplog, clip, vectors, **layout):
    text._announce.cache_clear()
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="negprompt"):
        encode(clip, vectors, **layout)
    (message,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("text path")]
    return message


OTHER_TOWERS = {
    "no causal mask": ({"no_causal_mask": True}, "plain (the text tower has no causal mask)"),
    "last token": ({"pool_type": "last"}, "plain (the text tower does not read out the end token (pooling 'last'))"),
    "CoCa": ({"embed_cls": True}, "plain (the text tower reads out a class token behind the end token)"),
    "qk norm": ({"qk_norm": True}, "cropped (the inside of CustomResidualAttentionBlock is not known)"),
}


@pytest.mark.parametrize("tower", OTHER_TOWERS)
def test_other_towers_fall_back_exactly_and_say_why(caplog, tower):
    options, line = OTHER_TOWERS[tower]
    clip = backbone(custom_text=True, **options)
    assert chosen(caplog, clip, context(2, 4, 32)) == f"text path: {line}"
    assert_equal(
        encode(clip, context(2, 4, 32)), encode(backbone("plain", custom_text=True, **options), context(2, 4, 32))
    )


def test_the_log_says_which_path_runs_and_why(caplog):
    assert chosen(caplog, backbone(), context(2, 4, 32)) == "text path: shared (fastest)"
    assert chosen(caplog, backbone("cropped"), context(2, 4, 32)) == "text path: cropped (asked for)"
    assert chosen(caplog, backbone(), context(9, 2, 4, 32)).endswith("cropped (every class has a context of its own)")
    front = chosen(caplog, backbone(), context(2, 4, 32), class_token_position="front")
    assert front.endswith("cropped (the class name does not stand at the end)")
    assert chosen(caplog, backbone(chunk=4), context(2, 4, 32)).endswith(", in 3 chunks of classes")


@pytest.mark.parametrize(
    ("path", "vectors", "tower", "message"),
    [
        ("shared", context(9, 2, 4, 32), {}, "every class has a context of its own. Set text_path=auto or cropped"),
        ("cropped", context(2, 4, 32), {"no_causal_mask": True}, "no causal mask. Set text_path=auto or plain"),
    ],
)
def test_a_forced_path_that_would_not_be_exact_is_refused(path, vectors, tower, message):
    clip = backbone(path, custom_text=True, **tower)
    with pytest.raises(ConfigError, match=f"text_path={path} would not be exact here: .*{message}"):
        encode(clip, vectors)


# --- cost ----------------------------------------------------------------------------------------------------------


def test_a_name_costs_its_own_tokens_and_the_prefix_is_paid_once():
    clip, seen = backbone("shared"), []
    block = clip.model.transformer.resblocks[0]
    block.mlp.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape[:-1])))
    encode(clip, context(3, 4, 32))
    own = sum(len(clip.tokenize(name.replace("_", " "))) + 1 for name in NAMES)
    assert seen == [(3, 5), (3, own)]


def saved_bytes(clip, names=NAMES * 20):
    """Bytes of the tensors kept for the backward pass, each storage once."""
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {parameter.untyped_storage().data_ptr() for parameter in clip.parameters()}
    vectors = context(2, 4, 32).requires_grad_()
    encoder = PromptEncoder(clip, names, PromptLayout(4))
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = encoder.encode_negative(clip, vectors)
    del kept
    return sum(size for pointer, size in storages.items() if pointer not in weights)


def test_the_estimate_of_the_memory_for_the_backward_pass_is_near_the_truth():
    clip = backbone("shared")
    tokens = 20 * sum(len(clip.tokenize(name.replace("_", " "))) + 1 for name in NAMES) * 2
    assert 0.5 < saved_bytes(clip) / chunks.activation_bytes(tokens, depth=2, width=32) < 1.1


def test_the_shared_path_keeps_less_than_an_eighth_of_the_plain_ones_memory():
    assert saved_bytes(backbone("shared")) * 8 < saved_bytes(backbone("plain"))


# --- chunks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 4, 100])
@pytest.mark.parametrize("path", ["shared", "cropped", "plain"])
def test_chunks_change_neither_features_nor_gradients(path, chunk):
    vectors = context(2, 4, 32)
    assert_equal(encode(backbone(path, chunk), vectors), encode(backbone(path, "none"), vectors))


def test_chunks_of_class_specific_contexts_take_their_own_rows():
    vectors = context(len(NAMES), 3, 4, 32)
    assert_equal(encode(backbone(chunk=4), vectors), encode(backbone(chunk="none"), vectors))


def test_a_memory_budget_makes_the_chunks(monkeypatch, caplog):
    monkeypatch.setattr(chunks, "MEMORY_BUDGET", chunks.activation_bytes(30, depth=2, width=32))
    assert "chunks of classes" in chosen(caplog, backbone(), context(2, 4, 32))
    assert_equal(encode(backbone(), context(2, 4, 32)), encode(backbone(chunk="none"), context(2, 4, 32)))


@pytest.mark.parametrize("chunk", ["none", 4])
def test_under_autocast_features_are_float32_and_close(chunk):
    vectors = context(2, 4, 32)
    exact = encode(backbone(chunk="none"), vectors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, gradient = encode(backbone(chunk=chunk), vectors)
    assert features.dtype == gradient.dtype == torch.float32
    assert 0 < float((features - exact[0]).abs().max()) < 0.05  # 0 would mean that autocast did nothing
    assert float((gradient - exact[1]).norm() / exact[1].norm()) < 0.05


def test_chunks_under_autocast_equal_one_piece_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        chunked, whole = (encode(backbone(chunk=chunk), context(2, 4, 32)) for chunk in (4, "none"))
    assert_equal(chunked, whole, 0.02)
