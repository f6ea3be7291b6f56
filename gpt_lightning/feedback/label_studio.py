"""Answers as tasks of Label Studio, where people look at them, and its annotations back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpt_lightning.errors import DataError
from gpt_lightning.feedback.exchange import read_text
from gpt_lightning.feedback.records import KINDS, Feedback, Prompt
from gpt_lightning.feedback.store import FeedbackStore
from gpt_lightning.files.atomic import write_text_durably

LABEL_STUDIO_VIEW = """<View>
  <Text name="prompt" value="$prompt"/>
  <Text name="answer" value="$answer"/>
  <Choices name="thumb" toName="answer"><Choice value="up"/><Choice value="down"/></Choices>
  <Rating name="rating" toName="answer" maxRating="5"/>
  <TextArea name="correction" toName="answer" rows="4" maxSubmissions="1"/>
  <TextArea name="label" toName="prompt" maxSubmissions="1"/>
</View>
"""
"""Labelling interface under which Label Studio shows exported tasks, and from which annotations are read back."""


def write_label_studio(store: FeedbackStore, path: Path) -> int:
    """A task for each answer, with what has been said about it as annotations; how many."""
    tasks: list[dict[str, Any]] = []
    for each in store.interactions():
        for choice, answer in enumerate(each.answers):
            said = [feedback for feedback in store.feedback(each.id) if feedback.choice == choice]
            data: dict[str, Any] = {
                "interaction": each.id,
                "choice": choice,
                "prompt": _show(each.prompt),
                "answer": answer,
            }
            annotations = [{"result": [_annotate(feedback)]} for feedback in said]
            tasks.append({"data": {**data, "version": each.version}, "annotations": annotations, "predictions": []})
    write_text_durably(path, json.dumps(tasks, ensure_ascii=False, indent=1) + "\n")
    return len(tasks)


def _show(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(f"{each['role']}: {each['content']}" for each in prompt)


def _annotate(said: Feedback) -> dict[str, Any]:
    values: dict[str, tuple[str, dict[str, Any]]] = {
        "thumb": ("choices", {"choices": ["up" if said.value else "down"]}),
        "rating": ("rating", {"rating": said.value}),
        "correction": ("textarea", {"text": [said.value]}),
        "label": ("textarea", {"text": [said.value]}),
    }
    kind, value = values[said.kind]
    meta = {"user": said.user, "consent": said.consent, "time": said.time, "comment": said.comment}
    target = "prompt" if said.kind == "label" else "answer"
    return {"id": said.key, "from_name": said.kind, "to_name": target, "type": kind, "value": value, "meta": meta}


def read_label_studio(store: FeedbackStore, path: Path) -> tuple[int, int]:
    """Take annotations over; whoever annotated there consents, and is a user of the store.

    Returns:
        How many were new, and how many there were.

    Raises:
        DataError: The file is something else; nothing was taken.
    """
    try:
        tasks = json.loads(read_text(path))
        said = [each for task in tasks for each in _read_task(store, task)]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(
            f"{path} is no export of Label Studio ({type(error).__name__}: {error})",
            allowed="tasks that gpt-lightning feedback export wrote, annotated, as JSON",
        ) from error
    with store.at_once():
        return sum(store.add_feedback(each) for each in said), len(said)


def _read_task(store: FeedbackStore, task: Mapping[str, Any]) -> Iterator[Feedback]:
    data = task["data"]
    for annotation in task.get("annotations") or []:
        for result in annotation["result"]:
            kind = result["from_name"]
            if kind not in KINDS:
                continue
            meta = result.get("meta") or {}
            who = annotation.get("completed_by", "")
            user = store.hash_user(f"label studio {who.get('id') if isinstance(who, Mapping) else who}")
            told = (
                {"time": meta.get("time", annotation.get("created_at", ""))}
                if meta or annotation.get("created_at")
                else {}
            )
            yield Feedback(
                interaction=data["interaction"],
                kind=kind,
                value=_read_value(kind, result["value"]),
                choice=data.get("choice", 0),
                comment=meta.get("comment", ""),
                user=meta.get("user", user),
                consent=meta.get("consent", True),
                key=f"{result['id']}",
                **told,
            )


def _read_value(kind: str, value: Mapping[str, Any]) -> bool | int | str:
    if kind == "thumb":
        return bool(value["choices"][0] == "up")
    return int(value["rating"]) if kind == "rating" else str(value["text"][0])
