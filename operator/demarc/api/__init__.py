"""What do users write, and what do they read back? Resource types, conditions and reasons; pure."""
