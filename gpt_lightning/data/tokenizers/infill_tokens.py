"""The special tokens of fill-in-the-middle, by which an objective and whoever asks its model for a middle understand.

PSM    <eot> PREFIX prefix SUFFIX suffix MIDDLE middle END
SPM    <eot> PREFIX SUFFIX suffix MIDDLE prefix middle END
"""

from __future__ import annotations

PREFIX, SUFFIX, MIDDLE, END = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_end|>"
SENTINELS = (PREFIX, SUFFIX, MIDDLE, END)
