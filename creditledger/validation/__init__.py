"""What is believed: rounds, evidence, judgement, verdicts."""
