"""What stands in for TensorRT-LLM on a machine without a GPU?

`llmapi/` has the layout of `/app/all_models/llmapi` in the real image and runs inside Triton;
Demarc never imports it. `folder` makes a model folder that it can load.
"""
