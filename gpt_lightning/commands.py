"""The table of commands: every row is a command of ``gpt-lightning``, with where it lives. Imports nothing of ours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A row of the table.

    Attributes:
        module: Where the command lives.
        attribute: A typed function whose parameters are the options; for the Trainer's commands a function that
            takes (command, arguments).
        help: One line.
        group: Heading under which ``--help`` lists it.
        typed: Whether ``attribute`` is a typed function.
    """

    module: str
    attribute: str
    help: str
    group: str
    typed: bool = True


_STORES = ("gpt_lightning.data.commands.stores",)
_EVALUATION = "gpt_lightning.evaluation"
_APPLICATIONS = {
    "support": ("customer service", "answers, and the questions that people have to answer"),
    "recommend": ("what comes next for a person", "recommendations over HTTP, with a page"),
    "watch": ("topics and mood of a stream of texts", "a page of topics, moods and alarms"),
}
"""Name -> what it is about, and what it serves."""
_PROFILING = ("gpt_lightning.training.profiling.commands",)
_TRAINER = ("gpt_lightning.training.fitting.front", "front_command")

# A name may have up to three words: a noun with several commands, and what to do with it.
COMMANDS = {
    "prepare": Command(
        "gpt_lightning.data.commands.prepare", "prepare_command", "Turn text into a store of tokens.", "Data"
    ),
    "data info": Command(*_STORES, "info_command", "What is in a prepared store.", "Data"),
    "data verify": Command(*_STORES, "verify_command", "Read a store and compare every checksum.", "Data"),
    "data head": Command(*_STORES, "head_command", "Show the first documents of a store as text.", "Data"),
    "data sample": Command(*_STORES, "sample_command", "Show training windows of a store as text.", "Data"),
    "tokenizer train": Command(
        "gpt_lightning.data.commands.tokenizer", "tokenizer_train", "Learn a vocabulary from text.", "Data", typed=False
    ),
    "fit": Command(*_TRAINER, "Train a model, or go on with a run (--resume auto).", "Training", typed=False),
    "validate": Command(*_TRAINER, "Measure the loss on the validation split.", "Training", typed=False),
    "test": Command(*_TRAINER, "Measure the loss on the test split.", "Training", typed=False),
    "predict": Command(
        *_TRAINER,
        "Score every window of a split, or answer a file of prompts, on all devices.",
        "Training",
        typed=False,
    ),
    **{
        f"configs {name}": Command("gpt_lightning.parsing.shipped", f"{name}_command", text, "Training")
        for name, text in {
            "list": "The configurations and sweeps that come along.",
            "copy": "Copy some of them, to change them.",
        }.items()
    },
    "plot-schedule": Command(
        *_PROFILING,
        "plot_schedule_command",
        "Draw the learning rate of one or several configurations.",
        "Training",
        typed=False,
    ),
    "bench": Command(
        *_PROFILING,
        "bench_command",
        "Measure the training step here, and say what to change.",
        "Training",
        typed=False,
    ),
    **{
        f"sweep {name}": Command("gpt_lightning.tuning.commands", "sweep_command", text, "Sweeps", typed=False)
        for name, text in {
            "run": "Run many trials of a sweep file, or go on with them.",
            "extend": "Go on from an ended sweep: more values, wider ranges, longer runs of the best.",
            "validate": "Try every key of a sweep file before trial 1.",
            "worker": "Add a worker to a sweep.",
            "status": "Show the trials of a sweep.",
            "watch": "Follow a sweep in the browser, with buttons to stop, retry and enqueue.",
            "stop": "Let all workers of a sweep save and end.",
            "retry": "Let failed trials run again.",
            "best": "Write the configuration of the best trial.",
            "export": "Write all trials as a table.",
            "dashboard": "Start optuna-dashboard on a sweep.",
            "fsck": "Look for damage in a sweep's storage.",
        }.items()
    },
    "sweep ladder": Command(
        "gpt_lightning.tuning.scaling.ladder",
        "ladder_command",
        "Small models of several sizes: laws, and settings for a larger one.",
        "Sweeps",
    ),
    "sweep transfer": Command(
        "gpt_lightning.tuning.scaling.transfer",
        "transfer_command",
        "Tune a small model and measure what its settings cost a larger one.",
        "Sweeps",
    ),
    "sweep help": Command(
        "gpt_lightning.tuning.spec.reference", "help_command", "What a key of a sweep file means; all keys.", "Sweeps"
    ),
    "schema": Command(
        "gpt_lightning.tuning.spec.reference",
        "schema_command",
        "A JSON Schema of sweep files, with which editors complete and check them.",
        "Sweeps",
    ),
    "sweep report": Command(
        "gpt_lightning.tuning.report.report",
        "report_command",
        "What a sweep has found, as a page and as Markdown.",
        "Sweeps",
    ),
    "doctor": Command(
        *_PROFILING,
        "doctor_command",
        "Check a run before it starts: data, memory, time, disk.",
        "Training",
        typed=False,
    ),
    "runs list": Command(
        "gpt_lightning.monitoring.listing", "list_command", "Which runs there are, and how they stand.", "Runs"
    ),
    "runs show": Command("gpt_lightning.monitoring.listing", "show_command", "One run in full.", "Runs"),
    "runs compare": Command(
        "gpt_lightning.monitoring.comparing", "compare_command", "What differs between runs, and what it did.", "Runs"
    ),
    "runs plot": Command(
        "gpt_lightning.monitoring.plotting", "plot_command", "Draw curves of runs in the terminal.", "Runs"
    ),
    "runs report": Command(
        "gpt_lightning.monitoring.reporting",
        "report_command",
        "Write an HTML report of runs that opens offline.",
        "Runs",
    ),
    "monitor": Command(
        "gpt_lightning.tracking.serving",
        "monitor_command",
        "Show runs in TensorBoard, on this machine alone.",
        "Training",
    ),
    "generate": Command(
        "gpt_lightning.generation.command", "generate_command", "Continue a prompt, or a file of them.", "Using a model"
    ),
    "chat": Command("gpt_lightning.generation.chat_command", "chat_command", "Talk with a model.", "Using a model"),
    "serve": Command(
        "gpt_lightning.serving.command", "serve_command", "An OpenAI-compatible API, and a page.", "Using a model"
    ),
    "serve replay": Command(
        "gpt_lightning.serving.replay", "replay_command", "Answer a server's log again, and compare.", "Using a model"
    ),
    **{
        f"models {name}": Command("gpt_lightning.registry.commands", f"{name}_command", text, "Versions")
        for name, text in {
            "list": "Registered models, and what their aliases stand for.",
            "add": "Register a run's checkpoint as a version.",
            "show": "A version in full.",
            "diff": "What differs between two versions.",
            "promote": "Let an alias stand for a version.",
            "rollback": "Let it stand for the version before.",
            "history": "Who moved which alias, when and why.",
            "mirror": "The same in MLflow's registry.",
        }.items()
    },
    "models gate": Command(
        "gpt_lightning.continual.gate", "gate_command", "May a version take the place of the one in use?", "Versions"
    ),
    **{
        f"continual {name}": Command("gpt_lightning.continual.commands", f"{name}_command", text, "Versions")
        for name, text in {
            "init": "Write a commented file for the two below.",
            "run": "Learn from new feedback: data, fit, version, gate, alias.",
            "watch": "Do so whenever there is enough of it.",
        }.items()
    },
    **{
        f"feedback {name}": Command(
            "gpt_lightning.feedback.commands", f"{name.replace('-', '_')}_command", text, "Feedback"
        )
        for name, text in {
            "add": "Keep what somebody says about an answer.",
            "import": "Rows from JSONL or Label Studio.",
            "export": "Rows to JSONL or Label Studio.",
            "stats": "Count what is kept.",
            "show": "One answer: its version, the data of that, what was said.",
            "build": "Make a data set of it.",
            "delete-user": "Forget a user, and say what had used it.",
        }.items()
    },
    "feedback drift": Command(
        "gpt_lightning.continual.drift", "drift_command", "Is what is asked and answered still what it was?", "Feedback"
    ),
    "evaluate ppl": Command(
        f"{_EVALUATION}.commands.ppl", "ppl_command", "Perplexity and bits per byte on texts.", "Measuring a model"
    ),
    "evaluate infill": Command(
        f"{_EVALUATION}.commands.infill", "infill_command", "Fill gaps in held-out documents.", "Measuring a model"
    ),
    "evaluate tasks": Command(
        f"{_EVALUATION}.commands.tasks", "tasks_command", "Benchmarks: choices, labels, cloze ...", "Measuring a model"
    ),
    "evaluate classify": Command(
        f"{_EVALUATION}.commands.classify", "classify_command", "Labels of a model with a head.", "Measuring a model"
    ),
    "evaluate lm-eval": Command(
        f"{_EVALUATION}.harness.harness",
        "lm_eval_command",
        "Tasks of lm-evaluation-harness.",
        "Measuring a model",
    ),
    "evaluate compare": Command(
        f"{_EVALUATION}.commands.compare", "compare_command", "Two models on the same items.", "Measuring a model"
    ),
    "evaluate contamination": Command(
        f"{_EVALUATION}.commands.contamination",
        "contamination_command",
        "Is a benchmark in the training text?",
        "Measuring a model",
    ),
    "evaluate list": Command(
        f"{_EVALUATION}.commands.tasks", "list_command", "The benchmarks that come along.", "Measuring a model"
    ),
    "evaluate text": Command(
        f"{_EVALUATION}.texts.text_command",
        "text_command",
        "Texts against references: BLEU, ROUGE ...",
        "Measuring a model",
    ),
    "import": Command(
        "gpt_lightning.weights.command",
        "import_model",
        "Read a GPT-2, Llama or Qwen3 of other libraries.",
        "Using a model",
    ),
    "export": Command(
        "gpt_lightning.weights.command",
        "export_checkpoint",
        "Write a model for transformers and vLLM, or pieces as one.",
        "Using a model",
    ),
    **{
        f"app {name} {verb}": Command("gpt_lightning.apps.commands", "app_command", text, "Applications", typed=False)
        for name, (subject, served) in _APPLICATIONS.items()
        for verb, text in {
            "init": f"A folder with settings and a sample: {subject}.",
            "train": "Train its model.",
            "evaluate": "Measure it beside its floor.",
            "run": f"Serve {served}.",
        }.items()
    },
    "completion": Command(
        "gpt_lightning.completion",
        "completion_command",
        "A script for bash, zsh or fish that completes all this.",
        "About",
    ),
    "version": Command("gpt_lightning.cli", "show_versions", "Show what is installed.", "About"),
}

