"""Looks for what is wrong with environment, project and stores, and says what to do about it."""
