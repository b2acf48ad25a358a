"""How does an OpenAI request become a Triton request, and the answer an OpenAI answer?"""
