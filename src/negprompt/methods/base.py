"""Prompt learning on a frozen backbone: what CoOp, NegPrompt and their relatives share."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import lightning
import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from pydantic import Field
from torch import Tensor
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from negprompt.backbones.base import FrozenBackbone
from negprompt.errors import RunError
from negprompt.prompts.bundle import Adapter
from negprompt.prompts.context import ContextInit
from negprompt.prompts.encoder import PromptEncoder
from negprompt.prompts.reader import Reader
from negprompt.prompts.template import ClassTokenPosition, PromptLayout
from negprompt.prompts.text_features import text_features
from negprompt.ranks import world_size
from negprompt.settings import Settings
from negprompt.training.schedule import OptimizerSettings, cosine_epochs, official_code
from negprompt.training.trainer import TrainerSettings
from negprompt.types import Batch, PromptBundle

_BACKBONE_PREFIX = "backbone."


class Contexts(NamedTuple):
    """Context vectors a method ends with: positive (n, d) or (K, n, d), negative (P, n, d), (K, P, n, d) or None."""

    positive: Tensor
    negative: Tensor | None


class OnBackbone(lightning.LightningModule):
    """A module beside a frozen backbone, which Lightning moves and no checkpoint holds.

    Args:
        backbone: frozen.
    """

    def __init__(self, backbone: FrozenBackbone) -> None:
        super().__init__()
        self.strict_loading = False  # the checkpoint has no backbone
        self.backbone = backbone

    @torch.no_grad()
    def encode_image(self, images: Tensor) -> Tensor:
        """Image features (B, D) of pixels, not of unit length and without a gradient."""
        return self.backbone.encode_image(images)

    def step_result(
        self, loss: Tensor, terms: Mapping[str, Tensor], samples: int, fix: str = "method.optimizer.lr"
    ) -> dict[str, Any]:
        """What a training step returns: the loss weighted by this process's share of the batch, terms for the curves.

        Args:
            loss: mean over this process's samples.
            terms: of the loss.
            samples: of this process.
            fix: learning rate to lower.

        Raises:
            RunError: the loss is not a number.
        """
        weight = share_of_batch(samples, loss.device)
        if not torch.isfinite(loss):
            msg = (
                f"The loss became {loss.item()} at step {self.global_step}: lower {fix} or use "
                "trainer.precision=32-true. The checkpoint before this step is kept."
            )
            raise RunError(msg)
        return {"loss": weight * loss, "terms": mean_over_processes({"loss": loss.detach(), **terms}, weight)}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # noqa: ANN401
        """All state but the frozen backbone's, which would make a checkpoint of kilobytes one of gigabytes."""
        state = super().state_dict(*args, **kwargs)
        return {name: value for name, value in state.items() if not name.startswith(_BACKBONE_PREFIX)}


