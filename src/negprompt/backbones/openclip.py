"""The adapter to open_clip: the one file that knows how its models are built and what is inside their text towers."""

from __future__ import annotations

import errno
import functools
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import open_clip
import torch
from pydantic import Field
from torch import Tensor, nn

from negprompt.backbones.base import BackboneSettings, FrozenBackbone, TokenizerInfo
from negprompt.backbones.chunks import TextChunk
from negprompt.backbones.local import image_and_local_features
from negprompt.backbones.openclip_text import not_causal, readable_tokens, text_module, text_tower
from negprompt.backbones.text import TextPath, TextTower
from negprompt.backbones.text_copy import TextCopy
from negprompt.backbones.weights import HUB_FILES, Shape, Weights, bring, downloaded, page_of, reached
from negprompt.errors import BackboneError, nearest
from negprompt.types import ImageSpec

log = logging.getLogger(__name__)

_WEIGHT_ENDINGS = (".safetensors", ".bin", ".pt", ".pth")
_WORD_END = "</w>"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class OpenClipBackbone(FrozenBackbone):
    """A frozen open_clip model with a causal text tower.

    Args:
        model: the loaded open_clip model, any of its CLIP classes with a causal text transformer.
        name: short name for run folders and messages.
        tag: model and weights, for example "ViT-B-16/laion2b_s34b_b88k".
        image_spec: picture size and normalisation.
        text_path: how prompts are encoded.
        text_chunk: classes encoded at a time.

    Raises:
        BackboneError: a text tower without a token table of open_clip's own tokenizer.
    """

    def __init__(
        self,
        model: nn.Module,
        name: str,
        tag: str,
        image_spec: ImageSpec,
        text_path: TextPath = "auto",
        text_chunk: TextChunk = "auto",
    ) -> None:
        super().__init__()
        self.model = model
        self.name = name
        self.tag = tag
        self.image_spec = image_spec
        self.text_path = text_path
        self.text_chunk = text_chunk
        self._text = text_module(model, tag)
        self._not_causal = not_causal(self._text)
        self._tokenizer = open_clip.SimpleTokenizer(context_length=self._text.context_length)
        self.tokenizer_info = TokenizerInfo(
            self._tokenizer.sot_token_id, self._tokenizer.eot_token_id, self._tokenizer.context_length
        )
        self.freeze()

    def encode_image(self, images: Tensor) -> Tensor:
        """Normalised pixels (B, 3, H, W) -> image features (B, D), not of unit length."""
        features: Tensor = self.model.encode_image(images)  # type: ignore[operator]
        return features

    def encode_image_with_local(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised pixels (B, 3, H, W) -> global (B, D) and local features (B, R, D), not of unit length."""
        return image_and_local_features(self.model.visual, images)  # type: ignore[arg-type]

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Token ids (..., L) -> rows of the token table (..., L, d)."""
        embeddings: Tensor = self._text.token_embedding(tokens)
        return embeddings

    def text_tower(self) -> TextTower:
        """The parts of the text tower."""
        return text_tower(self._text, self.model.encode_text, self._not_causal)  # type: ignore[arg-type]

    def text_copy(self) -> TextCopy:
        """A trainable copy of the text tower's parts."""
        if self._not_causal:
            msg = f"A text tower beside that of {self.name} cannot be trained: {self._not_causal}. Choose ViT-B-16."
            raise BackboneError(msg)
        return TextCopy(self._text)

    def tokenize(self, text: str) -> list[int]:
        """Byte-pair tokens without start and end token."""
        ids: list[int] = self._tokenizer.encode(text)
        return ids

    def word_ends(self) -> dict[int, str]:
        """Tokens with the byte-pair vocabulary's mark of a word's end, without it."""
        decoder: dict[int, str] = self._tokenizer.decoder
        return {token: text.removesuffix(_WORD_END) for token, text in decoder.items() if text.endswith(_WORD_END)}

    def token_texts(self) -> dict[int, str]:
        """Tokens decoded from the byte-pair vocabulary."""
        return readable_tokens(self._tokenizer)

    @property
    def logit_scale(self) -> float:
        """Exp of the stored logarithm, about 100 for CLIP."""
        return float(self.model.logit_scale.exp())  # type: ignore[operator]

    def unknown_tokens(self, tokens: Sequence[int]) -> list[int]:
        """Tokens whose row is zero: they never occurred when the embedded backbones were trained."""
        rows = self._text.token_embedding.weight[list(tokens)]
        return [token for token, row in zip(tokens, rows, strict=True) if not row.any()]


class OpenClipSettings(BackboneSettings):
    """Any open_clip model: a known name with a pretrained tag, or with a local weights file.

    `weights_dir`: folder searched for `<model_name>--<pretrained>.safetensors` (or .bin, .pt) before the network is.
    """

    model_name: Annotated[str, Field(min_length=1)]
    pretrained: Annotated[str, Field(min_length=1)]
    weights_dir: Annotated[str | None, Field(exclude=True)] = None

    def check(self) -> None:
        """Refuse unknown models and tags, weights files that are not there, and activations that do not fit."""
        if self.model_name not in open_clip.list_models():
            msg = (
                f"backbone.model_name={self.model_name!r} is no open_clip model; "
                f"{nearest(self.model_name, open_clip.list_models())}."
            )
            raise BackboneError(msg)
        self._local_weights()

    def build(self) -> OpenClipBackbone:
        """Load model and weights."""
        self.check()
        local = self._local_weights()
        model = _create(self.model_name, local or self.pretrained, self._missing_weights)
        spec = _image_spec(self.model_name, self.pretrained)
        tag = f"{self.model_name}/{self.pretrained}"
        return OpenClipBackbone(model, self.name, tag, spec, self.text_path, self.text_chunk)

    def weights(self) -> Weights:
        """A file of this machine: named by the settings, in `weights_dir`, or where open_clip keeps its downloads."""
        local = self._local_weights()
        source = open_clip.get_pretrained_cfg(self.model_name, self.pretrained)
        return Weights(Path(local) if local else downloaded(source), page_of(source))

    def fetch(self, folder: Path) -> Path:
        """Bring the weights into a folder, or find them there: checked by loading them, never half."""
        self.check()
        here = self.model_copy(update={"weights_dir": str(folder)})
        load = functools.partial(_create, self.model_name, missing=here._missing_weights)
        if (local := here._local_weights()) is not None:
            load(local)
            return Path(local)
        source = open_clip.get_pretrained_cfg(self.model_name, self.pretrained)

        def download(staging: Path) -> Path:
            try:
                reached(page_of(source))
                return Path(open_clip.download_pretrained(source, cache_dir=str(staging)))
            except Exception as error:  # from anything between here and the publisher
                raise here._not_fetched(error) from error

        return bring(f"{self.model_name}--{self.pretrained}", folder, download, lambda file: load(str(file)))

    def shape(self) -> Shape | None:
        """Of the model that open_clip knows by this name."""
        return shape_of(lambda: open_clip.create_model(self.model_name, device="meta"))

    def _local_weights(self) -> str | None:
        """Path of the weights on this machine, None to let open_clip fetch the tag."""
        if self.pretrained.endswith(_WEIGHT_ENDINGS):
            if not Path(self.pretrained).is_file():
                msg = f"backbone.pretrained={self.pretrained} is no file: give a path to the weights."
                raise BackboneError(msg)
            return self.pretrained
        tags = open_clip.list_pretrained_tags_by_model(self.model_name)
        if self.pretrained in (*tags, *open_clip.list_pretrained_tags_by_model(_twin(self.model_name))):
            _check_activation(self.model_name, self.pretrained)
        if self.pretrained not in tags:
            msg = (
                f"backbone.pretrained={self.pretrained!r} is neither a weights file nor a tag of {self.model_name}; "
                f"{nearest(self.pretrained, tags)}."
            )
            raise BackboneError(msg)
        if self.weights_dir is None:
            return None
        stem = Path(self.weights_dir) / f"{self.model_name}--{self.pretrained}"
        candidates = [stem.with_name(stem.name + ending) for ending in _WEIGHT_ENDINGS]
        return next((str(file) for file in candidates if file.is_file()), None)

    def _missing_weights(self, reason: Exception) -> BackboneError:
        return BackboneError(
            f"The weights {self.pretrained!r} of {self.model_name} are not on this machine and could not be fetched "
            f"({reason.__class__.__name__}). {self._by_hand()}"
        )

    def _not_fetched(self, reason: Exception) -> BackboneError:
        if isinstance(reason, OSError) and reason.errno in _NO_ROOM:
            return BackboneError(
                f"There is no room in {self.weights_dir}: free some, or set another paths.weights_dir."
            )
        cause = str(getattr(reason, "reason", reason)).partition("\n")[0]
        return BackboneError(
            f"The weights {self.pretrained!r} of {self.model_name} could not be fetched "
            f"({type(reason).__name__}: {cause}). {self._by_hand()}"
        )

    def _by_hand(self) -> str:
        source = open_clip.get_pretrained_cfg(self.model_name, self.pretrained)
        target = Path(self.weights_dir or "<paths.weights_dir>") / f"{self.model_name}--{self.pretrained}.safetensors"
        files = f"{' or '.join(HUB_FILES)} of " if source.get("hf_hub") else ""
        return (
            f"Where there is a network, get {files}{page_of(source) or 'its publisher'!r}; then put the file at "
            f"{target} (with its own ending), or set backbone.pretrained=<its path>."
        )


def shape_of(build: Callable[[], nn.Module]) -> Shape | None:
    """Sizes of a model that is built without memory for its weights; None where its text tower is of another kind."""
    logging.disable(logging.WARNING)  # open_clip warns that the weights are random
    try:
        with torch.device("meta"):
            model = build()
        text = text_module(model, "")
    except BackboneError:
        return None
    finally:
        logging.disable(logging.NOTSET)
    width = text.token_embedding.weight.shape[1]
    feature_width: int = model.visual.output_dim  # type: ignore[union-attr, assignment]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Shape(parameters, feature_width, int(width), len(text.transformer.resblocks))


def from_config(model_cfg: dict[str, Any], state: dict[str, Tensor] | None) -> nn.Module:
    """Build an open_clip model from its configuration and load a full state dict, strictly, where one is given."""
    model: nn.Module = open_clip.CLIP(**model_cfg)
    if state is not None:
        model.load_state_dict(state, strict=True)
    return model


def _create(model_name: str, pretrained: str, missing: Any) -> nn.Module:  # noqa: ANN401 -- error factory
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="QuickGELU mismatch")
        try:
            model: nn.Module = open_clip.create_model(model_name, pretrained=pretrained, precision="fp32")
        except UserWarning as error:
            raise BackboneError(str(error)) from error
        except Exception as error:
            if Path(pretrained).is_file():  # damaged files raise almost anything
                msg = f"Weights {pretrained} do not fit {model_name}, or are damaged ({type(error).__name__}: {error})."
                raise BackboneError(msg) from error
            if isinstance(error, OSError | RuntimeError):
                raise missing(error) from error
            raise
    return model


