"""How are Triton, Envoy and providers spoken to? The only package that talks to them."""
