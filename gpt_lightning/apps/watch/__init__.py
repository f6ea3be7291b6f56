"""Topics and mood of a stream of texts: counted by event time, with alarms of a stated rate.

    rows (JSONL, CSV, folder, stdin, POST)
      └─ records      a row -> an event: id, time, text
           └─ labels      mood and topics of each
                └─ store      once, in its window; a window that is over -> alarms, which test it against those before
                     └─ watching   batches in, alerts out: alerts.jsonl, webhook; the page's data

What was taken is in one SQLite file, in one transaction with how far each source was read: killed at any moment, the
same command goes on, counts stay those of a recount, and ``alerts.jsonl`` is the one of an undisturbed run.
"""