def _check_activation(model_name: str, tag: str) -> None:
    """A tag trained with QuickGELU needs the model with it, and the other way round: else features are quietly off."""
    model_quick = bool((open_clip.get_model_config(model_name) or {}).get("quick_gelu", False))
    tag_quick = bool(open_clip.get_pretrained_cfg(model_name, tag).get("quick_gelu", False))
    if model_quick != tag_quick:
        msg = (
            f"{model_name} and the weights {tag!r} use different activations (QuickGELU mismatch): "
            f"set backbone.model_name={_twin(model_name)}."
        )
        raise BackboneError(msg)


def _twin(model_name: str) -> str:
    """The same architecture with the other activation."""
    plain = model_name.removesuffix("-quickgelu")
    return plain if plain != model_name else f"{plain}-quickgelu"


def _image_spec(model_name: str, tag: str) -> ImageSpec:
    config = open_clip.get_model_config(model_name) or {}
    size = config["vision_cfg"].get("image_size", 224)
    preprocess = open_clip.get_pretrained_cfg(model_name, tag) or {}
    mean = tuple(preprocess.get("mean") or open_clip.OPENAI_DATASET_MEAN)
    std = tuple(preprocess.get("std") or open_clip.OPENAI_DATASET_STD)
    return ImageSpec(size, mean, std, preprocess.get("interpolation", "bicubic"))
