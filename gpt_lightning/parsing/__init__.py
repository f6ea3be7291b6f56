"""Arguments, config files and environment variables in; one checked configuration, or one line that helps, out.

    suggest        what a misspelt name probably means; the classes a setting accepts
    strict_yaml    the one place where YAML is read and written
    trust          the packages that a setting may name, and how to allow more
    origins        which file and line, option or variable a setting came from
    expectations   what a setting accepts, in words
    explain        jsonargparse's messages turned into ours
    parser         StrictParser: jsonargparse's parser with all of the above
    command        a typed function as a command
    signatures     parameters of a function or class, read in its source without importing it
    front          what a typed command answers before it is imported: help, options that do not exist
    pages          entries of a page of help
    extras         packages that only some uses need, and the command that installs them
    renamed        class paths of earlier versions

The parser is made from signatures, so that a default, its type and its help stand in one place, the code:

    >>> from gpt_lightning.parsing.command import run_command
    >>> def count(start: int, step: int = 1, times: int = 3) -> list[int]:
    ...     '''Count upwards.
    ...
    ...     Args:
    ...         start: First number.
    ...         step: Distance of two numbers.
    ...         times: How many numbers.
    ...     '''
    ...     return [start + step * i for i in range(times)]
    >>> run_command(count, ["5", "--step", "10"], "count")
    [5, 15, 25]

A mistake is a ``ConfigError``, never a usage text of forty lines:

    >>> run_command(count, ["5", "--stepp", "10"], "count")
    Traceback (most recent call last):
    gpt_lightning.errors.ConfigError: There is no setting --stepp (command line). Did you mean --step?

Later sources win: defaults, environment variables (``GPT_LIGHTNING_STEP=2``), then ``--config`` files and options in
the order given. This room imports neither torch nor Lightning.
"""
