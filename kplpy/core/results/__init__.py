"""From responses to outcomes: delivered, retried, or failed."""
