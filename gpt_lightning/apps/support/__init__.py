"""Customer service: known questions are answered, the others handed to a person, and what people answer is learned.

    records          rows of questions and answers, dialogues -> entries; which wordings are learned and which are asked
    sample           a shop that does not exist, English and Chinese (sample.yaml)
    retrieval        how near an entry is: BM25, the share of known words, a classifier, embeddings
    matching         scores -> probabilities, "nothing here answers this" among them
    knowledge        what train learns and keeps             figures       top-1, hand-offs
    assistant        rules, then the likeliest answer where it is likely enough, else a person
    writing          answers in a model's own words, which keep to the known ones
    conversations    events in a file: the audit log, and the state that follows from it
    desk             assistant, conversations and the store of feedback put together
    service          routes for customers and, behind a token, for people who answer; the page of both
    application      the four commands

The model is a classifier trained by ``fit`` from questions to the entries that answer them. What people answer and
which question customers say they meant are corrections in the store of feedback; ``gpt-lightning feedback build`` makes
rows of them, ``train/conversations.jsonl``, which is a file that ``faq`` may name: train again, and they are known.

>>> from gpt_lightning.apps.support.records import Asked, Entry
>>> from gpt_lightning.apps.support.retrieval import Words
>>> entries = [Entry("a", "30 days.", (("How long can I return?",),)), Entry("b", "By card.", (("How can I pay?",),))]
>>> words = Words(entries, [Asked(entry.wordings[0][0], number) for number, entry in enumerate(entries)])
>>> words(["may I pay later?", "return"]).argmax(axis=1).tolist()
[1, 0]
"""
