"""Local image features: by hand, by explicit matrix products, and beside global features that stay as they are."""

from __future__ import annotations

import functools
import math

import open_clip
import pytest
import torch
from helpers import SPEC, TEXT, VISION, tiny_backbone
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import nn

from negprompt.backbones.base import FrozenBackbone
from negprompt.backbones.embedded import EmbeddedSettings
from negprompt.backbones.local import image_and_local_features
from negprompt.backbones.openclip import OpenClipBackbone
from negprompt.errors import BackboneError

EMBEDDED = ("tiny_lit", "tiny_rn", "tiny_vit")


def pixels(count, height=32, width=None, seed=0):
    return torch.randn(count, 3, height, width or height, generator=torch.Generator().manual_seed(seed))


def randomised(tower):
    """Every weight and statistic drawn anew: fresh towers have zeros and ones where a wrong formula would not show."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in tower.state_dict().items():
            if name.endswith("running_var") or (tensor.dim() == 1 and name.endswith("weight")):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            elif name.endswith(("gamma", "bias", "running_mean", "embedding")):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / 2)
            elif tensor.is_floating_point():
                fan_in = tensor[0].numel()
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / fan_in**0.5)
    return tower.eval().requires_grad_(False)


def vit(**changes):
    """Four rows and two columns of patches."""
    values = {"image_size": (32, 16), "patch_size": 8, "width": 32, "layers": 2, "heads": 2, "mlp_ratio": 2.0}
    return randomised(VisionTransformer(**{**values, "output_dim": 16, **changes}))


def resnet():
    return randomised(ModifiedResNet(layers=[1, 1, 1, 1], output_dim=16, heads=4, image_size=64, width=4))


def timm_tower(name="tf_efficientnet_lite0", **changes):
    return randomised(TimmModel(name, 16, **{"image_size": 64, "pool": "avg", "proj": "linear", **changes}))


VITS = {
    "plain": {},
    "layer scale": {"ls_init_value": 0.1},
    "one layer": {"layers": 1},
    "no norm before": {"no_ln_pre": True},
    "average": {"pool_type": "avg"},
    "average, then norm": {"pool_type": "avg", "final_ln_after_pool": True},
    "quick gelu": {"act_layer": open_clip.transformer.QuickGELU},
}
TIMM = {
    "efficientnet": {},
    "with bias": {"proj_bias": True},
    "dropout": {"drop": 0.5},
    "resnet": {"name": "test_resnet"},
    "own classifier": {"name": "test_resnet", "proj": ""},
    "no projection": {"name": "test_resnet", "proj": "none"},
    "default pooling": {"name": "test_efficientnet", "pool": ""},
}
TOWERS = (
    {f"vit, {name}": (functools.partial(vit, **changes), (32, 16)) for name, changes in VITS.items()}
    | {"resnet": (resnet, (64, 64))}
    | {f"timm, {name}": (functools.partial(timm_tower, **changes), (64, 96)) for name, changes in TIMM.items()}
)


@pytest.fixture(scope="module", params=TOWERS)
def tower_and_images(request):
    build, size = TOWERS[request.param]
    return build(), pixels(3, *size)


@pytest.fixture(scope="module", params=EMBEDDED)
def embedded(request):
    return EmbeddedSettings(name=request.param).build()


def close(first, second, tolerance=1e-5):
    """Whether all numbers agree, up to rounding at the size of the largest."""
    assert first.shape == second.shape
    assert float(second.std()) > 1e-3, "these numbers could not tell a wrong formula"
    return float((first - second).abs().max()) < tolerance * float(second.abs().max())


# --- any tower -----------------------------------------------------------------------------------------------------


def test_global_features_are_the_towers_own_to_the_bit(tower_and_images):
    tower, images = tower_and_images
    features, _ = image_and_local_features(tower, images)
    assert torch.equal(features, tower(images))


def test_the_order_of_pictures_is_kept(tower_and_images):
    tower, images = tower_and_images
    order = [2, 0, 1]
    together, permuted = image_and_local_features(tower, images), image_and_local_features(tower, images[order])
    for straight, mixed in zip(together, permuted, strict=True):
        assert close(mixed, straight[order])
        assert not close(mixed, straight)


def test_a_picture_alone_has_the_features_it_has_in_a_batch(tower_and_images):
    tower, images = tower_and_images
    together, alone = image_and_local_features(tower, images), image_and_local_features(tower, images[1:2])
    for many, one in zip(together, alone, strict=True):
        assert close(one, many[1:2])


def test_regions_differ_from_each_other(tower_and_images):
    _, local = image_and_local_features(*tower_and_images)
    assert float(local.std(dim=1).mean()) > 1e-2 * float(local.abs().mean())


def test_double_precision_stays_double():
    features, local = image_and_local_features(vit().double(), pixels(1, 32, 16).double())
    assert features.dtype == local.dtype == torch.float64


def test_a_timm_tower_in_half_precision_is_known_too():
    tower = timm_tower().bfloat16()
    features, local = image_and_local_features(tower, pixels(2, 64).bfloat16())
    assert features.dtype == local.dtype == torch.bfloat16
    assert close(local.float().mean(dim=1), features.float(), 0.05)


@pytest.mark.parametrize(
    ("build", "size", "part"),
    [(vit, (32, 16), "conv1"), (resnet, (64, 64), "conv1"), (timm_tower, (64, 64), "trunk.conv_stem")],
)
def test_the_trunk_runs_once(build, size, part):
    tower, calls = build(), []
    tower.get_submodule(part).register_forward_hook(lambda *_: calls.append(part))
    image_and_local_features(tower, pixels(2, *size))
    assert calls == [part]


# --- ViT -----------------------------------------------------------------------------------------------------------


def test_the_value_path_by_hand():
    tower = VisionTransformer(
        image_size=2, patch_size=1, width=2, layers=1, heads=1, mlp_ratio=1.0, output_dim=2,
        ls_init_value=1.0, no_ln_pre=True, act_layer=nn.ReLU,
    ).eval().requires_grad_(False)  # fmt: skip
    block = tower.transformer.resblocks[0]
    tower.ln_post = nn.Identity()
    tower.conv1.weight.zero_()  # so that a patch is its positional embedding; the first is that of the class token
    tower.positional_embedding.copy_(torch.tensor([[9.0, -9.0], [3.0, 1.0], [0.0, 5.0], [3.0, 1.0], [2.0, -2.0]]))
    block.attn.in_proj_weight.copy_(torch.cat((torch.ones(4, 2), torch.tensor([[1.0, 0.0], [1.0, 1.0]]))))
    block.attn.in_proj_bias.copy_(torch.tensor([7.0, 7.0, 7.0, 7.0, 0.0, 1.0]))
    block.attn.out_proj.weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    block.attn.out_proj.bias.copy_(torch.tensor([0.0, 1.0]))
    block.ls_1.gamma.copy_(torch.tensor([0.5, 2.0]))
    block.mlp.c_fc.weight.copy_(torch.eye(2))
    block.mlp.c_fc.bias.zero_()
    block.mlp.c_proj.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 5.0]]))
    block.mlp.c_proj.bias.copy_(torch.tensor([0.0, 1.0]))
    block.ls_2.gamma.copy_(torch.tensor([1.0, 3.0]))
    tower.proj.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    # X = (3, 1): ln_1 = (1, -1); V = (1, 0 + 1); out = (2, 2); ls_1 = (1, 4); + X = (4, 5);
    #   ln_2 = (-1, 1); relu = (0, 1); c_proj = (0, 6); ls_2 = (0, 18); + = (4, 23); proj = (4, 46).
    # X = (0, 5): ln_1 = (-1, 1); V = (-1, 0 + 1); out = (-2, 2); ls_1 = (-1, 4); + X = (-1, 9);
    #   ln_2 = (-1, 1); ls_2 = (0, 18); + = (-1, 27); proj = (-1, 54).
    # X = (2, -2): ln_1 = (1, -1); ls_1 = (1, 4); + X = (3, 2);
    #   ln_2 = (1, -1); relu = (1, 0); c_proj = (3, 1); ls_2 = (3, 3); + = (6, 5); proj = (6, 10).
    _, local = image_and_local_features(tower, torch.zeros(1, 3, 2, 2))
    expected = torch.tensor([[[4.0, 46.0], [-1.0, 54.0], [4.0, 46.0], [6.0, 10.0]]])
    assert float((local - expected).abs().max()) < 1e-3  # a layer norm adds 1e-5 to the variance


def layer_norm(hidden, weights, name):
    mean = hidden.mean(dim=-1, keepdim=True)
    spread = ((hidden - mean) ** 2).mean(dim=-1, keepdim=True)
    return (hidden - mean) / (spread + 1e-5).sqrt() * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def locoop_recipe(tower, images, activation):
    """Regions as LoCoOp writes them down; what enters the last block is open_clip's own intermediate result."""
    weights = tower.state_dict()
    depth, width = len(tower.transformer.resblocks), tower.conv1.out_channels
    before = tower.forward_intermediates(images, indices=[depth - 2], output_fmt="NLC")["image_intermediates"][0]
    block = f"transformer.resblocks.{depth - 1}"
    scale_1, scale_2 = (weights.get(f"{block}.{name}.gamma", torch.tensor(1.0)) for name in ("ls_1", "ls_2"))
    value_weight = weights[f"{block}.attn.in_proj_weight"][2 * width :]
    value_bias = weights[f"{block}.attn.in_proj_bias"][2 * width :]
    value = layer_norm(before, weights, f"{block}.ln_1") @ value_weight.T + value_bias
    value = value @ weights[f"{block}.attn.out_proj.weight"].T + weights[f"{block}.attn.out_proj.bias"]
    value = value * scale_1 + before
    inner = layer_norm(value, weights, f"{block}.ln_2") @ weights[f"{block}.mlp.c_fc.weight"].T
    inner = activation(inner + weights[f"{block}.mlp.c_fc.bias"])
    inner = inner @ weights[f"{block}.mlp.c_proj.weight"].T + weights[f"{block}.mlp.c_proj.bias"]
    value = value + inner * scale_2
    return layer_norm(value, weights, "ln_post") @ weights["proj"]


