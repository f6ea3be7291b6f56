"""What comes next for a person: items are texts, and a history of them is a text that a language model continues.

    records         items and interactions from files -> a catalogue, histories in time
    sample          a catalogue with a known structure, made here; MovieLens-100k of an installed package
    protocol        leave-one-out by moments                       floors     popularity, co-occurrence
    likelihood      log-probability of every item's text behind a history, the history read once
                    (and exactly the best, or those above some, without asking about all)
    retrieval       mean hidden states: the nearest items, exactly (numpy) or with faiss; diversity
    recommender     filters, candidates, ranking, reasons          service    POST /v1/recommend, the page
    application     the four commands

The model is trained by ``fit`` on one document per person, an item's text per line. How likely an item is next is how
likely its line is: a probability over all texts, so that an item nobody has had yet has one as well, and no item's
length has to be corrected for.

>>> import numpy as np
>>> from gpt_lightning.apps.recommend.floors import CoOccurrence, Popularity
>>> from gpt_lightning.apps.recommend.records import Moment
>>> histories = [[Moment(1, (0,)), Moment(2, (1,))], [Moment(1, (0,)), Moment(5, (1,)), Moment(6, (2,))]]
>>> Popularity(histories, 4).score([3]).tolist(), CoOccurrence(histories, 4).score([2]).tolist()
([2.0, 2.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0])
"""
