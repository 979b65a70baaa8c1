"""Linearizability: is there a legal order of the operations that respects real time?

from checkers.linearizability import check, linearizable, models

result = check(history, models.cas_register())
checker = linearizable(models.fifo_queue())
"""

from checkers.linearizability import models
from checkers.linearizability.check import check, linearizable
from checkers.linearizability.model import Model, ModelError, as_model, whole

__all__ = ["Model", "ModelError", "as_model", "check", "linearizable", "models", "whole"]
