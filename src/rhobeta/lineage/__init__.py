"""What belongs together across git, DVC, MLflow and Optuna: resolve, trace, compare, sync."""
