"""The pages of docs/ that are made from the code: events, settings, and the published contract."""
