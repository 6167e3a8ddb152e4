"""The scene of the tests of `HttpRepository`."""

from tests.support.hostile_scene import scene

__all__ = ["scene"]
