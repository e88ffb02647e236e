"""One loop that trains every recipe, and the state that makes it resume exactly."""

from morphospace.training.loop import Trained, resume, train

__all__ = ["Trained", "resume", "train"]
