"""Steps of the optimiser: learnt strides in a group of their own, and batches that are not finite left out."""

from __future__ import annotations

import logging
import math
from typing import Any

from torch import Tensor, nn

from seqstride._compat import require_torchaudio
from seqstride.errors import InputError, made_as_asked
from seqstride.layers.complexity import parameter_groups

require_torchaudio()

from seqstride.brains.display import DisplayBrain  # noqa: E402

logger = logging.getLogger(__name__)


class OptimisingBrain(DisplayBrain):
    """A `Brain` with one optimiser, in which learnt strides have a learning rate of their own and no weight decay.

    A batch whose loss or gradients are not finite has no part in training: it is named in a warning, changes no weight,
    and the buffers of the modules, such as the statistics of norms, are set back. `nonfinite_patience` (SpeechBrain's)
    of them in an epoch stop the run; gradients that are not finite do not count with `skip_nonfinite_grads`.

    Hyperparameters read: `number_of_epochs`, `lr`, `stride_lr`, `weight_decay`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.step_items: list[str] = []  # ids of the items since the last step
        self.loss_not_finite = False  # in training since the last step; in validation and test of any batch

    def init_optimizers(self) -> None:
        """Makes one optimiser, with the groups of `seqstride.parameter_groups`."""
        groups = parameter_groups(
            self.modules, self.hparams.lr, self.hparams.weight_decay, stride_lr=self.hparams.stride_lr
        )
        for group in groups:
            group["initial_lr"] = group["lr"]
        with made_as_asked("opt_class"):
            self.optimizer = self.opt_class(groups)
        self.optimizers_dict = {"opt_class": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer)

    def optimizers_step(self) -> None:
        """Takes one step. Clips the gradients of all groups together; SpeechBrain clips the first group only.

        Raises:
            ValueError: the gradients are not finite, and the patience is exhausted.
        """
        self.scaler.unscale_(self.optimizer)
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.max_grad_norm if self.max_grad_norm > 0 else math.inf)
        if self.scaler.is_enabled() or norm.isfinite():  # the scaler skips such steps itself, and adapts to them
            self.scaler.step(self.optimizer)
            self.scaler.update()
        elif not self.loss_not_finite:
            self._not_finite("gradients", self.step_items, patient=self.skip_nonfinite_grads)
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer_step += 1
        self.step_items, self.loss_not_finite = [], False

    def on_fit_batch_start(self, batch: Any, should_step: bool) -> None:
        """Keeps the ids of the batch and the buffers of the modules, in case that its loss is not finite."""
        self.batch_items = list(batch.id)
        self.step_items += self.batch_items
        self.buffers_before = [(buffer, buffer.clone()) for buffer in self.modules.buffers()]

    def check_loss_isfinite(self, loss: Tensor) -> None:
        """Warns of a batch whose loss is not finite and names its items; its gradients are not finite, either.

        Raises:
            ValueError: the patience is exhausted.
        """
        if not loss.isfinite():
            self.loss_not_finite = True
            self._not_finite("loss", self.batch_items)

    def on_fit_batch_end(self, batch: Any, outputs: Any, loss: Tensor, should_step: bool) -> None:
        """Sets the buffers back, such as the statistics of norms, after a batch whose loss is not finite."""
        super().on_fit_batch_end(batch, outputs, loss, should_step)
        if not loss.isfinite():
            for buffer, before in self.buffers_before:
                buffer.copy_(before)

    def _not_finite(self, what: str, items: list[str], patient: bool = False) -> None:
        self.nonfinite_count += not patient
        message = f"the {what} of a batch must be finite; those of {', '.join(items)} are not"
        if self.nonfinite_count > self.nonfinite_patience:
            raise InputError(f"{message}, and `nonfinite_patience` (={self.nonfinite_patience}) is exhausted")
        logger.warning("%s: left out", message)

    def learning_rate_share(self, epoch: int) -> float:
        """Returns the factor on the initial learning rates in an epoch, numbered from 1: half a cosine from 1 to 0."""
        return 0.5 * (1 + math.cos(math.pi * (epoch - 1) / self.hparams.number_of_epochs))
