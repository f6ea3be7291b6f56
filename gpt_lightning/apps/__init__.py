"""Applications: from a file of one's own to something that works, on the public parts of the other packages alone.

    gpt-lightning app NAME init FOLDER       settings, each with its comment, and a sample of data
    gpt-lightning app NAME train FOLDER      the model; killed, the same command goes on
    gpt-lightning app NAME evaluate FOLDER   figures beside their floor: a table, FOLDER/report.html
    gpt-lightning app NAME run FOLDER        a server with a page

    commands               the four commands, the same for every application
      └─ NAME/application    what this one does: an ``Application``, and beside it its records, its ``page.html``
           ├─ training         a run of ``fit`` in the folder                serving   ``serve`` with further routes
           │                                                             pages     ``page.html`` with the style of all
           └─ application      the interface; the folder and its settings           words     lists of words
                └─ figures       evaluations of ours and of the floor -> intervals, table, page

There is no training, scoring or serving here: an application is a recipe of those of the platform.

To add one: a package ``apps/NAME`` with a module ``application`` that holds ``APPLICATION``, an ``Application`` with
``make_sample``, ``train``, ``evaluate`` and ``run``, and the class of its settings (a subclass of ``AppSettings``);
its row in ``commands._APPLICATIONS``; its name in the contract "apps" of ``pyproject.toml``. ``evaluate`` returns
``Findings``: an ``Evaluation`` of the application and one for each floor, of the same items, and what else the page
shows. ``run`` mostly is ``serving.serve_model`` with ``pages.page_route(PACKAGE)`` and routes of methods that answer
JSON; ``page.html`` begins its style with ``/* page.css */``, which all pages have.

>>> from dataclasses import dataclass
>>> from pathlib import Path
>>> from gpt_lightning.apps.application import Application, AppSettings, draw_settings, open_folder, write_folder
>>> @dataclass(frozen=True)
... class Settings(AppSettings):
...     '''Of an example.
...
...     Args:
...         texts: File of texts.
...     '''
...     texts: str = "texts.txt"
>>> class Echo(Application[Settings]):
...     name, title, settings = "echo", "Says what was said", Settings
...     def make_sample(self, name): return {"fit": {"trainer": {"max_steps": 5}}}, {"texts.txt": "Hello."}
...     def train(self, folder): ...
...     def evaluate(self, folder): ...
...     def run(self, folder, address): ...
>>> [path.name for path in write_folder(Echo(), Path("shop"), "built-in")]
['echo.yaml', 'texts.txt']
>>> folder = open_folder(Echo(), Path("shop"), ["texts=other.txt"])
>>> folder.file(folder.settings.texts).as_posix(), folder.settings.fit
('shop/other.txt', {'trainer': {'max_steps': 5}})
"""