def gelu(values):
    return values * (1 + torch.erf(values / math.sqrt(2))) / 2


def quick_gelu(values):
    return values / (1 + torch.exp(-1.702 * values))


@pytest.mark.parametrize("kind", [kind for kind in VITS if kind != "one layer"])
def test_a_vit_follows_locoops_recipe(kind):
    tower, images = vit(**VITS[kind]).double(), pixels(3, 32, 16).double()
    expected = locoop_recipe(tower, images, quick_gelu if kind == "quick gelu" else gelu)
    _, local = image_and_local_features(tower, images)
    assert local.shape == (3, 8, 16)
    assert close(local, expected, 1e-12)


def test_the_trained_vit_follows_locoops_recipe():
    tower = EmbeddedSettings(name="tiny_vit").build().model.visual.double()
    images = pixels(2, 96).double()
    _, local = image_and_local_features(tower, images)
    assert close(local, locoop_recipe(tower, images, gelu), 1e-12)


@pytest.mark.parametrize("place", range(8))
def test_regions_lie_row_by_row(place):
    tower, images = vit(layers=1), pixels(1, 32, 16)
    row, column = divmod(place, 2)
    changed = images.clone()
    changed[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += 1
    difference = image_and_local_features(tower, changed)[1] - image_and_local_features(tower, images)[1]
    assert (difference.abs().amax(dim=(0, 2)) > 1e-3).nonzero().flatten().tolist() == [place]


def test_a_vit_without_projection_stays_in_its_own_width():
    tower, images = vit(), pixels(2, 32, 16)
    projection = tower.proj
    _, projected = image_and_local_features(tower, images)
    tower.proj = None
    features, local = image_and_local_features(tower, images)
    assert torch.equal(features, tower(images))
    assert close(local @ projection, projected)


# --- ResNet --------------------------------------------------------------------------------------------------------


def projected_places(tower, images):
    """Each place of the last feature map alone: value, then output projection."""
    feature_map = tower.forward_intermediates(images, indices=1)["image_intermediates"][-1]
    pool = tower.attnpool
    places = [
        (feature_map[:, :, row, column] @ pool.v_proj.weight.T + pool.v_proj.bias) @ pool.c_proj.weight.T
        + pool.c_proj.bias
        for row in range(feature_map.shape[2])
        for column in range(feature_map.shape[3])
    ]
    return torch.stack(places, dim=1)


def test_a_resnet_projects_the_value_of_each_place():
    tower, images = resnet().double(), pixels(2, 64).double()
    _, local = image_and_local_features(tower, images)
    assert local.shape == (2, 4, 16)
    assert close(local, projected_places(tower, images), 1e-12)


def test_the_trained_resnet_projects_the_value_of_each_place():
    tower, images = EmbeddedSettings(name="tiny_rn").build().model.visual.double(), pixels(2, 96).double()
    _, local = image_and_local_features(tower, images)
    assert local.shape == (2, 9, 256)
    assert close(local, projected_places(tower, images), 1e-12)


def test_two_channels_of_a_resnet_by_hand():
    tower = resnet()
    pool = tower.attnpool
    for layer in (pool.v_proj, pool.c_proj):
        layer.weight.zero_()
    pool.v_proj.weight[0, 5], pool.v_proj.bias[0] = 2.0, 1.0  # value 0 = 2 * channel 5 + 1
    pool.c_proj.weight[3, 0], pool.c_proj.bias[3] = 10.0, -4.0  # feature 3 = 10 * value 0 - 4
    for name, _ in list(tower.named_children()):
        if name != "attnpool":
            setattr(tower, name, nn.Identity())  # the picture is the feature map
    feature_map = torch.zeros(1, 128, 2, 2)
    feature_map[0, 5] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    _, local = image_and_local_features(tower, feature_map)
    assert local[0, :, 3].tolist() == [26.0, 46.0, 66.0, 86.0]


# --- timm ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TIMM)
def test_the_mean_of_an_average_pooled_towers_regions_is_its_global_feature(kind):
    tower, images = timm_tower(**TIMM[kind]).double(), pixels(2, 64, 96).double()
    features, local = image_and_local_features(tower, images)
    assert local.shape[1] == 6
    assert close(local.mean(dim=1), features, 1e-12)


def test_the_mean_of_the_trained_towers_regions_is_its_global_feature():
    backbone = EmbeddedSettings(name="tiny_lit").build()
    features, local = backbone.encode_image_with_local(pixels(2, 96))
    assert local.shape == (2, 9, 256)
    assert close(local.mean(dim=1), features)


@pytest.mark.parametrize("proj_bias", [False, True])
def test_an_average_pooled_tower_projects_each_place(proj_bias):
    tower, images = timm_tower(proj_bias=proj_bias).double(), pixels(2, 64, 96).double()
    feature_map, projection = tower.trunk.forward_features(images), tower.head.proj
    bias = projection.bias if proj_bias else 0
    _, local = image_and_local_features(tower, images)
    for row in range(2):
        for column in range(3):
            expected = feature_map[:, :, row, column] @ projection.weight.T + bias
            assert close(local[:, 3 * row + column], expected, 1e-12)


# --- towers without local features ---------------------------------------------------------------------------------

UNKNOWN = {
    "attentional pooling": (lambda: vit(attentional_pool=True), "VisionTransformer (attentional pooling)"),
    "two poolers": (lambda: vit(attentional_pool="parallel"), "VisionTransformer (attentional pooling)"),
    "no pooling": (lambda: vit(pool_type="none"), "VisionTransformer (pooling 'none')"),
    "patch dropout": (lambda: vit(patch_dropout=0.5), "VisionTransformer (patch dropout)"),
    "qk-norm": (lambda: vit(qk_norm=True), "VisionTransformer (custom attention blocks)"),
    "timm ViT": (
        lambda: timm_tower("test_vit", image_size=160, pool="token"),
        "TimmModel with VisionTransformer (no feature map",
    ),
    "channels last": (
        lambda: timm_tower("test_mambaout", pool="avg"),
        "TimmModel with MambaOut (no feature map (B, C, H, W))",
    ),
    "norm after pooling": (lambda: timm_tower("test_convnext"), "TimmModel with ConvNeXt (more than an average"),
    "layer after pooling": (
        lambda: timm_tower("mobilenetv3_small_050"),
        "TimmModel with MobileNetV3 (more than an average",
    ),
    "maximum": (lambda: timm_tower("test_resnet", pool="max"), "TimmModel with ResNet (more than an average"),
    "average and maximum": (
        lambda: timm_tower("test_resnet", pool="avgmax"),
        "TimmModel with ResNet (more than an average",
    ),
    "MLP": (lambda: timm_tower("test_resnet", proj="mlp"), "TimmModel with ResNet (a projection that is not linear)"),
    "pooling in the head": (
        lambda: timm_tower("test_efficientnet", pool="rot_attn", proj=""),
        "TimmModel with EfficientNet (a projection that is not linear)",
    ),
    "stranger": (lambda: nn.Conv2d(3, 16, 8), "Conv2d (another architecture)"),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_other_towers_are_refused_by_name_and_reason(kind):
    build, who = UNKNOWN[kind]
    size = (32, 16) if "VisionTransformer (" in who and "Timm" not in who else (160, 160)
    with pytest.raises(BackboneError) as raised:
        image_and_local_features(build(), pixels(1, *size))
    assert str(raised.value).startswith(f"The image tower {who}")
    assert "they are known for ViT, ResNet and average-pooled timm towers" in str(raised.value)


# --- backbones -----------------------------------------------------------------------------------------------------


def test_a_trained_backbones_global_features_are_those_of_encode_image(embedded):
    images = pixels(3, embedded.image_spec.size)
    features, local = embedded.encode_image_with_local(images)
    assert torch.equal(features, embedded.encode_image(images))
    assert (local.shape[0], local.shape[2]) == features.shape
    assert float((local.norm(dim=2) - 1).abs().min()) > 0.01


def test_no_weight_takes_a_gradient_and_the_picture_does(embedded):
    images = pixels(1, embedded.image_spec.size)
    assert not any(features.requires_grad for features in embedded.encode_image_with_local(images))
    images.requires_grad_()
    embedded.encode_image_with_local(images)[1].square().sum().backward()
    assert float(images.grad.abs().max()) > 0
    assert all(parameter.grad is None for parameter in embedded.parameters())


def test_looking_at_regions_leaves_the_weights_as_they_are(embedded):
    before = embedded.weights_sha256()
    embedded.encode_image_with_local(pixels(2, embedded.image_spec.size))
    assert embedded.weights_sha256() == before


@pytest.mark.parametrize("custom_text", [False, True])
def test_both_layouts_of_open_clip_have_local_features(custom_text):
    backbone, images = tiny_backbone(custom_text=custom_text), pixels(2)
    features, local = backbone.encode_image_with_local(images)
    assert torch.equal(features, backbone.encode_image(images))
    assert local.shape == (2, 16, 16)


def test_an_open_clip_model_with_another_tower_is_refused_and_still_encodes():
    vision = {**VISION, "attentional_pool": True}
    backbone = OpenClipBackbone(open_clip.CLIP(16, vision, TEXT), "some", "some/tag", SPEC)
    assert backbone.encode_image(pixels(1)).dim() > 1
    with pytest.raises(BackboneError, match=r"VisionTransformer \(attentional pooling\)"):
        backbone.encode_image_with_local(pixels(1))


class Blind(FrozenBackbone):
    """A backbone that implements what it must and nothing more."""

    name = "blind"
    logit_scale = 100.0
    encode_image = embed_tokens = text_tower = tokenize = unknown_tokens = None


def test_a_backbone_need_not_have_local_features():
    with pytest.raises(BackboneError, match="The backbone blind has no local image features: choose another"):
        Blind().encode_image_with_local(pixels(1))
