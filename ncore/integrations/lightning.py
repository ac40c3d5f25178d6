"""A callback for Lightning (the extra `lightning`): measures at the end of training epochs.

>>> Trainer(callbacks=[NeuralCollapse(ncore.start("my CNN"), layers=["layer4"])])
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ncore.integrations.measuring import Measuring
from ncore.series import tag_of


class NeuralCollapse(Measuring, Callback):
    """A callback as described at `Measuring`; the trainer's own loggers get the values too, as `nc1/layer4`."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._is_due(trainer.current_epoch + 1):
            return
        model: Any = trainer.model or pl_module  # the first one where it is trained on several ranks
        values = self.measured(model, trainer.train_dataloader, trainer.global_step)
        for logger in trainer.loggers:
            logger.log_metrics({tag_of(*key): value for key, value in values.items()}, trainer.global_step)
