"""Tests of the repository outside the package."""