class PromptLearning(OnBackbone, abc.ABC):
    """Base of all prompt-learning modules: one frozen backbone, context vectors, SGD, a loss of one batch.

    Args:
        backbone: frozen; moved by Lightning, absent from checkpoints.
        class_names: of the training classes, in label order.
        layout: how prompts are put together.
        optimizer: recipe, None for a method that does not train.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        class_names: Sequence[str],
        layout: PromptLayout,
        optimizer: OptimizerSettings | None,
    ) -> None:
        super().__init__(backbone)
        self.encoder = PromptEncoder(backbone, class_names, layout)
        self.optimizer_settings = optimizer

    @abc.abstractmethod
    def contexts(self) -> Contexts:
        """The context vectors as they are now, detached."""

    def metadata(self) -> dict[str, Any]:
        """What the bundle's metadata say of this method alone. By default nothing."""
        return {}

    def adapter(self) -> dict[str, Tensor]:
        """What the method learned beside context vectors, by name; kept in adapter.safetensors. By default nothing."""
        return {}

    @abc.abstractmethod
    def loss(self, image_features: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch of unit image features (B, D) with labels (B,), and the terms to log."""

    def batch_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """`loss` of a batch of pixels or stored features; for methods that look at more than global features."""
        return self.loss(self.image_features(batch), batch["label"])

    def image_features(self, batch: Batch) -> Tensor:
        """Unit image features (B, D) float32 of a batch of pixels or of stored features."""
        features = batch["image_features"] if "image_features" in batch else self.encode_image(batch["image"])
        return F.normalize(features.float(), dim=-1)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:  # noqa: ARG002 -- Lightning's signature
        """Loss of one batch, and its terms for the curves; a loss that is not a number ends the run."""
        loss, terms = self.batch_loss(batch)
        return self.step_result(loss, terms, len(batch["label"]))

    def configure_optimizers(self) -> Any:  # noqa: ANN401 -- Lightning's own type is a long union
        """SGD with CoOp's schedule, or the one of the released NegPrompt code."""
        recipe = self.optimizer_settings
        if recipe is None:
            msg = f"{type(self).__name__} has nothing to train."
            raise RunError(msg)
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        sgd = SGD(trainable, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
        if recipe.schedule == "official_code":
            # The number of steps is known only once training has begun; before, it is infinite.
            schedule = LambdaLR(
                sgd, lambda step: official_code(step, steps_per_epoch(self.trainer), recipe) / recipe.lr
            )
            return {"optimizer": sgd, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
        epochs = self.trainer.max_epochs or recipe.epochs
        schedule = LambdaLR(sgd, lambda epoch: cosine_epochs(epoch, epochs, recipe) / recipe.lr)
        return {"optimizer": sgd, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}


def steps_per_epoch(trainer: lightning.Trainer) -> float:
    """Steps of the optimiser in an epoch, whose last may have fewer batches; infinite before training has begun."""
    batches = trainer.num_training_batches
    return batches if math.isinf(batches) else math.ceil(batches / trainer.accumulate_grad_batches)


def share_of_batch(pictures: int, device: torch.device) -> float | Tensor:
    """Weight of a process's loss: its pictures over those of all processes, times the number of processes.

    With parameter gradients averaged over processes this is the gradient of the mean over the whole batch, however
    unevenly it is shared out; 1 where all processes have the same batch.
    """
    if world_size() == 1:
        return 1.0
    total = torch.tensor(float(pictures), device=device)
    dist.all_reduce(total)
    return pictures * world_size() / total


def mean_over_processes(terms: Mapping[str, Tensor], weight: float | Tensor) -> dict[str, float]:
    """Numbers for the curves: of the whole batch, where processes share it.

    Args:
        terms: scalars of this process's part of the batch.
        weight: of that part, from `share_of_batch`.
    """
    values = torch.stack([value.detach().reshape(()).float() for value in terms.values()]) * weight
    if world_size() > 1:
        dist.all_reduce(values)
        values /= world_size()
    return dict(zip(terms, values.tolist(), strict=True))


class Surroundings(NamedTuple):
    """Where a method trains what belongs to no benchmark: the backbone and its hash, devices, folder of runs, seed."""

    backbone: FrozenBackbone
    weights_sha256: str
    trainer: TrainerSettings
    runs_dir: Path
    seed: int
    command: str = ""


class MethodSettings(Settings):
    """Settings that every method has: how its prompts are put together, and how they are trained.

    `context_words` start the context where they are `num_context_tokens` tokens long (`context_init=auto`).
    `num_negatives` is there for all methods, so that one sweep line fits them; those without negatives ignore it.
    """

    name: str
    num_context_tokens: Annotated[int, Field(ge=1)] = 4
    context_init: ContextInit = "auto"
    context_words: str = "a photo of a"
    class_specific: bool = False
    class_token_position: ClassTokenPosition = "end"
    full_stop: bool = False
    optimizer: OptimizerSettings | None = None
    num_negatives: Annotated[int, Field(ge=0, exclude=True)] = 0

    @property
    def provides(self) -> frozenset[str]:
        """What scores may ask for (keys of `scores.base.NEEDS`): "negative" where it ends with negative prompts."""
        return frozenset()

    @property
    def looks_at(self) -> frozenset[str]:
        """What training reads of a batch beside global image features: "local" features."""
        return frozenset()

    def layout(self) -> PromptLayout:
        """How prompts are put together."""
        return PromptLayout(self.num_context_tokens, self.class_token_position, self.full_stop)

    def reader(
        self,
        backbone: FrozenBackbone,
        bundle: PromptBundle,
        adapter: Mapping[str, Tensor],  # noqa: ARG002 -- for methods that have one
        class_names: Sequence[str],
    ) -> Reader:
        """What compares pictures with the finished prompts, for any class names.

        Args:
            backbone: frozen CLIP, on the device where pictures will be.
            bundle: context vectors.
            adapter: from `PromptLearning.adapter`.
            class_names: all K names of the benchmark in label order, also those never trained on.
        """
        return Reader(text_features(backbone, bundle, class_names), backbone.logit_scale)

    def positive_stage(self) -> MethodSettings | None:
        """The method whose prompts this one starts from, None for a method of one stage."""
        return None

    def outside_sha256(self) -> str | None:
        """Hash of what a run reads beside its benchmark (captions, a named adapter); None where there is nothing.

        Raises:
            NegPromptError: it is not there.
        """
        return None

    def outside_adapter(self, around: Surroundings) -> Adapter:  # noqa: ARG002 -- for methods that have one
        """The part of the adapter that needs no benchmark: found, or trained once for all runs. By default nothing.

        Raises:
            NegPromptError: what it is made from is not there or does not fit.
        """
        return Adapter({}, {})

    @abc.abstractmethod
    def module(
        self, backbone: FrozenBackbone, class_names: Sequence[str], seed: int, positive: PromptBundle | None
    ) -> PromptLearning:
        """Make the module to train (or just to read the contexts from).

        Args:
            backbone: frozen CLIP.
            class_names: of the training classes.
            seed: of the contexts' initialisation.
            positive: result of `positive_stage`, None where there is none.
        """
