"""The normalizer: from messages as they arrived to canonical reports, appended messages and status questions."""