_ALIASES = {
    "fit": "train pretrain training run start resume continue",
    "fit --init_from RUN": "finetune fine-tune",
    "generate": "sample complete completion inference infer prompt text write",
    "serve": "server api deploy host openai web ui page",
    "validate": "eval val validation loss",
    "evaluate ppl": "perplexity ppl",
    "evaluate classify": "classify calibrate accuracy f1",
    "evaluate tasks": "benchmark benchmarks tasks score lm-eval lm_eval",
    "monitor": "tensorboard board watch dashboard",
    "prepare": "tokenize preprocess encode dataset",
    "tokenizer train": "bpe vocab vocabulary",
    "sweep run": "tune hpo optimize search grid",
    "runs list": "list ls history",
    "runs compare": "compare diff",
    "runs plot": "plot curves",
    "runs report": "report",
    "models list": "registry versions",
    "models promote": "promote release",
    "models rollback": "rollback",
    "doctor": "check memory dry-run dryrun estimate",
    "bench": "profile speed timing",
    "import": "convert load from_pretrained",
    "export": "save convert-to-hf publish upload",
    "plot-schedule": "schedule lr",
    "version": "info about",
}
ELSEWHERE = {alias: name for name, aliases in _ALIASES.items() for alias in aliases.split()}
"""What a newcomer may type -> the command, and perhaps an option."""

EXAMPLES = (
    "gpt-lightning fit --config configs/quickstart.yaml",
    "gpt-lightning fit --config configs/quickstart.yaml --data.source my.txt --trainer.max_steps 500",
    'gpt-lightning generate runs/quickstart-1 --prompt "Once upon a time"',
)
