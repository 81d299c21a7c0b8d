"""Adam with a learning rate of its own for some layers."""

from __future__ import annotations

import keras


class PacedAdam(keras.optimizers.Adam):
    """Adam that moves the weights of the layers named in `slow` at `pace` times the learning rate."""

    def __init__(self, *args, slow: tuple[str, ...] = (), pace: float = 1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.slow, self.pace = slow, pace

    def build(self, variables):
        super().build(variables)
        self.paces = [self.pace if v.path.split("/")[-2] in self.slow else 1.0 for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        pace = self.paces[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * pace)
