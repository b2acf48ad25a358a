"""Which endpoints may this request reach, and which of them is chosen? Pure and total."""
