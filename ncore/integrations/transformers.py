"""A callback for the Trainer of Hugging Face (the extra `transformers`): measures at the end of epochs.

>>> Trainer(model, …, callbacks=[NeuralCollapse(ncore.start("my ViT"), layers=["vit.layernorm"], pool="cls")])
"""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ncore.integrations.measuring import Measuring


class NeuralCollapse(Measuring, TrainerCallback):
    """A callback as described at `Measuring`."""

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        del args, control
        if self._is_due(state.epoch or 0.0):
            self.measured(given["model"], given.get("train_dataloader"), state.global_step)
