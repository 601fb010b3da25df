"""Arm's memory model, and small programs under it. It knows no designs."""
