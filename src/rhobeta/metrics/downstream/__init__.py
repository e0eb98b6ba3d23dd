"""Downstream tasks: uses of a code, each scored beside a simple rival."""
