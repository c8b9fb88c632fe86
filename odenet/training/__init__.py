"""Training: tasks, settings, the one loop, checkpoints, and the record that a run leaves behind."""

from odenet.training.checkpoints import load_checkpoint, load_weights, save_checkpoint, save_weights
from odenet.training.loop import History, evaluate, fit, launch
from odenet.training.records import Record, Run
from odenet.training.settings import Training
from odenet.training.tasks import Classification, Task

__all__ = [
    "Classification",
    "History",
    "Record",
    "Run",
    "Task",
    "Training",
    "evaluate",
    "fit",
    "launch",
    "load_checkpoint",
    "load_weights",
    "save_checkpoint",
    "save_weights",
]
