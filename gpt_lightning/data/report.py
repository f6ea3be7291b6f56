"""What is told about preparing: the line while it runs, and the summary of a store."""

from __future__ import annotations

from collections.abc import Mapping

from gpt_lightning.data.manifest import Manifest

_WASTEFUL = 1.5
"""Tokens per Chinese character above which a vocabulary was plainly not made for Chinese (GPT-2: 2.05, o200k: 0.79)."""


def format_progress(done_bytes: int, total_bytes: int, num_tokens: int, seconds: float, doing: str) -> str:
    """One line: how much is done, how fast, and how long the rest will take.

    Args:
        done_bytes: Input bytes done.
        total_bytes: Input bytes in all; 0 = unknown.
        num_tokens: Tokens made so far; 0 = not shown.
        seconds: Time taken so far.
        doing: The word at the beginning.
    """
    speed = done_bytes / max(seconds, 1e-9)
    tokens = (f"{num_tokens / 1e6:.1f} M tokens, " if num_tokens else "") + f"{speed / 1e6:.1f} MB/s"
    if not total_bytes:
        return f"{doing} {done_bytes / 1e6:.1f} MB, {tokens}"
    left = (total_bytes - done_bytes) / max(speed, 1e-9)
    share = f"{done_bytes / 1e6:.1f} MB of {total_bytes / 1e6:.1f} ({done_bytes / total_bytes:.0%})"
    return f"{doing} {share}, {tokens}, {_format_seconds(left)} left"


def _format_seconds(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 3.6e6 else "very long"


def summarize(manifest: Manifest) -> str:
    """The closing report: what is in a store, and what was left out."""
    name, digits = manifest.tokenizer["name"], manifest.tokenizer["fingerprint"][:12]
    lines = [
        f"tokenizer   {name}, {manifest.vocab_size:,} ids, {manifest.dtype}, fingerprint {digits}",
        f"split rule  {manifest.split_rule}",
    ]
    for split, record in manifest.splits.items():
        line = f"{split:<11} {record.num_documents:,} documents, {record.num_tokens:,} tokens"
        if record.text_bytes or not record.num_tokens:  # token files of other programs do not say how many
            per_token = record.text_bytes / max(record.num_tokens, 1)
            line += f", {record.text_bytes:,} bytes of text ({per_token:.2f} bytes per token)"
        lines.append(line)
    lines += _describe_vocabulary(manifest)
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in manifest.skipped.items())
    lines.append(f"skipped     {skipped or 'nothing'}")
    lines += [f"bad record  {problem}" for problem in manifest.bad_records]
    if manifest.replaced_surrogates:
        lines.append(f"replaced    {manifest.replaced_surrogates:,} lone surrogates by U+FFFD")
    lines += _describe_round_trip(manifest.round_trip)
    return "\n".join(lines)


def _describe_round_trip(counts: Mapping[str, int]) -> list[str]:
    """Whether decoding gives the text back."""
    if not counts.get("texts"):
        return []
    texts, changed, unknown = (counts[name] for name in ("texts", "changed", "unknown"))
    if not changed and not unknown:
        return [f"decoding    gives all {texts:,} texts back"]
    more = f"; {unknown:,} tokens stand for text it cannot write" if unknown else ""
    return [f"warning     this tokenizer changes text: decoding gives {changed:,} of {texts:,} texts otherwise{more}"]


def _describe_vocabulary(manifest: Manifest) -> list[str]:
    """How well the vocabulary fits the text."""
    counts = manifest.counts
    if not counts:
        return []
    unused = counts["unused_ids"]
    lines = [f"vocabulary  {unused:,} of {manifest.vocab_size:,} ids do not occur ({unused / manifest.vocab_size:.0%})"]
    characters, tokens = counts["chinese_characters"], counts["chinese_tokens"]
    if characters and tokens:
        lines.append(f"Chinese     {characters:,} characters, {characters / tokens:.2f} characters per token")
        # Characters and bytes cannot do better by design, and whoever chose them knows it.
        if tokens / characters > _WASTEFUL and manifest.tokenizer["kind"] == "encoding":
            lines.append(
                f"warning     this vocabulary spends {tokens / characters:.1f} tokens on a Chinese character, so that "
                "little text fits into a window; use --tokenizer o200k_base or bpe:8192:chinese"
            )
    return lines
