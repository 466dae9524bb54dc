"""Ship: deployments, their revisions and rollouts, on the engine that a person has."""
