"""Where are audit records and usage kept? The only package that stores them."""
