"""Out-of-distribution detection with CLIP prompts: NegPrompt (CVPR 2024) and what it is compared with."""

__version__ = "0.1.0"
