"""What is told? The parts of the demo: a stage, a bank on it, people who ask, and the acts."""
