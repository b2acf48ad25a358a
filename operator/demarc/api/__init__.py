"""What can a user write, and which conditions and reasons can be the answer? Types only, pure."""
