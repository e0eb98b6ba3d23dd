"""The five DVC stages, one file each; every one is a function of parameters and paths."""
