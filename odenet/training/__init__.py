"""Training: tasks, the training loop, checkpoints, weights, and records of experiments.

Importing this package costs no more than importing torch: lightning-fabric, torchmetrics and rich are imported when
they are first used, so that a figure can read records without them.
"""

from odenet.training.auxiliary import AuxiliaryClassification
from odenet.training.batches import BatchSource
from odenet.training.callbacks import EarlyStopping, EpochEnd
from odenet.training.checkpoints import CheckpointError
from odenet.training.detection import Detection
from odenet.training.devices import is_main_process, launch
from odenet.training.evaluation import evaluate
from odenet.training.files import CannotWrite
from odenet.training.fingerprints import fingerprint
from odenet.training.graphs import GraphWarning
from odenet.training.history import History
from odenet.training.loop import fit
from odenet.training.multi_label import MultiLabel
from odenet.training.parameter_groups import parameter_groups
from odenet.training.randomness import seed_everything
from odenet.training.records import Record, RecordError
from odenet.training.refinement import refine_optimizer_state
from odenet.training.runs import Run
from odenet.training.saved_models import load_model, save_model
from odenet.training.segmentation import Segmentation
from odenet.training.settings import ParameterGroup, Training
from odenet.training.state import NonFiniteLoss
from odenet.training.tasks import Classification, Task
from odenet.training.tiling import segment
from odenet.training.weights import WeightsError, load_weights, save_weights

__all__ = [
    "AuxiliaryClassification",
    "BatchSource",
    "CannotWrite",
    "CheckpointError",
    "Classification",
    "Detection",
    "EarlyStopping",
    "EpochEnd",
    "GraphWarning",
    "History",
    "MultiLabel",
    "NonFiniteLoss",
    "ParameterGroup",
    "Record",
    "RecordError",
    "Run",
    "Segmentation",
    "Task",
    "Training",
    "WeightsError",
    "evaluate",
    "fingerprint",
    "fit",
    "is_main_process",
    "launch",
    "load_model",
    "load_weights",
    "parameter_groups",
    "refine_optimizer_state",
    "save_model",
    "save_weights",
    "seed_everything",
    "segment",
]
