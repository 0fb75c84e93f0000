"""csf24 training: simulate or prepare cohorts, fit, evaluate and export models."""
