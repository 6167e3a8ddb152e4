"""What somebody should hear of: events, webhooks, metrics, and the look at all repositories."""
