"""Turn a set of images into a space that people can walk in."""

__version__ = "0.1.0"
