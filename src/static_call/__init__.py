"""Static calls for arm64."""
