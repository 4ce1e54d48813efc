"""Takes OpenTelemetry traces of voice agents that others built, and says in our words what they tell."""
