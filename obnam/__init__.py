"""The client: reads live data, seals it, stores it, and gets it back."""
