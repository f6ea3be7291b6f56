"""How a conversation becomes one text, as a Jinja template that transformers and vLLM read.

The ``generation`` block marks what the model writes, so that ``return_assistant_tokens_mask`` works. Jinja as these
programs set it up drops the newline behind a block, so every newline that counts is written out.
"""

from __future__ import annotations

from gpt_lightning.data.tokenizer import Tokenizer

CHATML = """\
{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['role'] == 'assistant' %}
{%- generation %}
{{- message['content'] + '<|im_end|>' }}
{%- endgeneration %}
{%- else %}
{{- message['content'] + '<|im_end|>' }}
{%- endif %}
{{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
PLAIN = """\
{%- for message in messages %}
{{- (message['role'] | capitalize) + ':' }}
{%- if message['role'] == 'assistant' %}
{%- generation %}
{{- ' ' + message['content'] + eos_token }}
{%- endgeneration %}
{%- else %}
{{- ' ' + message['content'] }}
{%- endif %}
{{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- 'Assistant:' }}
{%- endif %}
"""


def choose_template(tokenizer: Tokenizer) -> str:
    """ChatML where the vocabulary has its two tokens, else roles as text and end-of-text behind an answer."""
    return CHATML if {"<|im_start|>", "<|im_end|>"} <= tokenizer.specials.keys() else PLAIN
