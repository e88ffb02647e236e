"""One loop that trains every recipe, and the state that makes it resume exactly."""

from morphospace.training.loop import Trained, make_feed, resume, train

__all__ = ["Trained", "make_feed", "resume", "train"]
