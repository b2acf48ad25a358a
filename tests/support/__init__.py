"""What do tests build and compare with? Builders, fakes and the oracle."""
