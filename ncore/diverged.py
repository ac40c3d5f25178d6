"""The end of a run whose numbers left the finite ones."""


class Diverged(RuntimeError):  # noqa: N818 (the verdict's own word)
    """All seeds have left the finite numbers: `step` is the first look that found it, `seed` one of them.

    `also` names another field that may be lowered.
    """

    def __init__(self, step: int, seed: int, learning_rate: float, also: str | None = None) -> None:
        super().__init__(
            f"diverged: the numbers were no longer finite at step {step} (seed {seed}); "
            f"lower optimizer.learning_rate (now {learning_rate:g}){f' or {also}' if also else ''}"
        )
        self.step, self.seed = step, seed
