"""The client: reads live data, seals it, stores it, and gets it back."""

__version__ = "0.1.0"
