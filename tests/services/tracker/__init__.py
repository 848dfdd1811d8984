"""Tests of the tracker, without servers."""
