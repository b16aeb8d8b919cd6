"""Names that a caption decoder thinks of when it looks at a picture (ZOC), and pictures compared with them."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.errors import ConfigError
from negprompt.prompts.caption_decoder import CaptionDecoder, decoder_of
from negprompt.prompts.reader import Reader
from negprompt.prompts.similarity import similarity
from negprompt.prompts.text_features import text_features
from negprompt.types import PromptBundle, TextFeatures

_WORD = re.compile(r"[a-z]+")
_PICTURES_AT_ONCE = 256


def words_in(texts: Iterable[str]) -> set[str]:
    """All words of some texts, in lower case; whatever is no letter stands between two words.

    Example:
        >>> sorted(words_in(["Fire truck", "T-shirt"]))
        ['fire', 'shirt', 't', 'truck']
    """
    return {word for text in texts for word in _WORD.findall(text.lower())}


def candidate_words(
    decoder: CaptionDecoder, backbone: FrozenBackbone, no_candidates: Collection[str]
) -> dict[int, str]:
    """Words that may be proposed, by their column in the decoder's vocabulary.

    A candidate is one token that is a word as a whole, of the letters a to z. Pieces of longer words are none, nor are
    tokens that the backbone never saw.

    Args:
        decoder: says which tokens there are.
        backbone: says which of them are words.
        no_candidates: words to leave out, in lower case.
    """
    ends, tokens = backbone.word_ends(), decoder.vocabulary.tolist()
    unknown = set(backbone.unknown_tokens(tokens))
    return {
        column: ends[token]
        for column, token in enumerate(tokens)
        if token in ends and _WORD.fullmatch(ends[token]) and token not in unknown and ends[token] not in no_candidates
    }


class Proposals:
    """Which tokens a decoder thinks of when it describes a picture (Esmaeilpour et al., 2022, section 3.2).

    It writes a caption greedily: the context of a step is the picture and the most likely token of every step before.
    Each step proposes the `top_k` most likely tokens (all that reach the k-th logit), until the end token is written.
    Steps within a word propose nothing: they look for the rest of that word.

    All of it in double precision: how many pictures are looked at together then changes logits by 1e-15, and no choice.

    Args:
        decoder: a trained one.
        word_ends: ids of the tokens that end a word.
        end: id of the end token.
        top_k: tokens a step.
        steps: most steps.

    Raises:
        ConfigError: more steps than the decoder has places.
    """

    def __init__(self, decoder: CaptionDecoder, word_ends: Iterable[int], end: int, *, top_k: int, steps: int) -> None:
        if steps > len(decoder.positions):
            msg = f"method.steps={steps} is more than this decoder can write, {len(decoder.positions)}: lower it."
            raise ConfigError(msg)
        self._decoder = copy.deepcopy(decoder).double().eval().requires_grad_(False)
        self._ends_word = torch.isin(decoder.vocabulary, torch.tensor(sorted(word_ends)).to(decoder.vocabulary))
        self._end = int(decoder.columns(torch.tensor([end]).to(decoder.vocabulary)))
        self._top_k = min(top_k, len(decoder.vocabulary))
        self._steps = steps

    @torch.no_grad()
    def __call__(self, features: Tensor) -> Tensor:
        """Whether a token is proposed for a picture (B, V) bool.

        Args:
            features: of the images (B, D), not of unit length, on the decoder's device.
        """
        with torch.autocast(features.device.type, enabled=False):
            unit = F.normalize(features.double(), dim=-1)
            return torch.cat([self._of_some(some) for some in torch.split(unit, _PICTURES_AT_ONCE)])

    def _of_some(self, images: Tensor) -> Tensor:
        written = torch.zeros(len(images), 0, dtype=torch.long, device=images.device)
        proposed = torch.zeros(len(images), len(self._ends_word), dtype=torch.bool, device=images.device)
        unfinished = torch.ones(len(images), dtype=torch.bool, device=images.device)
        between_words = unfinished
        for _ in range(self._steps):
            logits = self._decoder.logits(self._decoder(images, written)[:, -1])
            likely = logits >= logits.topk(self._top_k).values[:, -1:]
            proposed |= likely & (unfinished & between_words).unsqueeze(1)
            best = logits.argmax(dim=1)
            unfinished = unfinished & (best != self._end)
            between_words = self._ends_word[best]
            written = torch.cat([written, best.unsqueeze(1)], dim=1)
        return proposed


class NamingReader(Reader):
    """Compares pictures with class names, and with the words that are proposed for each picture.

    Args:
        text: encoded prompts of the class names.
        logit_scale: of the backbone.
        proposals: says which tokens are thought of.
        words: columns of the tokens that may be candidates (W,), and their encoded prompts (W, D).
    """

    def __init__(
        self, text: TextFeatures, logit_scale: float, proposals: Proposals, words: tuple[Sequence[int], Tensor]
    ) -> None:
        super().__init__(text, logit_scale)
        self._proposals = proposals
        self._columns = torch.tensor(words[0], dtype=torch.long, device=text.positive.device)
        self._words = words[1]

    def candidates(self, features: Tensor) -> Tensor:
        """Cosines (B, C) to the C words that were proposed for some of the pictures, -inf where not for this one."""
        proposed = self._proposals(features)[:, self._columns]
        some = proposed.any(dim=0)
        cosines = similarity(F.normalize(features.float(), dim=-1), self._words[some]).positive
        return cosines.masked_fill(~proposed[:, some], float("-inf"))


class Naming(NamedTuple):
    """How names are proposed: most likely tokens a step, steps, and texts whose words are no candidates."""

    top_k: int
    steps: int
    no_candidates: tuple[str, ...]


@torch.no_grad()
def naming_reader(
    backbone: FrozenBackbone,
    bundle: PromptBundle,
    adapter: Mapping[str, Tensor],
    class_names: Sequence[str],
    naming: Naming,
) -> NamingReader:
    """Compares pictures with class names and with words that the decoder proposes for them.

    Every word of the decoder's vocabulary that may be a candidate is encoded here, once for all pictures; words of
    a class name and of the template are none.

    Args:
        backbone: frozen CLIP, on the device where pictures will be.
        bundle: the template's context vectors, or whole templates.
        adapter: with the decoder.
        class_names: K names in label order.
        naming: how names are proposed.

    Raises:
        PromptMismatchError: the run has no decoder, or that of another backbone.
        ConfigError: more steps than the decoder has places.
    """
    text, end = text_features(backbone, bundle, class_names), backbone.tokenizer_info.end
    decoder = decoder_of(adapter, text.positive.shape[1], end).to(text.positive.device)
    words = candidate_words(decoder, backbone, words_in([*class_names, *naming.no_candidates]))
    encoded = text_features(backbone, bundle, list(words.values())).positive if words else text.positive[:0]
    proposals = Proposals(decoder, backbone.word_ends(), end, top_k=naming.top_k, steps=naming.steps)
    return NamingReader(text, backbone.logit_scale, proposals, (list(words), encoded))
